//! What stands between the quotes of a JSON string: escaped, and back.

/// Appends `text` as a JSON string.
pub fn write_text(to: &mut Vec<u8>, text: &str) {
    to.push(b'"');
    write_escaped(to, text);
    to.push(b'"');
}

/// Appends what stands between a string's quotes.
pub fn write_escaped(to: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = plain_until(bytes, from);
        to.extend_from_slice(&bytes[from..at]);
        let Some(byte) = bytes.get(at) else { return };
        match byte {
            b'"' => to.extend_from_slice(b"\\\""),
            b'\\' => to.extend_from_slice(b"\\\\"),
            b'\n' => to.extend_from_slice(b"\\n"),
            b'\r' => to.extend_from_slice(b"\\r"),
            b'\t' => to.extend_from_slice(b"\\t"),
            other => to.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        from = at + 1;
    }
}

/// Where the first byte from `at` on is that cannot stand in a string as it is. Eight at a time: in wasm
/// each turn of a loop also looks whether its time is up.
#[inline(always)]
pub(crate) fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let controls = word.wrapping_sub(ONES * 0x20) & !word;
        let quotes = zero_bytes(word ^ (ONES * u64::from(b'"')));
        let escapes = zero_bytes(word ^ (ONES * u64::from(b'\\')));
        // What a borrow marks wrongly lies above what it marks rightly.
        let found = (controls | quotes | escapes) & HIGHS;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while at < bytes.len() && !NEEDS_ESCAPE[bytes[at] as usize] {
        at += 1;
    }
    at
}

const NEEDS_ESCAPE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

pub(crate) fn hex(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

/// What a checked string stands for. Half of a surrogate pair becomes U+FFFD.
pub(crate) fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut made = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(next) = text[at..].find('\\') {
        made.push_str(&text[at..at + next]);
        at += next;
        let (char, len) = match bytes.get(at + 1) {
            Some(b'u') => unescape_unit(bytes, at),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(other) => (char::from(*other), 2),
            None => (char::REPLACEMENT_CHARACTER, 1),
        };
        made.push(char);
        at += len;
    }
    made.push_str(&text[at..]);
    made
}

/// The character of `\uXXXX`, or of a pair of them, and how many bytes it takes.
fn unescape_unit(bytes: &[u8], at: usize) -> (char, usize) {
    let unit = hex(bytes, at + 2).unwrap_or(0xfffd);
    let low = (bytes.get(at + 6..at + 8) == Some(b"\\u")).then(|| hex(bytes, at + 8)).flatten();
    match (unit, low) {
        (0xd800..=0xdbff, Some(low @ 0xdc00..=0xdfff)) => {
            let joined = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        _ => (char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_found_wherever_it_stands() {
        for byte in 0..=255u8 {
            for at in 0..20 {
                let mut bytes = vec![b'a'; 20];
                bytes[at] = byte;
                let want = if NEEDS_ESCAPE[byte as usize] { at } else { 20 };
                assert_eq!(plain_until(&bytes, 0), want, "{byte} at {at}");
            }
        }
    }
}

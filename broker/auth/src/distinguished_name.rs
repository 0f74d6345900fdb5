//! A certificate's subject as Kafka writes it: RFC 2253, the way `X500Principal.getName()` does.
//!
//! ```text
//! CN=broker.example.com,OU=Data\, small,O=Example,C=DE
//! ```

use crate::der::{self, CONTEXT_0, Element, OBJECT_ID, SEQUENCE, SET};

/// The subject of a certificate in DER. `None` if the bytes are no certificate.
pub fn subject_of_certificate(certificate: &[u8]) -> Option<String> {
    let certificate = der::first(certificate).filter(|(e, _)| e.tag == SEQUENCE)?.0;
    let to_be_signed = der::first(certificate.inside).filter(|(e, _)| e.tag == SEQUENCE)?.0;
    let mut fields = der::all(to_be_signed.inside).skip_while(|field| field.tag == CONTEXT_0);
    // Behind the version: serial number, signature, issuer, validity, subject.
    name(fields.nth(4).filter(|field| field.tag == SEQUENCE)?)
}

/// A name, its last part first.
fn name(name: Element<'_>) -> Option<String> {
    let mut parts = Vec::new();
    for relative in der::all(name.inside).filter(|element| element.tag == SET) {
        let attributes: Option<Vec<_>> = der::all(relative.inside).map(attribute).collect();
        parts.push(attributes?.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

fn attribute(attribute: Element<'_>) -> Option<String> {
    let (kind, rest) = der::first(attribute.inside).filter(|(e, _)| e.tag == OBJECT_ID)?;
    let (value, _) = der::first(rest)?;
    let text = text(value);
    Some(match (keyword(kind.inside), text) {
        (Some(keyword), Some(text)) => format!("{keyword}={}", escape(&text)),
        (Some(keyword), None) => format!("{keyword}={}", hex(value.whole)),
        // An attribute without a keyword of RFC 2253's is told by its number and its bytes.
        (None, _) => format!("{}={}", number(kind.inside)?, hex(value.whole)),
    })
}

fn keyword(id: &[u8]) -> Option<&'static str> {
    Some(match id {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19] => "DC",
        _ => return None,
    })
}

fn text(value: Element<'_>) -> Option<String> {
    match value.tag {
        // UTF8String, NumericString, PrintableString, IA5String: all are UTF-8.
        0x0c | 0x12 | 0x13 | 0x16 => String::from_utf8(value.inside.to_vec()).ok(),
        // TeletexString, which everybody fills with Latin-1.
        0x14 => Some(value.inside.iter().map(|byte| char::from(*byte)).collect()),
        // BMPString
        0x1e => {
            let units: Vec<u16> =
                value.inside.chunks_exact(2).map(|two| u16::from_be_bytes([two[0], two[1]])).collect();
            String::from_utf16(&units).ok()
        }
        _ => None,
    }
}

/// What is special anywhere, and spaces at either end.
fn escape(text: &str) -> String {
    let inner = text.trim_matches(' ');
    let lead = text.len() - text.trim_start_matches(' ').len();
    let mut escaped = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let at_an_end = c == ' ' && !(lead..lead + inner.len()).contains(&at);
        match c {
            '\0' => escaped.push_str("\\00"),
            ',' | '=' | '+' | '<' | '>' | '#' | ';' | '"' | '\\' => escaped.extend(['\\', c]),
            _ if at_an_end => escaped.extend(['\\', c]),
            _ => escaped.push(c),
        }
    }
    escaped
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("#".into(), |text: String, byte| text + &format!("{byte:02x}"))
}

fn number(id: &[u8]) -> Option<String> {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0_u64;
    for byte in id {
        number = number.checked_mul(128)? | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            match numbers.is_empty() {
                true => numbers.extend([(number / 40).min(2), number - 40 * (number / 40).min(2)]),
                false => numbers.push(number),
            }
            number = 0;
        }
    }
    Some(numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tlv(tag: u8, inside: &[u8]) -> Vec<u8> {
        let length = inside.len();
        let head = if length < 128 {
            vec![tag, length as u8]
        } else {
            vec![tag, 0x82, (length >> 8) as u8, length as u8]
        };
        [head, inside.to_vec()].concat()
    }

    fn part(id: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        tlv(SET, &tlv(SEQUENCE, &[tlv(OBJECT_ID, id), tlv(tag, text)].concat()))
    }

    fn certificate(subject: &[Vec<u8>]) -> Vec<u8> {
        let empty = tlv(SEQUENCE, &[]);
        let version = tlv(CONTEXT_0, &tlv(2, &[2]));
        let fields =
            [version, tlv(2, &[1]), empty.clone(), empty.clone(), empty, tlv(SEQUENCE, &subject.concat())];
        tlv(SEQUENCE, &tlv(SEQUENCE, &fields.concat()))
    }

    #[test]
    fn a_subject_is_written_as_java_writes_it() {
        let subject = [
            part(&[0x55, 4, 6], 0x13, b"DE"),
            part(&[0x55, 4, 10], 0x0c, "Bäume, Büsche + Co".as_bytes()),
            part(&[0x55, 4, 3], 0x0c, b"  #client=1 "),
        ];
        let found = subject_of_certificate(&certificate(&subject)).unwrap();
        assert_eq!(found, "CN=\\ \\ \\#client\\=1\\ ,O=Bäume\\, Büsche \\+ Co,C=DE");
    }

    #[test]
    fn what_has_no_keyword_is_told_by_number() {
        let email = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];
        let subject = [part(&[0x55, 4, 3], 0x0c, b"x"), part(&email, 0x16, b"a@b")];
        let found = subject_of_certificate(&certificate(&subject)).unwrap();
        assert_eq!(found, "1.2.840.113549.1.9.1=#1603614062,CN=x");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = subject_of_certificate(&bytes);
            let wrapped = tlv(SEQUENCE, &tlv(SEQUENCE, &bytes));
            let _ = subject_of_certificate(&wrapped);
        }
    }
}

//! A file of Java's properties: `key=value` lines, as Kafka's tools read them.
//!
//! ```text
//! # a comment, as with !
//! key = value      key: value      key value
//! long = one \
//!        line      what leads the second is left out
//! \u0041\t\=       escapes, in keys too
//! ```

/// One of the lines.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Property {
    /// Where it begins, from 1 on.
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// All of them in the order of the file. There is no text that is not one.
pub(crate) fn parse(text: &str) -> Vec<Property> {
    let mut lines = text.lines().enumerate();
    let mut properties = Vec::new();
    while let Some((at, line)) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = line.to_string();
        while goes_on(&whole) {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim_start());
        }
        let (key, value) = split(&whole);
        properties.push(Property { line: at + 1, key: unescaped(key), value: unescaped(value) });
    }
    properties
}

/// An odd number of backslashes ends it.
fn goes_on(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// At the first `=`, `:` or space that has no backslash before it.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|letter: char| {
        let ends = !escaped && (matches!(letter, '=' | ':') || letter.is_whitespace());
        escaped = !escaped && letter == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start();
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start())
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = letters.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                plain.push(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(usize, String, String)> {
        parse(text).into_iter().map(|property| (property.line, property.key, property.value)).collect()
    }

    #[test]
    fn every_way_to_write_a_line() {
        for text in ["k=v", "k: v", "k v", "  k = v", "k\tv", "k=\\u0076", "\\k=v", "k=\\\n   v"] {
            assert_eq!(parsed(text), [(1, "k".into(), "v".into())], "{text:?}");
        }
        assert_eq!(parsed("# k=v\n\n! k=v\n"), []);
        assert_eq!(parsed("k"), [(1, "k".into(), String::new())]);
        assert_eq!(parsed("a\\=b=c=d "), [(1, "a=b".into(), "c=d ".into())]);
        assert_eq!(parsed("path=c\\:\\\\x\\\\"), [(1, "path".into(), "c:\\x\\".into())]);
    }

    #[test]
    fn a_line_that_goes_on_is_counted_where_it_begins() {
        let text = "#\na = 1 \\\n  2 \\\n  3\r\nb=4\n";
        assert_eq!(parsed(text), [(2, "a".into(), "1 2 3".into()), (5, "b".into(), "4".into())]);
    }
}

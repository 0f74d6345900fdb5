//! Where a row ends that is longer than it may be: found without holding the row.
//!
//! Line ends inside quotes belong to the row, so that what is got over is one row and not one line of it.

use crate::csv::Dialect;

/// How far the search has come; more bytes can be given to it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowEnd {
    /// Where the row begins.
    pub(crate) from: u64,
    /// Bytes that have been looked at; all of the row, once its end is found.
    pub(crate) len: u64,
    /// Line ends in them.
    pub(crate) lines: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the beginning of a field.
    Start,
    /// In a field without quotes, or behind its quotes.
    Plain,
    Quoted,
    /// Behind a quote in a quoted field: the first of two, or the closing one.
    Quote,
}

impl RowEnd {
    pub(crate) fn new(from: u64) -> Self {
        RowEnd { from, len: 0, lines: 0, state: State::Start }
    }

    /// Where the bytes that it wants next are.
    pub(crate) fn place(&self) -> u64 {
        self.from + self.len
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Quoted
    }

    /// Looks at what comes next; true when the row ends in it.
    pub(crate) fn find(&mut self, bytes: &[u8], dialect: Dialect) -> bool {
        for byte in bytes {
            self.len += 1;
            self.lines += u64::from(*byte == b'\n');
            let is_quote = *byte == dialect.quote;
            self.state = match self.state {
                State::Quoted if is_quote => State::Quote,
                State::Start | State::Quote if is_quote => State::Quoted,
                State::Quoted => State::Quoted,
                _ if *byte == b'\n' => return true,
                _ if *byte == dialect.delimiter => State::Start,
                _ => State::Plain,
            };
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Dialect = Dialect { delimiter: b',', quote: b'"' };

    #[test]
    fn it_is_where_the_row_ends_however_the_bytes_come() {
        for row in
            ["a,b\n", "\"a\nb\",c\n", "\"a\"\"\n\"\"\",\"\n\"\r\n", "x\"y,\"\n\"\n", "\"\",\"\"\n", "\n"]
        {
            let text = format!("{row}next,\"\n");
            for cut in 0..row.len() {
                let mut end = RowEnd::new(7);
                assert!(!end.find(&text.as_bytes()[..cut], CSV), "{row:?} {cut}");
                assert!(end.find(&text.as_bytes()[cut..], CSV), "{row:?} {cut}");
                assert_eq!((end.len, end.place()), (row.len() as u64, 7 + row.len() as u64), "{row:?}");
                assert_eq!(end.lines, row.matches('\n').count() as u64);
            }
        }
    }

    #[test]
    fn an_open_quote_is_known() {
        let mut end = RowEnd::new(0);
        assert!(!end.find(b"a,\"b\n\"\"c\n", CSV) && end.is_open());
    }
}

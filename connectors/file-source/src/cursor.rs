//! How far each file has been read: the cursor that is committed with the records.
//!
//! JSON, short names because there is one entry a file:
//!
//! ```json
//! {"v":1,"files":[{"p":"inbox/a.csv","d":1,"i":77,"n":256,"h":"9e3779b97f4a7c15","o":4096,"l":17,"t":"a1"}]}
//! ```
//!
//! p path when last seen, d device, i inode, n and h length and hash of the fingerprint, o offset, l lines
//! before it, t hash of the bytes before it, s in the middle of a line that is being skipped. The hashes
//! tell a file from another one that was given its inode after it.

use serde::{Deserialize, Serialize};

/// So that the host, which allows 1 MiB, never has to refuse one.
pub(crate) const BYTES_MAX: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Cursor<P> {
    v: u32,
    files: Vec<P>,
}

/// Where reading a file goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    #[serde(rename = "p")]
    pub(crate) path: String,
    #[serde(rename = "d")]
    pub(crate) device: u64,
    #[serde(rename = "i")]
    pub(crate) inode: u64,
    #[serde(rename = "n")]
    pub(crate) fingerprint_len: u32,
    #[serde(rename = "h", with = "hex")]
    pub(crate) fingerprint: u64,
    #[serde(rename = "o")]
    pub(crate) offset: u64,
    #[serde(rename = "l")]
    pub(crate) lines: u64,
    #[serde(rename = "t", with = "hex", default)]
    pub(crate) tail: u64,
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) skipping: bool,
}

pub(crate) fn encode<'a>(files: impl Iterator<Item = &'a Position>) -> Vec<u8> {
    let cursor = Cursor { v: 1, files: files.collect::<Vec<_>>() };
    serde_json::to_vec(&cursor).unwrap_or_else(|error| panic!("a cursor is always JSON: {error}"))
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Position>, String> {
    let cursor: Cursor<Position> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match cursor.v {
        1 => Ok(cursor.files),
        other => Err(format!("it has version {other}, which is newer than this plugin")),
    }
}

/// 64 bits exceed what some JSON readers take for a number.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{value:x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        u64::from_str_radix(&String::deserialize(from)?, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_bytes() {
        let files = [
            Position {
                path: "a \"b\".csv".into(),
                inode: u64::MAX,
                fingerprint: u64::MAX,
                ..Position::default()
            },
            Position { offset: 5, lines: 2, skipping: true, ..Position::default() },
        ];
        assert_eq!(decode(&encode(files.iter())).unwrap(), files);
    }

    #[test]
    fn a_strange_cursor_is_an_error() {
        assert!(decode(b"").is_err());
        assert!(decode(b"{\"v\":2,\"files\":[]}").unwrap_err().contains("version 2"));
    }
}

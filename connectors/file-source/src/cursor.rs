//! How far each file has been read: the cursor that is committed with the records.
//!
//! JSON, short names because there is one entry a file:
//!
//! ```json
//! {"v":1,
//!  "files":[{"p":"inbox/a.csv","d":1,"i":77,"n":256,"h":"9e3779b97f4a7c15","o":4096,"l":17,"t":"a1"}],
//!  "folders":[{"p":"inbox","d":1,"i":70}]}
//! ```
//!
//! p path when last seen, d device, i inode, n and h length and hash of the fingerprint, o offset, l lines
//! before it, t hash of the bytes before it, s in the middle of a line that is being skipped; g of a file
//! that has vanished: t since when, m when it was last changed. The hashes tell a file from another one that
//! was given its inode after it; the folders tell whether inodes are what they were.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::folders::Folders;
use crate::identity::Identity;

/// So that the host, which allows 1 MiB, never has to refuse one.
pub(crate) const BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) files: Vec<Position>,
    pub(crate) folders: Folders,
}

#[derive(Serialize, Deserialize)]
struct Written<P> {
    v: u32,
    files: Vec<P>,
    #[serde(default)]
    folders: Vec<Folder>,
}

#[derive(Serialize, Deserialize)]
struct Folder {
    #[serde(rename = "p")]
    path: String,
    #[serde(rename = "d")]
    device: u64,
    #[serde(rename = "i")]
    inode: u64,
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
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub(crate) gone: Option<Gone>,
}

/// Of a file that has vanished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gone {
    #[serde(rename = "t")]
    pub(crate) since_ms: i64,
    /// When it was last changed, if that is known; another file under its inode was changed later.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(crate) modified_ms: Option<i64>,
}

pub(crate) fn millis(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

pub(crate) fn encode<'a>(files: impl Iterator<Item = &'a Position>, folders: &Folders) -> Vec<u8> {
    let folder =
        |(path, of): (&String, &Identity)| Folder { path: path.clone(), device: of.device, inode: of.inode };
    let written = Written { v: 1, files: files.collect(), folders: folders.0.iter().map(folder).collect() };
    serde_json::to_vec(&written).unwrap_or_else(|error| panic!("a cursor is always JSON: {error}"))
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Cursor, String> {
    let written: Written<Position> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if written.v != 1 {
        return Err(format!("it has version {}, which is newer than this plugin", written.v));
    }
    let folders = written.folders.into_iter();
    let folders = folders.map(|Folder { path, device, inode }| (path, Identity { device, inode }));
    Ok(Cursor { files: written.files, folders: Folders(folders.collect()) })
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
            Position { gone: Some(Gone { since_ms: 1, modified_ms: Some(-1) }), ..Position::default() },
        ];
        let folders = Folders([("in".to_owned(), Identity { device: 1, inode: u64::MAX })].into());
        let read = decode(&encode(files.iter(), &folders)).unwrap();
        assert_eq!(read, Cursor { files: files.to_vec(), folders });
    }

    #[test]
    fn a_cursor_of_before_there_were_folders_is_read() {
        let bytes = br#"{"v":1,"files":[{"p":"a","d":1,"i":2,"n":1,"h":"f","o":3,"l":4}]}"#;
        let read = decode(bytes).unwrap();
        assert_eq!((read.files[0].offset, read.files[0].tail, read.folders), (3, 0, Folders::default()));
    }

    #[test]
    fn a_strange_cursor_is_an_error() {
        assert!(decode(b"").is_err());
        assert!(decode(b"{\"v\":2,\"files\":[]}").unwrap_err().contains("version 2"));
    }
}

//! Compiled components on disk, so that a restart loads in a millisecond what took a hundred to compile.
//!
//! ```text
//! <folder>/key                      32 random bytes, made once, 0600
//! <folder>/<sha-256>-<engine>.cwasm HMAC-SHA-256 (32 bytes) | compiled component, 0600
//! ```
//!
//! Invariants: machine code is loaded only if its HMAC under our key is right, so what somebody else put
//! there, or a torn write, is compiled again; another version or setting of the engine is another name.
//! A cache that cannot be read or written costs time and is never an error.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::ContentHash;

const MAC_LEN: usize = 32;
/// Beyond so many artefacts the oldest go.
const ARTEFACTS_MAX: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Cache {
        Cache { folder }
    }

    /// The compiled component, if it is there and ours.
    pub(crate) fn load(&self, hash: &ContentHash, engine: &str) -> Option<Vec<u8>> {
        let key = self.key().ok()?;
        let mut artefact = fs::read(self.path(hash, engine)).ok()?;
        if artefact.len() < MAC_LEN {
            return None;
        }
        let code = artefact.split_off(MAC_LEN);
        let good = same(&artefact, &hmac(&key, &[&hash.0, engine.as_bytes(), &code]));
        if !good {
            tracing::warn!(%hash, folder = %self.folder.display(), "a compiled plugin in the cache is not ours; compiling again");
        }
        good.then_some(code)
    }

    pub(crate) fn store(&self, hash: &ContentHash, engine: &str, code: &[u8]) {
        if let Err(error) = self.try_store(hash, engine, code) {
            tracing::warn!(%error, folder = %self.folder.display(), "cannot keep a compiled plugin; it is compiled again at the next start");
        }
    }

    fn try_store(&self, hash: &ContentHash, engine: &str, code: &[u8]) -> io::Result<()> {
        let key = self.key()?;
        let mac = hmac(&key, &[&hash.0, engine.as_bytes(), code]);
        let path = self.path(hash, engine);
        // No sync: a torn file fails its HMAC and is made again.
        replace(&path, &[&mac, code])?;
        self.prune(&path);
        Ok(())
    }

    fn path(&self, hash: &ContentHash, engine: &str) -> PathBuf {
        self.folder.join(format!("{hash}-{engine}.cwasm"))
    }

    fn key(&self) -> io::Result<[u8; 32]> {
        let path = self.folder.join("key");
        if let Ok(key) = read_key(&path) {
            return Ok(key);
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let fresh: [u8; 32] = rand::random();
        replace(&path, &[&fresh])?;
        read_key(&path)
    }

    /// Drops the oldest artefacts, and never the newest.
    fn prune(&self, newest: &Path) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut artefacts: Vec<_> = entries
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "cwasm") && entry.path() != newest)
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        artefacts.sort();
        let surplus = (artefacts.len() + 1).saturating_sub(ARTEFACTS_MAX);
        for (_, path) in artefacts.iter().take(surplus) {
            fs::remove_file(path).ok();
        }
    }
}

fn read_key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    fs::File::open(path)?.read_exact(&mut key)?;
    Ok(key)
}

/// Whole or not at all, and for our eyes only.
fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.{:08x}.tmp", std::process::id(), rand::random::<u32>()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        fs::remove_file(&temporary).ok();
    }
    written
}

/// HMAC-SHA-256 (RFC 2104) for a key of at most one block.
fn hmac(key: &[u8; 32], message: &[&[u8]]) -> [u8; MAC_LEN] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        Sha256::new().chain_update(block)
    };
    let inner = message.iter().fold(pad(0x36), |hash, part| hash.chain_update(part)).finalize();
    pad(0x5c).chain_update(inner).finalize().into()
}

/// In constant time.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_loaded_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("cache"));
        let hash = ContentHash::of(b"wasm");
        assert_eq!(cache.load(&hash, "e1"), None);
        cache.store(&hash, "e1", b"machine code");
        assert_eq!(cache.load(&hash, "e1").as_deref(), Some(&b"machine code"[..]));
        assert_eq!(cache.load(&hash, "e2"), None);
        assert_eq!(cache.load(&ContentHash::of(b"other"), "e1"), None);

        let path = cache.path(&hash, "e1");
        for forged in [b"".to_vec(), b"short".to_vec(), [&[0; 32][..], b"evil code"].concat()] {
            fs::write(&path, forged).unwrap();
            assert_eq!(cache.load(&hash, "e1"), None);
        }
        // Ours, but under another name.
        cache.store(&hash, "e1", b"machine code");
        fs::copy(&path, cache.path(&hash, "e2")).unwrap();
        assert_eq!(cache.load(&hash, "e2"), None);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_error() {
        let cache = Cache::new("/dev/null/cache".into());
        cache.store(&ContentHash::of(b"x"), "e", b"code");
        assert_eq!(cache.load(&ContentHash::of(b"x"), "e"), None);
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mac = hmac(&key, &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(mac[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }
}

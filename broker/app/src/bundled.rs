//! The plugins that this binary carries, by name.

include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// The component, unpacked; `None`: there is none of this name.
pub(crate) fn find(name: &str) -> Option<Vec<u8>> {
    let (_, packed) = BUNDLED.iter().find(|(known, _)| *known == name)?;
    Some(zstd::decode_all(*packed).expect("build.rs packed it"))
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    BUNDLED.iter().map(|(name, _)| *name)
}

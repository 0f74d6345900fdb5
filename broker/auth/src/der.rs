//! The little of DER that a certificate's subject needs.
//!
//! Invariant: lengths are checked before they are believed; what does not parse is `None`.

pub(crate) const OBJECT_ID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;
/// `[0] EXPLICIT`, a certificate's version.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// One element: its tag, what is inside, and all of it.
#[derive(Clone, Copy)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) inside: &'a [u8],
    pub(crate) whole: &'a [u8],
}

/// The first element, and what follows it.
pub(crate) fn first(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&short, mut rest) = rest.split_first()?;
    let length = match short {
        0..=0x7f => usize::from(short),
        0x81..=0x84 => {
            let (long, behind) = rest.split_at_checked(usize::from(short & 0x7f))?;
            rest = behind;
            long.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        _ => return None,
    };
    let (inside, behind) = rest.split_at_checked(length)?;
    let whole = &bytes[..bytes.len() - behind.len()];
    Some((Element { tag, inside, whole }, behind))
}

/// All elements, up to what does not parse.
pub(crate) fn all(bytes: &[u8]) -> impl Iterator<Item = Element<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (element, behind) = first(rest)?;
        rest = behind;
        Some(element)
    })
}

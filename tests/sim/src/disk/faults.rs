//! What goes wrong by itself while the power is on.

/// Chances in ten thousand calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) read_fails: u64,
    pub(crate) write_fails: u64,
    pub(crate) sync_fails: u64,
    /// A read or a write does less than it was asked to.
    pub(crate) short: u64,
    /// There is no room for more.
    pub(crate) full: bool,
}

impl Faults {
    /// Whether anything can fail; what is only short cannot.
    pub(crate) fn any(&self) -> bool {
        self.full || self.read_fails + self.write_fails + self.sync_fails > 0
    }
}

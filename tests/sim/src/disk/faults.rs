//! What goes wrong: by itself while the power is on, and all kinds of it.

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

/// One kind of what can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Kill,
    /// A power cut, and what the device had written by itself until then.
    NothingKept,
    PartKept,
    PartKeptByFolder,
    /// The power went in the midst of a call.
    Cut,
    ReadFails,
    WriteFails,
    SyncFails,
    Short,
    Full,
    Rot,
}

impl Trouble {
    pub const ALL: [Trouble; 11] = [
        Trouble::Kill,
        Trouble::NothingKept,
        Trouble::PartKept,
        Trouble::PartKeptByFolder,
        Trouble::Cut,
        Trouble::ReadFails,
        Trouble::WriteFails,
        Trouble::SyncFails,
        Trouble::Short,
        Trouble::Full,
        Trouble::Rot,
    ];
}

//! A power cut, on a device that keeps only what it was told to keep.
//!
//! The broker runs as it is, on a real file system. The kernel stops it at each fsync, fdatasync and
//! syncfs ([`watch`], seccomp's user notification, which sees the calls that go around libc too), and the
//! [`device`] notes what is durable from now on: a file's content at its own sync, a folder's names at
//! the folder's. After SIGKILL the data folder is made anew ([`image`]) from what was durable; what was
//! not may be there, be lost, or be torn, page by page and name by name.
//!
//! Stricter than ext4, xfs or btrfs, as POSIX allows: a file's sync does not keep its name, and what
//! happened to one name says nothing of another's, but that a rename is one step.
//!
//! Needs Linux 5.0 or later; no privilege.
//!
//! Lacks: what was overwritten twice between two syncs is seen in its last state only; O_SYNC and
//! msync, which the broker does not use; and errors of the device.

mod device;
mod image;
mod watch;

pub(crate) use device::Device;
pub(crate) use watch::{Aim, Watch};

//! How a partition comes back at open.

pub(crate) mod folder;
pub(crate) mod load;
pub(crate) mod recover;
pub(crate) mod set_aside;

//! What `[broker]` says of groups of the consumer protocol (KIP-848) in words.

use crate::field::choice;

choice! {
    /// The assignors that consumers may ask for, the default first.
    GroupAssignors {
        /// As even as it can be with as few moves as that takes; ranges for those that ask
        UniformRange = "uniform,range",
        /// Of each topic a range for each member; even ones for those that ask
        RangeUniform = "range,uniform",
        /// Even ones only
        Uniform = "uniform",
        /// Ranges only
        Range = "range",
    }
    expected "\"uniform,range\", \"range,uniform\", \"uniform\" or \"range\""
}

choice! {
    /// Which groups with members may go over to the other protocol.
    GroupMigration {
        /// Both ways
        Bidirectional = "bidirectional",
        /// From the classic to the consumer protocol
        Upgrade = "upgrade",
        /// From the consumer to the classic protocol
        Downgrade = "downgrade",
        /// None
        Disabled = "disabled",
    }
    expected "\"bidirectional\", \"upgrade\", \"downgrade\" or \"disabled\""
}

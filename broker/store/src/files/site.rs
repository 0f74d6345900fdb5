//! The places in this crate that make something durable, by name.
//!
//! A file system is told which of them calls, so that a test can count them, make one fail, or leave
//! exactly one out and see that this is noticed.

macro_rules! sites {
    ($($(#[$doc:meta])* $site:ident,)*) => {
        /// Why something is synced.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Site {
            $($(#[$doc])* $site,)*
        }

        impl Site {
            pub const ALL: &[Site] = &[$(Site::$site),*];

            pub fn name(self) -> &'static str {
                match self {
                    $(Site::$site => stringify!($site),)*
                }
            }
        }
    };
}

sites! {
    /// What was appended to the segment that is being written.
    ActiveRecords,
    /// What was appended to segments that were rolled since.
    SealedRecords,
    /// The indexes of a segment that was rolled.
    SealedIndex,
    /// The aborted transactions of a segment that was rolled.
    SealedAborted,
    /// The producers at the end of a segment that was rolled.
    SealedSnapshot,
    /// The names of new segments and of what belongs to them.
    SegmentNames,
    /// Many partitions at once.
    Together,
    /// What only a clean stop writes beside the active segment, its names too.
    CleanStop,
    /// The indexes of a segment that is being written, and the producers, as a checkpoint has them.
    CheckpointBeside,
    /// Their names.
    CheckpointNames,
    /// The same of many partitions.
    CheckpointTogether,
    /// The content of a small file that is replaced as a whole.
    ReplacedContent,
    /// Its name.
    ReplacedName,
    /// The data directory's own name.
    DataDir,
    /// The mark of a clean stop is gone.
    CleanMarkGone,
    /// Whose a new partition's folder is.
    PartitionMetadata,
    /// The names in a new partition's folder.
    PartitionNames,
    /// The name of a folder that an open has made in the place of one that is missing.
    NewPartitions,
    /// The folders of a deleted topic have other names.
    DeletedPartitions,
    /// The folders that no topic owns have other names.
    SweptPartitions,
    /// A segment that retention dropped has another name.
    DroppedSegments,
    /// The records of a compacted segment.
    CompactedRecords,
    /// Its indexes.
    CompactedIndex,
    /// Its aborted transactions.
    CompactedAborted,
    /// It is whole, and waits to be installed.
    SwapNames,
    /// Those that it replaces have other names.
    ReplacedSegments,
    /// It is installed, but for its records.
    InstalledNames,
    /// The same by an open, of a compaction that a crash interrupted.
    FinishedSwaps,
    /// What a recovery is about to read, so that it reads what is on the disk.
    Distrusted,
    /// What a recovery has left of a segment.
    RecoveredRecords,
    /// The indexes that a recovery has made.
    RecoveredIndex,
    /// The producers at the end of a segment that a recovery has read.
    RecoveredSnapshot,
    /// The aborted transactions that a recovery has found.
    RecoveredAborted,
    /// The names that a recovery has made and removed.
    RecoveredNames,
    /// What a recovery, or a repair, is about to cut off.
    SetAside,
    /// Everything, before a recovery of many partitions reads it.
    DistrustedTogether,
    /// Everything, behind it.
    RecoveredTogether,
    /// Everything, at a clean stop of many partitions.
    StoppedTogether,
    /// The folders of many new partitions.
    CreatedTogether,
    /// A directory that was left to Kafka.
    HandedOver,
    /// What a repair has done.
    Repaired,
}

//! Rules of the log: append, indexes, recovery, retention and compaction planners

//! The log on a disk: files, writer, reader, group commit, recovery, compactor

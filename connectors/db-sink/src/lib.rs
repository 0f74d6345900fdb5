//! Flumen connector: db-sink

//! Flumen connector: http-sink

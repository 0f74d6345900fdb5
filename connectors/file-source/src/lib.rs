//! Flumen connector: file-source

//! Where a value was written.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A line of a file, an environment variable, or nowhere: the default.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Line { file: Arc<Path>, line: u32 },
    Variable(Arc<str>),
    Default,
}

impl Place {
    pub(crate) fn line(file: &Arc<Path>, line: u32) -> Place {
        Place::Line { file: file.clone(), line }
    }

    /// The folder that a relative path written here starts from, where a file was written to.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Place::Line { file, .. } => file.parent(),
            Place::Variable(_) | Place::Default => None,
        }
    }
}

/// `flumen.toml:7`, `FLUMEN_BROKER_HTTP`, `default`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line { file, line: 0 } => file.display().fmt(f),
            Place::Line { file, line } => write!(f, "{}:{line}", file.display()),
            Place::Variable(name) => name.fmt(f),
            Place::Default => f.write_str("default"),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

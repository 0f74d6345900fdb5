//! A guest that misbehaves on demand.

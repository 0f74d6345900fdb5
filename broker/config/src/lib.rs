//! flumen.toml: types, parsing, validation, diff, JSON Schema

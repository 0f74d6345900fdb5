//! Flumen transform: json-filter

//! Flumen transform: json-map

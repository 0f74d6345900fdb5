//! Flumen transform: regex-route

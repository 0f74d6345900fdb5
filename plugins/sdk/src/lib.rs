//! Guest SDK for Flumen plugins

//! Admin API and metrics over HTTP

//! A small Kafka client for the command line and the benches

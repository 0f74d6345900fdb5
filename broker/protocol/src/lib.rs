//! Kafka's frames, api table and error codes over generated messages

//! Starts brokers, clients, databases and HTTP servers for the tests

//! Consumer group and transaction coordinators as decide/apply state machines

//! Sockets, dispatch, one handler file per API, partition handles, coordinators

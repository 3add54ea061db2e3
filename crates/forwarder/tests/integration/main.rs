//! The forwarder on loopback: real sockets, real clients and targets in this process.
#![allow(clippy::unwrap_used, missing_docs)]

mod access_log;
mod algorithms;
mod awkward;
mod bodies;
mod health;
mod http2;
mod leaving;
mod ledger;
mod mixed;
mod overrides;
mod protection;
mod proxies;
mod reload;
mod requests;
mod retries;
mod routing;
mod rows;
mod sticky;
mod support;
mod tcp;
mod tls;
mod tls_targets;
mod udp;

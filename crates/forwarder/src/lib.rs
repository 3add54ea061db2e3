//! Moves the bytes: accepts connections, proxies HTTP, TCP and UDP, checks targets, drains.
//!
//! Every decision (which target, whether to try again, what is healthy) is made by `balancer`. No configuration file
//! is read here and no address is managed.
//!
//! ```text
//!   Forwarder (the caller's thread) --orders--> worker 0..N   accept -> http::connection | tcp -> upstream
//!          |                                       one runtime, own sockets, own pool each
//!          +--plans--> health thread               probe -> TargetState (atomics, read by every worker)
//! ```
//!
//! - `forwarder`: the door; `snapshot`, `error`: what comes out of it.
//! - `worker`, `accept`, `sockets`, `listener`, `clients`, `idlers`: threads and how connections come in.
//! - `http`, `tcp`, `relay`, `upstream`: what becomes of a connection; `stream`: what it is made of; `lookout`: how short ones are waited for; `websocket`: how one is ended.
//! - `tls`: certificates and handshakes; `udp`: what becomes of datagrams.
//! - `parting`: the end of connections to addresses that go to the other node.
//! - `sessions`: connections that are open for long, listed and ended when somebody asks.
//! - `leaving`: the end of connections to targets that are taken away or die; `waiting`: for a place at a target.
//! - `checks`, `probe`: health checks.
//! - `access_log`: a line for each request.
//! - `seal`: what binds a client, so that nobody else can write it; `proxy_protocol`: whose a connection is.
//! - `buffers`, `pipe`, `alarm`: memory and time of a connection; `cause`: words for what does not go well; `tally`: what requests came to.

mod accept;
mod access_log;
mod alarm;
mod blocks;
mod buffers;
mod cause;
mod checks;
mod clients;
mod error;
mod forwarder;
mod http;
mod http2;
mod idlers;
mod leaving;
mod listener;
mod lookout;
mod parting;
mod pipe;
mod probe;
mod proxy_protocol;
mod relay;
mod seal;
mod sessions;
mod snapshot;
mod sockets;
mod stream;
mod tally;
mod tcp;
mod tls;
mod udp;
mod upstream;
mod waiting;
mod websocket;
mod wire;
mod worker;

pub use access_log::{AccessLogFigures, AccessLogFormat, AccessLogSettings, AccessLogTarget};
pub use error::{ApplyError, OrderError};
pub use forwarder::{Forwarder, ForwarderSettings, MAX_SHOWN_RULES};
pub use seal::CookieKey;
pub use sessions::{Session, SessionId, SessionQuery, Sessions};
pub use snapshot::{
    CheckStanding, GroupSnapshot, GroupTimes, ListenerSnapshot, PassiveStanding, QueueTotals,
    Readiness, RuleSnapshot, Snapshot, StickySnapshot, TargetSnapshot, TargetStanding,
};
pub use tally::protocols::{HandshakeFigures, Http2Figures};
pub use tls::{CertificateMaterial, Materials, TicketSecret, TlsError};

//! The language of the control socket: what the CLI, the director and other tools say to each other.
//!
//! The director listens on a unix socket and speaks HTTP/1.1 with JSON, so that `curl --unix-socket` works as well as the
//! [`client`] here. This crate holds the messages and that client; it decides nothing, draws nothing and serves nothing.
//!
//! | request | answer |
//! |---|---|
//! | `GET /status` | [`Status`] |
//! | `GET /vrrp` | a list of [`VrrpDetail`], in the order of the file |
//! | `GET /config` | [`ConfigText`]: the file the daemon runs, as it was read |
//! | `GET /events?since=N` | a list of [`Event`] with `seq` above N, oldest first |
//! | `GET /events?since=N&follow=1` | the same, then each event as it happens: one JSON object a line, an empty line is a sign of life |
//! | `GET /why` | the latest [`Recording`]; with `?seq=N` the one of that event, with `?name=NAME` the latest of a virtual router |
//! | `GET /recordings` | a list of [`RecordingSummary`], oldest first |
//! | `GET /metrics` | Prometheus text |
//! | `GET /pair` | [`PairReport`]: both nodes side by side |
//! | `GET /overrides` | a list of [`OverrideStatus`]: what operators have ordered, until they clear it |
//! | `GET /sessions?older_s=N&listener=L&group=G&target=T` | [`SessionList`]: connections of TCP and tunnels that are open |
//! | `POST /kill` ([`KillRequest`]) | [`KillResult`] |
//! | `POST /orders` ([`OrderRequest`]) | [`OrderResult`] |
//! | `POST /explain` (`{method, scheme, host, path, headers, from, listener}`) | what would become of the request, as `tandem --json explain` prints it |
//! | `POST /reload` ([`ReloadRequest`]) | [`ReloadResult`], also when the file was refused |
//! | `POST /handover` ([`HandoverRequest`]) | [`HandoverResult`], also when nobody took over |
//! | `POST /simulate` ([`SimulateRequest`]) | [`SimulateResult`]; touches nothing |
//! | `POST /restart` | [`RestartResult`], just before the director is replaced by another one |
//!
//! Any other outcome has a status of 400 or above and an [`ErrorAnswer`]. The conventions of all messages: enums are lower snake
//! case; points in time are RFC 3339 in UTC ([`Timestamp`]); lengths of time end in `_ms` or `_s`; a reader skips fields it does
//! not know, so an older CLI reads a newer daemon.

pub mod client;
pub mod event;
pub mod internal;
pub mod latency;
pub mod order;
pub mod pair;
pub mod recording;
pub mod request;
pub mod response;
pub mod session;
pub mod simulation;
pub mod status;
pub mod timestamp;
pub mod vrrp;

pub use client::{Client, ClientError};
pub use event::{Event, EventKind};
pub use latency::{AnswerTotals, GroupTimes, Times};
pub use order::{OrderRequest, OrderResult, OverrideKind, OverrideStatus, ShareStatus};
pub use pair::{NodeFacts, NodeReport, PairReport};
pub use recording::{Fact, RecorderStatus, Recording, RecordingSummary, Run, What};
pub use request::{HandoverRequest, ReloadRequest, SimulateRequest, path};
pub use response::{
    ConfigText, ErrorAnswer, HandoverResult, HandoverRouter, Problem, ReloadOutcome, ReloadResult,
    RestartResult, Severity,
};
pub use session::{
    KillRequest, KillResult, SessionKind, SessionList, SessionStatus, SessionsRequest,
};
pub use simulation::{SimulateResult, SimulatedRouter, SimulatedStep};
pub use status::{
    AccessLogStatus, CertificateStatus, CheckState, CheckTotals, ConfigStatus, DatagramTotals,
    ForwarderState, ForwarderStatus, GroupStatus, ListenerStatus, Order, Overall, PairNode,
    PairStatus, PassiveState, Role, RuleStatus, Status, StickyStatus, TargetCondition,
    TargetStatus,
};
pub use timestamp::Timestamp;
pub use vrrp::{
    AlarmStatus, AuthenticationStatus, ChecksumForm, ContributionStatus, Family, HookRun,
    HooksStatus, PeerStatus, TimerStatus, TrackedStatus, TransitionStatus, VrrpDetail, VrrpState,
    VrrpStatus,
};

//! Decides where a request or connection goes, and which targets may get one.
//!
//! Pure: no socket, no clock, no random source, no log. `now` and `rng` are arguments, facts are return values.
//! Moving the bytes and running the checks is the work of the `forwarder` crate.
//!
//! - [`settings`]: what the operator wrote, as checked values with their defaults.
//! - [`listener`]: what becomes of a request, by the rules of a listener.
//! - [`rule`], [`pattern`], [`normal`]: what rules compare, and with what.
//! - [`redirect`], [`split`]: where a rule may lead besides a group.
//! - [`plan`]: the immutable whole of listeners and groups, built from settings and the plan before it.
//! - [`group`]: picks a target and hands out a [`Lease`] that accounts for it.
//! - [`sticky`]: what a client is bound to, and how often that held.
//! - [`latency`]: how long things take, by buckets.
//! - [`explain`]: what rules and groups would decide about a request, in words.
//! - [`key`]: what consistent hashing goes by.
//! - [`ring`]: who owns which keys.
//! - [`schedule`]: the order of turns of smooth weighted round robin.
//! - [`target`]: one target and the state of it that outlives a reload.
//! - [`health`]: rise and fall of one target, from check results.
//! - [`checked`]: what checks have found, counted.
//! - [`passive`]: what live traffic says about a target, and who is taken out for it.
//! - [`queue`]: who waits for a place at the targets of a group.
//! - [`overrides`]: what operators have ordered beside the settings of the file.
//! - [`retry`]: may a failed attempt be made again, and where; how many may.

pub mod checked;
pub mod explain;
pub mod group;
pub mod health;
pub mod key;
pub mod latency;
pub mod listener;
pub mod normal;
pub mod overrides;
pub mod passive;
pub mod pattern;
pub mod plan;
pub mod queue;
pub mod redirect;
pub mod retry;
pub mod ring;
pub mod rule;
pub mod schedule;
pub mod settings;
pub mod split;
pub mod sticky;
pub mod target;

pub use checked::CheckTotals;
pub use explain::{Candidate, Chance, Judged};
pub use group::{BoundPick, Group, Lease, NoPick};
pub use health::{CheckFailure, HealthChange, HealthMachine};
pub use key::PickKey;
pub use latency::{GroupLatency, Histogram, Timings};
pub use listener::{Action, Listener, Route, Rule, shadowed};
pub use normal::Ambiguous;
pub use overrides::Overrides;
pub use passive::{Ejection, Phase};
pub use pattern::{AddressSet, Glob};
pub use plan::{Plan, PlanError};
pub use queue::{Queue, Ticket};
pub use redirect::{Redirect, Template, TemplateError, Url, Variable};
pub use retry::{Attempt, BodyProgress, Failure, Retry, RetryBudget, decide_retry};
pub use ring::Ring;
pub use rule::index::Cost;
pub use rule::{Condition, Conditions, Fields, NoFields, RequestView};
pub use settings::{
    AccessLogFormat, AccessLogSettings, AccessLogTarget, Algorithm, Alpn, Check, CheckTls,
    ClientCertificate, ClientTlsSettings, FixedAnswer, GroupSettings, GroupTimeouts, HashKey,
    HeaderEdits, HealthSettings, ListenerLimits, ListenerSettings, ListenerTimeouts, OnAllDown,
    OnDown, OutlierSettings, Protocol, RetrySettings, RuleAction, RuleSettings, SendProxy,
    TargetLimits, TargetSettings, TargetTlsSettings, TlsSettings, TlsVersion, UdpSettings,
};
pub use split::{Share, Split};
pub use sticky::{Binding, BindingCounts, GroupMark, StickySettings, TargetMark};
pub use target::{Health, Order, Outcome, Target, TargetId, TargetState};

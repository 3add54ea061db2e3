//! Turns a TOML file into checked values, or into every error with place and remedy; names the changes between two.
//!
//! The same file serves every node of a pair; [`Facts`] say which of them this one is. Nothing is read but the text
//! given and, where allowed, the small files it names; nothing is opened, bound or looked up.
//!
//! ```text
//!  text ── toml ──► spanned tree ── read/* ──► drafts ── check/* ──► Config
//!                        │            │           │
//!                        └────────────┴───────────┴──► Findings ──► Report
//! ```
//!
//! - [`load`] is the way in; [`Config`] and [`Report`] come out.
//! - `tree` walks the tree and remembers which keys were asked for; all others are unknown keys.
//! - `read` has one file for each table; it checks types and ranges.
//! - `certificate` reads certificates and keys, `trust` whom others are vouched for by, `ocsp` what is
//!   said of them; also by themselves.
//! - `check` compares parts with each other: names, addresses, nodes.
//! - [`diff()`] tells what a reload would change, [`explain()`] what would become of a request.

mod certificate;
mod check;
mod code;
mod diff;
mod explain;
mod model;
mod ocsp;
mod read;
mod report;
mod syntax;
mod tree;
mod trust;
mod units;

use std::net::IpAddr;
use std::path::Path;
use std::time::SystemTime;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};

pub use certificate::{
    Certificate, CertificateContent, CertificateError, CertificateWarning, EXPIRY_WARNING,
};
pub use code::Code;
pub use diff::{Change, Subject, diff};
pub use explain::{
    Cookies, ExplainError, Explanation, GroupVerdict, Question, RuleVerdict, ShareVerdict,
    TargetVerdict, explain, explain_offline,
};
pub use model::{
    Announce, Config, Effect, Evidence, FileExpectation, Global, Heartbeat, Hook, HookOn, Hooks,
    Level, Log, LogFormat, Node, OnEvidence, Pair, PairSecret, Probe, ProcessName, Socket, Track,
    TrackedCheck, TrackedGroup, TrackedInterface, Unicast, VipAddress, Vrrp, Watch,
};
pub use ocsp::{Staple, StapleError};
pub use report::{MAX_PROBLEMS, Problem, Report, Severity};
use tree::{Findings, Section};
pub use trust::{Revocations, TrustError, read_authorities, read_revocations};

/// What this node knows of itself, by which it finds itself in the file.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The name given on the command line; wins over everything.
    pub node_override: Option<String>,
    /// The host name.
    pub host_name: String,
    /// Every address of this host that is not a VIP of ours.
    pub addresses: Vec<IpAddr>,
    /// What else may be bound.
    pub binds: Binds,
    /// The networks of this host's interfaces; empty where nobody knows them.
    pub networks: Vec<Network>,
    /// How many descriptors a process of this host may open; `None` where nobody knows.
    pub descriptors: Option<u64>,
    /// Whether files that the configuration names may be read.
    pub file_access: bool,
    /// The time, for what expires; `None` to say nothing about it.
    pub now: Option<SystemTime>,
}

/// What a listener may bind besides VIPs, the address of its node and [`Facts::addresses`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Binds {
    /// Nothing.
    #[default]
    Own,
    /// These too: the addresses of a host that need not be the node the file is read as.
    Also(Vec<IpAddr>),
    /// Anything: somebody who knows this host has judged it.
    Any,
}

/// An address of an interface with the length of its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The interface, such as `eth0`.
    pub interface: String,
    /// Its address in its network, such as `10.0.0.2/24`.
    pub net: IpNet,
}

/// What became of a text.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The values; there iff the report has no errors.
    pub config: Option<Config>,
    /// Errors and warnings.
    pub report: Report,
}

/// Reads a configuration text. `path` is where it comes from: file names in it are relative to its folder.
///
/// Never panics, whatever the text. With errors there is no configuration; the report has all of them.
pub fn load(path: &Path, text: &str, facts: &Facts) -> Outcome {
    let found = Findings::new(text);
    let (tree, damage) = syntax::parse(text, &found);
    let files = read::Files {
        folder: path.parent().unwrap_or(Path::new("")),
        access: facts.file_access,
        now: facts.now,
        user: "tandem",
    };
    let draft = read::read(Section::root(&tree, &found), files);
    let config = check::check(&draft, facts, hash(text), &found);
    let report = Report::new(damage.trustworthy(found.into_problems()));
    let config = config.filter(|_| report.is_usable());
    Outcome { config, report }
}

/// First 12 hexadecimal digits of the SHA-256 of the text.
fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

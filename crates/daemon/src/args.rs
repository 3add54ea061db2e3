//! The command line of `tandemd`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Two boxes, one floating address, and the load balancer behind it.
///
/// Stays in the foreground and logs to standard error. SIGTERM leaves gracefully, SIGHUP reloads the configuration, SIGUSR2
/// starts the director anew without a takeover.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "tandemd",
    version,
    after_help = "EXIT CODES\n  0 good, 1 fault, 2 usage, 77 permission, 78 configuration\n\nThe other half is `tandem`: `tandem status` shows what runs here."
)]
pub(crate) struct Args {
    /// Configuration file, the same on both nodes
    #[arg(long, value_name = "FILE", default_value = "/etc/tandem/tandem.toml")]
    pub config: PathBuf,
    /// Which node of the pair this is, when neither host name nor addresses tell
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Control socket; the configuration's global.socket is used when this is not given
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where the journal and the last good configuration are kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/tandem")]
    pub state_dir: PathBuf,
    /// Only check this file: exit 0, or 78 with every error
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "socket"])]
    pub check: Option<PathBuf>,
    /// Which of the processes this is; set by the keeper
    #[arg(long, hide = true)]
    pub role: Option<Role>,
    /// How often this role has been started before; set by the keeper
    #[arg(long, hide = true, default_value_t = 0)]
    pub restarts: u64,
    /// What the director before may have signed last; set by the keeper
    #[arg(long, hide = true)]
    pub stamp: Option<u64>,
    /// Virtual routers that the director before has left in place, parted by commas; set by the keeper
    #[arg(long, hide = true)]
    pub resume: Option<String>,
    /// Number of the language that the other processes speak; set by the keeper
    #[arg(long, hide = true)]
    pub language: Option<u32>,
    /// User id the forwarder or the runner runs as; set by the keeper
    #[arg(long, hide = true)]
    pub uid: Option<u32>,
    /// Group id the forwarder or the runner runs as; set by the keeper
    #[arg(long, hide = true)]
    pub gid: Option<u32>,
    /// Whether the forwarder or the runner logs JSON; set by the keeper
    #[arg(long, hide = true)]
    pub json_log: bool,
}

/// A process that the keeper starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// Election, addresses, control socket.
    Director,
    /// Listeners and targets.
    Forwarder,
    /// Programs and checks of the operator.
    Runner,
}

impl Role {
    /// The name the process goes by in `ps`, at most 15 octets.
    pub(crate) fn process_name(self) -> &'static str {
        match self {
            Self::Director => "tandem-director",
            Self::Forwarder => "tandem-forward",
            Self::Runner => "tandem-runner",
        }
    }

    /// The value of `--role`.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Director => "director",
            Self::Forwarder => "forwarder",
            Self::Runner => "runner",
        }
    }
}

impl Args {
    /// The arguments that start `role` with what this process was told.
    pub(crate) fn for_role(&self, role: Role, restarts: u64) -> Vec<OsString> {
        let mut list: Vec<OsString> = vec![
            "--role".into(),
            role.argument().into(),
            "--restarts".into(),
            restarts.to_string().into(),
            "--config".into(),
            self.config.clone().into(),
            "--state-dir".into(),
            self.state_dir.clone().into(),
        ];
        if let Some(node) = &self.node {
            list.extend(["--node".into(), node.into()]);
        }
        if let Some(socket) = &self.socket {
            list.extend(["--socket".into(), socket.clone().into()]);
        }
        list
    }
}

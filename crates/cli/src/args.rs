//! The command line: what can be asked, and the words that explain it.

mod asked;
mod help;
mod sort;
mod times;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use control::client::DEFAULT_SOCKET;

pub(crate) use asked::{Asked, Which};
pub(crate) use sort::SortBy;
pub(crate) use times::{Since, Terms};

/// Show and command a Tandem node.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, max_term_width = 80)]
#[command(after_help = help::whole())]
pub(crate) struct Args {
    /// Socket of the daemon
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// Print JSON instead of a screen
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole node on one screen
    #[command(after_help = help::STATUS)]
    Status,

    /// Show the node and its busiest targets, anew each second
    #[command(after_help = help::TOP)]
    Top {
        /// Print the screen once and leave
        #[arg(long)]
        once: bool,
        /// Sort by rate, inflight, errors, p99 or name
        #[arg(long, value_name = "KEY", value_enum, default_value_t = SortBy::Rate)]
        #[arg(hide_possible_values = true, hide_default_value = true)]
        sort: SortBy,
    },

    /// Show both nodes side by side, and where they differ
    #[command(after_help = help::PAIR)]
    Pair,

    /// Explain the election: state, why, timers, priority, peer
    #[command(after_help = help::VRRP)]
    Vrrp {
        /// Only the virtual router of this name; all without it
        name: Option<String>,
    },

    /// List the targets of all groups, or of one
    #[command(after_help = help::TARGETS)]
    Targets {
        /// Only the group of this name; all without it
        group: Option<String>,
    },

    /// List the certificates in use and when they end
    #[command(after_help = help::CERTS)]
    Certs,

    /// List the rules of listeners, and how often each was met
    #[command(after_help = help::RULES)]
    Rules {
        /// Only the listener of this name; all without it
        listener: Option<String>,
    },

    /// Show what changed on this node, when and why
    #[command(after_help = help::EVENTS)]
    Events {
        /// Go on printing events as they happen, until interrupted
        #[arg(short, long)]
        follow: bool,
        /// Only events after an age (10m), a time or a number
        #[arg(long, value_name = "SINCE")]
        since: Option<Since>,
    },

    /// Tell the story of a change of state, in words
    #[command(after_help = help::WHY)]
    Why {
        /// Number of an event, or name of a virtual router
        #[arg(value_name = "NUMBER|NAME")]
        which: Option<String>,
        /// After the word `target`: which one
        #[arg(value_name = "GROUP/TARGET", conflicts_with_all = ["all", "list"])]
        target: Option<String>,
        /// The last change (the default)
        #[arg(long, conflicts_with_all = ["which", "list"])]
        last: bool,
        /// List the changes that have been recorded, newest first
        #[arg(long, conflicts_with_all = ["which", "all"])]
        list: bool,
        /// Show every fact of the recording
        #[arg(long)]
        all: bool,
    },

    /// Read the configuration file again and put it to work
    #[command(after_help = help::RELOAD)]
    Reload {
        /// Go on until the forwarder serves what is in it
        #[arg(long)]
        wait: bool,
    },

    /// Give the virtual addresses to the other node
    #[command(after_help = help::HANDOVER)]
    Handover {
        /// Only the virtual router of this name; all without it
        name: Option<String>,
    },

    /// Let a target finish what it has and give it nothing new
    #[command(after_help = help::DRAIN)]
    Drain {
        /// The target, as `tandem targets` names it
        #[arg(value_name = "GROUP/TARGET")]
        target: String,
        #[command(flatten)]
        terms: Terms,
    },

    /// Take this node, or a target, out of service
    #[command(after_help = help::MAINT)]
    Maint {
        /// The node, or a target as `tandem targets` names it
        #[arg(value_name = "on|off|GROUP/TARGET")]
        what: String,
        #[command(flatten)]
        terms: Terms,
    },

    /// Let a target take part again
    #[command(after_help = help::READY)]
    Ready {
        /// The target, as `tandem targets` names it
        #[arg(value_name = "GROUP/TARGET")]
        target: String,
    },

    /// Change the weight of a target, or of the groups of a rule
    #[command(after_help = help::WEIGHT)]
    Weight {
        /// A target, or a rule that forwards to several groups
        #[arg(value_name = "GROUP/TARGET|RULE|LISTENER/RULE")]
        subject: String,
        /// A number, or group=number
        #[arg(value_name = "N|GROUP=N", required_unless_present = "reset")]
        weights: Vec<String>,
        /// Take the weights of the file again
        #[arg(long, conflicts_with = "weights")]
        reset: bool,
        #[command(flatten)]
        terms: Terms,
    },

    /// Give a group of a rule so many percent, the others the rest
    #[command(after_help = help::CANARY)]
    Canary {
        /// A rule that forwards to several groups
        #[arg(value_name = "RULE|LISTENER/RULE|LISTENER")]
        rule: String,
        /// The group and its share in percent
        #[arg(value_name = "GROUP=PERCENT")]
        share: String,
        #[command(flatten)]
        terms: Terms,
    },

    /// Give one group of a rule everything (blue/green)
    #[command(after_help = help::SWITCH)]
    Switch {
        /// A rule that forwards to several groups
        #[arg(value_name = "RULE|LISTENER/RULE|LISTENER")]
        rule: String,
        /// The group
        group: String,
        #[command(flatten)]
        terms: Terms,
    },

    /// List what was ordered at run time, or clear it
    #[command(after_help = help::OVERRIDES)]
    Overrides {
        /// Only what is ordered for this
        subject: Option<String>,
        /// Clear instead of listing
        #[arg(long)]
        clear: bool,
    },

    /// Start the director anew; nobody takes over
    #[command(after_help = help::RESTART)]
    Restart,

    /// Tell what an event would do, without doing it
    #[command(after_help = help::SIMULATE)]
    Simulate {
        /// What is assumed
        #[arg(required = true, allow_negative_numbers = true)]
        what: Vec<String>,
    },

    /// Explain where a request would go, and why
    #[command(after_help = help::EXPLAIN)]
    Explain(Asked),

    /// List connections of TCP and tunnels that are open
    #[command(after_help = help::SESSIONS)]
    Sessions {
        #[command(flatten)]
        which: Which,
    },

    /// End connections of TCP and tunnels
    #[command(after_help = help::KILL)]
    Kill {
        /// As `tandem sessions` names them
        #[arg(value_name = "ID", required_unless_present_any = ["older", "target", "listener"],
            conflicts_with_all = ["older", "target", "listener"])]
        sessions: Vec<String>,
        #[command(flatten)]
        which: Which,
    },

    /// Print the figures of the node as Prometheus reads them
    #[command(after_help = help::METRICS)]
    Metrics {
        /// Only families whose name begins like this
        #[arg(value_name = "PREFIX")]
        prefix: Option<String>,
    },

    /// Check a configuration file, without a daemon
    #[command(after_help = help::CHECK)]
    Check {
        /// The file
        #[arg(default_value = "/etc/tandem/tandem.toml")]
        file: PathBuf,
        /// Read it as this node of the pair
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// Exit with 1 if there are warnings
        #[arg(long)]
        strict: bool,
        /// Warn unless the other node of the pair runs this file
        #[arg(long)]
        peer: bool,
    },

    /// Show what a configuration file would change
    #[command(after_help = help::DIFF)]
    Diff {
        /// The file
        #[arg(default_value = "/etc/tandem/tandem.toml")]
        file: PathBuf,
        /// Compare with this file instead of the daemon
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// Read both as this node of the pair
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },

    /// Print completions for a shell
    #[command(after_help = help::COMPLETION)]
    Completion {
        /// The shell
        shell: Shell,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn definitions_hold_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn help_fits_eighty_columns() {
        let mut root = Args::command();
        root.build();
        let names: Vec<String> = root
            .get_subcommands()
            .map(|c| c.get_name().to_owned())
            .collect();
        let mut pages = vec![
            root.render_help().to_string(),
            root.render_long_help().to_string(),
        ];
        for name in names {
            let command = root.find_subcommand_mut(&name).unwrap();
            pages.extend([
                command.render_help().to_string(),
                command.render_long_help().to_string(),
            ]);
        }
        for line in pages.iter().flat_map(|page| page.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

//! The command line: what can be asked, and the words that explain it.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use control::Timestamp;
use control::client::DEFAULT_SOCKET;

const EXIT_CODES: &str = "\
Exit codes:
   0  good
   1  fault: it was tried and did not work
   2  wrong usage
   3  degraded: service is given, something is wrong (status)
   4  no service (status)
  69  the daemon cannot be reached
  77  no permission
  78  the configuration has errors";

const EXAMPLES: &str = "\
Examples:
  tandem status                        how is this node?
  tandem vrrp main                     why is it active, or not?
  tandem why                           the story of the last change of state
  tandem events -f                     what happens, as it happens
  tandem drain app/10.0.0.21:8080      give a target nothing new
  tandem check tandem.toml             is the file right?
  tandem diff tandem.toml              what would a reload change?
  tandem --json status | jq .config    for scripts";

/// Show and command a Tandem node.
#[derive(Debug, Parser)]
#[command(name = "tandem", version, max_term_width = 80)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
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
    #[command(after_help = "\
The exit code is the verdict: 0 good, 3 degraded, 4 no service, 69 daemon not
reachable. The node that answers is marked with a star. P50 and P99 of a
listener: whole requests; of a group: until answers began.

Examples:
  tandem status
  tandem status > /dev/null || echo 'look at this node'
  tandem --json status | jq -r '.vrrp[] | .name + \" \" + .state'")]
    Status,

    /// Explain the election: state, why, timers, priority, peer
    #[command(after_help = "Examples:\n  tandem vrrp\n  tandem vrrp main")]
    Vrrp {
        /// Only the virtual router of this name; all without it
        name: Option<String>,
    },

    /// List the targets of all groups, or of one
    #[command(after_help = "\
STATE is what was observed and ordered in one word, with what the check says
below it where that is not told; a target that drains shows how long bound
clients and what is in flight may still use it. WEIGHT is the one that counts,
with the file's in brackets where an order has changed it. AVG is how long its
answers took to begin. AVG, p50, p99 and SINCE go back no further than the
forwarder runs.

Examples:
  tandem targets
  tandem targets app")]
    Targets {
        /// Only the group of this name; all without it
        group: Option<String>,
    },

    /// List the certificates in use and when they end
    #[command(after_help = "\
Files are read again with `tandem reload`, and when they change. A file that
cannot be used changes nothing: what was read before stays in use.

Examples:
  tandem certs
  tandem --json certs | jq -r '.[] | .name + \" \" + .not_after'")]
    Certs,

    /// List the rules of listeners, and how often each was met
    #[command(after_help = "\
Counters begin with the forwarder and stay over a reload with the rule's name.

Examples:
  tandem rules
  tandem rules https
  tandem --json rules https | jq '.[].rules[] | select(.requests_total == 0)'")]
    Rules {
        /// Only the listener of this name; all without it
        listener: Option<String>,
    },

    /// Show what changed on this node, when and why
    #[command(after_help = "\
Examples:
  tandem events                    everything the daemon remembers
  tandem events --since 10m        the last ten minutes
  tandem events --since 41 -f      what follows event number 41, without end
  tandem --json events -f | jq .   one JSON object a line")]
    Events {
        /// Go on printing events as they happen, until interrupted
        #[arg(short, long)]
        follow: bool,
        /// Only events after an age (10m), a time or a number
        #[arg(long, value_name = "SINCE")]
        since: Option<Since>,
    },

    /// Tell the story of a change of state, in words
    #[command(after_help = "\
The flight recorder keeps the minute before each change and the two seconds
after it. Times are distances from the change, by the monotonic clock.

Examples:
  tandem why                  the last change of this node
  tandem why main             the last change of [vrrp.main]
  tandem why 41               the change that is event number 41
  tandem why --list           which changes have been recorded
  tandem --json why | jq .facts")]
    Why {
        /// Number of an event, or name of a virtual router
        #[arg(value_name = "NUMBER|NAME")]
        which: Option<String>,
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
    #[command(after_help = "\
A file with errors changes nothing: the errors are printed, what runs goes on,
and the exit code is 78. To see first what would change: tandem diff FILE

Examples:
  tandem reload
  tandem check && tandem reload")]
    Reload,

    /// Give the virtual addresses to the other node
    #[command(after_help = "\
The addresses are kept until the other node is heard. If it does not take over,
this node stays active, says why, and the exit code is 1.

Examples:
  tandem handover          everything this node is active for
  tandem handover main     only [vrrp.main]")]
    Handover {
        /// Only the virtual router of this name; all without it
        name: Option<String>,
    },

    /// Let a target finish what it has and give it nothing new
    #[command(after_help = "\
Clients that are bound to it stay; what is in flight has the `drain` time of its
group to end. `tandem targets` shows how much is left.

The order is kept across reload and restart of every process, until it is
cleared (tandem ready, tandem overrides --clear) or its time is over. It is one
of this node: give it on both nodes of a pair.

Examples:
  tandem drain app/10.0.0.21:8080
  tandem drain app/10.0.0.21:8080 --for 2h --why 'disk swap'")]
    Drain {
        /// The target, as `tandem targets` names it
        #[arg(value_name = "GROUP/TARGET")]
        target: String,
        #[command(flatten)]
        terms: Terms,
    },

    /// Take this node, or a target, out of service
    #[command(after_help = "\
on: the node gives its addresses to the other one, and has priority 1 from then
on. It takes over only while nobody else is active, and gives the addresses back
as soon as somebody is. off: priority and preempt are those of the file again.

GROUP/TARGET: the target gets nothing at all, not even from clients that are
bound to it; what is in flight has the `drain` time of its group to end. Its
health check goes on. The order is one of this node: give it on both of a pair.

Both are kept across reload and restart of every process, until they are cleared
(off, tandem ready, tandem overrides --clear) or their time is over.

Examples:
  tandem maint on --why 'new kernel' --for 2h
  tandem maint off
  tandem maint app/10.0.0.21:8080 --why 'new disk'")]
    Maint {
        /// The node, or a target as `tandem targets` names it
        #[arg(value_name = "on|off|GROUP/TARGET")]
        what: String,
        #[command(flatten)]
        terms: Terms,
    },

    /// Let a target take part again
    #[command(after_help = "\
It takes back drain and maint; a weight stays (tandem weight --reset).

Examples:
  tandem ready app/10.0.0.21:8080")]
    Ready {
        /// The target, as `tandem targets` names it
        #[arg(value_name = "GROUP/TARGET")]
        target: String,
    },

    /// Change the weight of a target, or of the groups of a rule
    #[command(after_help = "\
For a rule that forwards to several groups the weights that are named change,
the others stay; what each group gets is printed. A listener is named for what
none of its rules matches.

The order is kept across reload and restart of every process, until it is
cleared (--reset, tandem overrides --clear) or its time is over. It is one of
this node: give it on both nodes of a pair.

Examples:
  tandem weight app/10.0.0.21:8080 5
  tandem weight site web-v1=75 web-v2=25 --why canary
  tandem weight https/site web-v2=0 --for 1h
  tandem weight site --reset                  as in the file again")]
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

    /// List what was ordered at run time, or clear it
    #[command(after_help = "\
Orders stand beside the file: who gave them, when, until when, why. One for
something that is not in the file is kept, shown as `matches nothing`, and holds
when the thing is back.

Examples:
  tandem overrides
  tandem overrides --clear app/10.0.0.21:8080
  tandem overrides --clear                    all of them")]
    Overrides {
        /// Only what is ordered for this
        subject: Option<String>,
        /// Clear instead of listing
        #[arg(long)]
        clear: bool,
    },

    /// Start the director anew; nobody takes over
    #[command(after_help = "\
Replaces it by the program on disk. Announces a pause to the other node, which
waits meanwhile. The next one takes over addresses and data plane as they are:
no connection is touched. If it does not get there within some seconds, the
other node takes over and the exit code is 1. Not possible with VRRPv2, a
virtual MAC or accept_mode = false: there, hand over first.
The same by signal: kill -USR2 of tandemd.

Examples:
  tandem restart           after an upgrade of the package")]
    Restart,

    /// Tell what an event would do, without doing it
    #[command(after_help = "\
Goes through the election of this node and of the other one in made-up time,
with the state and the configuration of now. Nothing is touched.

  IFACE down|up            an interface that is used or tracked
  peer silent              the other router is gone
  peer priority N          the other router has this priority
  track NAME ok|fail       a script, file, process or probe
  forwarder down           the data plane has died
  maint on                 this node in maintenance
  handover, stop           what these orders would do

Examples:
  tandem simulate eth0 down
  tandem simulate track disk fail")]
    Simulate {
        /// What is assumed
        #[arg(required = true)]
        what: Vec<String>,
    },

    /// Explain where a request would go, and why
    #[command(after_help = "\
Nothing is sent and nothing counted. The daemon is asked, with what it knows of
targets and cookies; with --config a file is, as if every target were unknown.
The exit code is 0 if the request would be answered by a target or a rule, 1 if
it would be refused, closed or find no target, 2 if no listener takes it.

Examples:
  tandem explain GET https://app.example.com/api/x -H 'X-Beta: yes'
  tandem explain GET http://shop.example.com/ --from 198.51.100.7
  tandem explain POST https://app.example.com/ --config new.toml
  tandem --json explain GET http://a.test/ | jq -r .rule")]
    Explain(Asked),

    /// Check a configuration file, without a daemon
    #[command(after_help = "\
Prints every error and warning with place and remedy; 78 if there are errors.

Examples:
  tandem check tandem.toml
  tandem check tandem.toml --node lb2     as the other node would read it")]
    Check {
        /// The file
        #[arg(default_value = "/etc/tandem/tandem.toml")]
        file: PathBuf,
        /// Read it as this node of the pair
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
    },

    /// Show what a configuration file would change
    #[command(after_help = "\
Compares with what the daemon runs, or without a daemon with another file.

Examples:
  tandem diff tandem.toml
  tandem diff new.toml --against old.toml")]
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
    #[command(after_help = "\
Examples:
  tandem completion bash > /etc/bash_completion.d/tandem
  tandem completion zsh > /usr/local/share/zsh/site-functions/_tandem
  tandem completion fish > ~/.config/fish/completions/tandem.fish")]
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// What may be said with an order that stays.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Terms {
    /// Let it end by itself after this time: 90s, 10m, 2h, 1d
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    pub(crate) length: Option<Duration>,
    /// The reason, for whoever looks later
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
}

impl Terms {
    /// Its length in seconds.
    pub(crate) fn for_s(&self) -> Option<u64> {
        self.length.map(|length| length.as_secs())
    }
}

fn length(text: &str) -> Result<Duration, String> {
    age(text).ok_or_else(|| "expected a time like 90s, 10m, 2h or 1d".to_owned())
}

/// A request to be explained.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The method
    pub(crate) method: String,
    /// The URL, as a client would write it
    pub(crate) url: String,
    /// A header of the request, as often as needed
    #[arg(short = 'H', long, value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// Address of the client (127.0.0.1 unless given)
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) from: Option<std::net::IpAddr>,
    /// The listener (by scheme and port unless given)
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// Ask this file instead of the daemon
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Read the file as this node of the pair
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) node: Option<String>,
}

/// Where a list of events begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// After the event of this number.
    Number(u64),
    /// After this time.
    Time(Timestamp),
    /// So long ago.
    Age(Duration),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::Time(time));
        }
        age(text).map(Self::Age).ok_or_else(|| {
            "expected an age like 10m, a time like 2026-03-04T05:06:07Z, or an event number"
                .to_owned()
        })
    }
}

/// `90s`, `10m`, `2h`, `1d`
fn age(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u64 = text[..text.len() - 1].parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(seconds)?))
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
    fn since_in_its_three_forms() {
        assert_eq!("41".parse(), Ok(Since::Number(41)));
        assert_eq!("90s".parse(), Ok(Since::Age(Duration::from_secs(90))));
        assert_eq!("10m".parse(), Ok(Since::Age(Duration::from_secs(600))));
        assert_eq!("2h".parse(), Ok(Since::Age(Duration::from_secs(7200))));
        assert_eq!("1d".parse(), Ok(Since::Age(Duration::from_secs(86_400))));
        let time = Since::Time(Timestamp::from_millis(1_772_600_767_000));
        assert_eq!("2026-03-04T05:06:07Z".parse(), Ok(time));
        for bad in [
            "",
            "m",
            "-1m",
            "1.5h",
            "10 m",
            "10é",
            "99999999999999999999d",
            "213503982334602d",
        ] {
            assert!(bad.parse::<Since>().is_err(), "{bad}");
        }
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

//! What the priority of a virtual router follows.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the priority of a virtual router follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// Whether the forwarder has to be alive and listening.
    pub forwarder: bool,
    /// Interfaces that have to be up, besides the one of the virtual router.
    pub interfaces: Vec<TrackedInterface>,
    /// Target groups that have to be usable.
    pub groups: Vec<TrackedGroup>,
    /// Scripts, files, processes and probes, each in the order of the file.
    pub checks: Vec<TrackedCheck>,
}

/// An interface that has to be up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedInterface {
    /// Its name on this node.
    pub name: String,
    /// What is added to the priority while it is down (or, if positive, while it is up); `None` = down means fault.
    pub weight: Option<i16>,
}

/// A target group that has to be usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedGroup {
    /// Its name.
    pub name: String,
    /// With fewer usable targets than this it counts as down. At least 1.
    pub min_usable: u32,
    /// As with an interface.
    pub weight: Option<i16>,
}

/// Something that is looked at again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedCheck {
    /// Its name in the file.
    pub name: String,
    /// What is looked at, and how often.
    pub watch: Watch,
    /// Passes in a row until what was down counts as up. At least 1.
    pub rise: u32,
    /// Failures in a row until what was up counts as down. At least 1.
    pub fall: u32,
    /// What it does to the priority.
    pub effect: Effect,
}

impl TrackedCheck {
    /// Kind and name, such as `script disk`.
    pub fn label(&self) -> String {
        format!("{} {}", self.watch.probe.kind(), self.name)
    }
}

/// What something tracked does to the priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Down means fault.
    Fault,
    /// Added while it is down, or, if positive, while it is up. Not 0.
    Weight(i16),
    /// The number found, times this, is added. Not 0. For files alone.
    Number(i16),
}

/// What is looked at, and how often. Two that are equal are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Watch {
    /// What is looked at.
    pub probe: Probe,
    /// From the beginning of one look to that of the next.
    pub every: Duration,
    /// How long a look may take; shorter than `every`.
    pub timeout: Duration,
}

/// What a check looks at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Probe {
    /// A program that has to end with exit code 0.
    Script {
        /// Its absolute path and its arguments.
        run: Vec<String>,
    },
    /// A file.
    File {
        /// Its absolute path.
        path: PathBuf,
        /// What is wanted of it.
        expect: FileExpectation,
    },
    /// Processes of this host.
    Process {
        /// How they are known.
        which: ProcessName,
        /// How many there have to be. At least 1.
        min: u32,
        /// How many there may be.
        max: Option<u32>,
    },
    /// An ICMP echo that has to be answered.
    Ping {
        /// Who is asked.
        address: IpAddr,
        /// Over which interface; `None` = as the routes say.
        interface: Option<String>,
    },
    /// An ARP request that has to be answered.
    Arp {
        /// Who is asked.
        address: Ipv4Addr,
        /// On which interface.
        interface: String,
    },
    /// A TCP connection that has to be accepted.
    Tcp {
        /// Where to.
        address: SocketAddr,
    },
    /// An HTTP request whose answer has to have one of these statuses.
    Http {
        /// Where to.
        address: SocketAddr,
        /// Value of the `Host` field.
        host: String,
        /// What is asked for.
        path: String,
        /// First and last status of each range.
        status: Vec<(u16, u16)>,
    },
    /// A DNS query over UDP that has to be answered without an error.
    Dns {
        /// Who is asked.
        server: SocketAddr,
        /// What for: the address of this name, or the name servers of `.`.
        name: String,
    },
}

impl Probe {
    /// In which part of `track` it stands, as one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Probe::Script { .. } => "script",
            Probe::File { .. } => "file",
            Probe::Process { .. } => "process",
            Probe::Ping { .. }
            | Probe::Arp { .. }
            | Probe::Tcp { .. }
            | Probe::Http { .. }
            | Probe::Dns { .. } => "probe",
        }
    }
}

/// In the words of the file.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Probe::Script { run } => write!(f, "run {}", run.join(" ")),
            Probe::File { path, expect } => {
                write!(f, "{} {}", path.display(), expect.as_str())
            }
            Probe::Process { which, min, max } => {
                match which {
                    ProcessName::Name(name) => write!(f, "name {name}")?,
                    ProcessName::Command(text) => write!(f, "command {text}")?,
                    ProcessName::PidFile(path) => write!(f, "pid_file {}", path.display())?,
                }
                write!(f, ", min {min}")?;
                max.map_or(Ok(()), |max| write!(f, ", max {max}"))
            }
            Probe::Ping { address, interface } => {
                write!(f, "ping {address}")?;
                let on = |interface: &String| write!(f, " on {interface}");
                interface.as_ref().map_or(Ok(()), on)
            }
            Probe::Arp { address, interface } => write!(f, "arp {address} on {interface}"),
            Probe::Tcp { address } => write!(f, "tcp {address}"),
            Probe::Http {
                address,
                host,
                path,
                status,
            } => {
                write!(f, "http {address}{path} as {host}, status")?;
                status
                    .iter()
                    .try_for_each(|(from, to)| write!(f, " {from}-{to}"))
            }
            Probe::Dns { server, name } => write!(f, "dns {server} for {name}"),
        }
    }
}

/// What is wanted of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FileExpectation {
    /// A number; a file that is empty or not there holds 0.
    Number,
    /// That it is there.
    Present,
    /// That it is not there.
    Absent,
}

impl FileExpectation {
    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        match self {
            FileExpectation::Number => "number",
            FileExpectation::Present => "present",
            FileExpectation::Absent => "absent",
        }
    }
}

/// How a process is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ProcessName {
    /// By the file name of its program, or the name it has given itself.
    Name(String),
    /// By the beginning of its command line, words parted by single spaces.
    Command(String),
    /// By the number in this file.
    PidFile(PathBuf),
}

//! The request that `tandem explain` is about, and the sessions of `tandem sessions` and `tandem kill`.

use std::path::PathBuf;
use std::time::Duration;

use super::times::length;

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

/// Which sessions are meant.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Which {
    /// Open for at least this time: 90s, 10m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = length)]
    pub(crate) older: Option<Duration>,
    /// Of this group, or target of a group
    #[arg(long, value_name = "GROUP[/TARGET]")]
    pub(crate) target: Option<String>,
    /// Of this listener
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
}

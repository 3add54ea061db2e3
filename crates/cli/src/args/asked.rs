//! The request that `tandem explain` is about.

use std::path::PathBuf;

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

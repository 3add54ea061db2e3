//! Reading the configuration: from the file, or, for a director that starts again, the last one that was good.

use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, Facts, Network, Report};
use ipnet::IpNet;
use nix::sys::socket::SockaddrStorage;

/// Largest configuration file that is read, in octets.
const SIZE_LIMIT: u64 = 8 * 1024 * 1024;

/// A configuration as read, with everything that was found wrong with it.
pub(crate) struct Loaded {
    /// Where it was read from.
    pub path: PathBuf,
    /// The text.
    pub text: String,
    /// What it means; none when it has errors.
    pub config: Option<Config>,
    /// Errors and warnings.
    pub report: Report,
    /// The same for a person; empty when there is nothing to say.
    pub report_text: String,
}

impl Loaded {
    /// The same in memory of its own; nothing is shared.
    pub(super) fn copy(&self) -> Self {
        let config = self.config.clone().map(|mut config| {
            for vrrp in &mut config.vrrp {
                *vrrp = Arc::new(config::Vrrp::clone(vrrp));
            }
            config
        });
        Self {
            path: self.path.clone(),
            text: self.text.clone(),
            config,
            report: self.report.clone(),
            report_text: self.report_text.clone(),
        }
    }
}

/// Reads and checks a file.
///
/// # Errors
/// When the file cannot be read or is no text; what is wrong inside stands in the report.
pub(crate) fn load_from_disk(path: &Path, node: Option<String>) -> std::io::Result<Loaded> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?
        .take(SIZE_LIMIT + 1)
        .read_to_string(&mut text)?;
    if read as u64 > SIZE_LIMIT {
        return Err(std::io::Error::other("the file is larger than 8 MiB"));
    }
    let outcome = config::load(path, &text, &facts(node));
    let silent = outcome.report.problems.is_empty();
    let report_text = if silent {
        String::new()
    } else {
        outcome.report.render(&text, path, false)
    };
    Ok(Loaded {
        path: path.to_owned(),
        text,
        config: outcome.config,
        report: outcome.report,
        report_text,
    })
}

/// How a node finds itself: by order, by host name, by its addresses.
fn facts(node: Option<String>) -> Facts {
    let host_name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default();
    let networks = own_networks();
    Facts {
        node_override: node,
        host_name,
        addresses: networks.iter().map(|network| network.net.addr()).collect(),
        binds: config::Binds::Own,
        networks,
        descriptors: linux::process::nofile_limit().ok(),
        file_access: true,
        now: Some(std::time::SystemTime::now()),
    }
}

/// Every address of every interface with its prefix.
fn own_networks() -> Vec<Network> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let networks = interfaces.filter_map(|interface| {
        let address = ip(interface.address.as_ref()?)?;
        let mask = interface.netmask.as_ref().and_then(ip);
        let net = match mask {
            Some(mask) => IpNet::with_netmask(address, mask).ok()?,
            None => IpNet::from(address),
        };
        Some(Network {
            interface: interface.interface_name,
            net,
        })
    });
    networks.collect()
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

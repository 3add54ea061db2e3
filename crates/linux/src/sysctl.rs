//! Network settings of single links, below `/proc/sys/net`.

use std::fmt;
use std::io;

/// Which protocol a setting belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `net.ipv4.conf.LINK`
    Ipv4,
    /// `net.ipv6.conf.LINK`
    Ipv6,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Ipv4 => "ipv4",
            Protocol::Ipv6 => "ipv6",
        })
    }
}

/// The value of a setting, without the end of its line.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if `link_name` or `key` can not be a name; [`io::ErrorKind::NotFound`] without such a link or setting;
/// else what reading gave.
pub fn read(protocol: Protocol, link_name: &str, key: &str) -> io::Result<String> {
    let text = std::fs::read_to_string(path(protocol, link_name, key)?)?;
    Ok(text.trim_end().to_owned())
}

/// Sets a value.
///
/// # Errors
/// As [`read`]; also `EPERM` without root or CAP_NET_ADMIN, and `EINVAL` for a value the kernel does not take.
pub fn write(protocol: Protocol, link_name: &str, key: &str, value: &str) -> io::Result<()> {
    std::fs::write(path(protocol, link_name, key)?, value)
}

fn path(protocol: Protocol, link_name: &str, key: &str) -> io::Result<String> {
    let impossible = |name: &str| name.is_empty() || name.starts_with('.') || name.contains('/');
    if link_name.len() >= nix::libc::IFNAMSIZ || impossible(link_name) || impossible(key) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{link_name:?} or {key:?} can not be the name of a link or a setting"),
        ));
    }
    Ok(format!("/proc/sys/net/{protocol}/conf/{link_name}/{key}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        for name in ["", ".", "..", "a/b", "a-name-of-sixteen"] {
            let error = read(Protocol::Ipv4, name, "arp_ignore").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
        assert!(write(Protocol::Ipv6, "lo", "../lo/mtu", "1280").is_err());
    }

    #[test]
    fn a_value_is_read_without_its_line_end() {
        let value = read(Protocol::Ipv4, "lo", "arp_ignore").unwrap();
        assert!(value.parse::<u8>().is_ok(), "{value:?}");
        let missing = read(Protocol::Ipv4, "lo", "no_such_setting").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}

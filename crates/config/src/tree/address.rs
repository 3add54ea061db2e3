//! Addresses as values: alone, with prefix length, with port.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Item;
use crate::Code;

impl Item<'_> {
    /// An address without port or prefix.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let text = self.as_str().unwrap_or_default();
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        let bare = text.trim().split('/').next().unwrap_or_default();
        let hint = bare
            .parse::<IpAddr>()
            .ok()
            .or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
        self.expected(
            "an address like \"10.0.0.2\"",
            hint.map(|address| format!("\"{address}\"")),
        );
        None
    }

    /// An address with or without a prefix length; without one it is a single address.
    pub(crate) fn prefix(&self, example: &str) -> Option<IpNet> {
        let text = self.as_str().unwrap_or_default();
        if let Ok(net) = text.parse() {
            return Some(net);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(IpNet::from(address));
        }
        let hint = text
            .parse::<SocketAddr>()
            .ok()
            .map(|address| format!("\"{}\"", address.ip()));
        self.expected(
            &format!("an address with prefix length like \"{example}\""),
            hint,
        );
        None
    }

    /// An address with a port that is not 0. `*` and an empty address stand for no address here.
    pub(crate) fn socket_address(&self, example: &str) -> Option<SocketAddr> {
        let text = self.as_str().unwrap_or_default();
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                self.error(
                    Code::OutOfRange,
                    format!("the port of \"{address}\" must be from 1 to 65535"),
                    None,
                );
                return None;
            }
            return Some(address);
        }
        let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
        if text.parse::<IpAddr>().is_ok() {
            let address = if text.contains(':') {
                format!("[{text}]")
            } else {
                text.to_owned()
            };
            let message = format!(
                "expected an address with port like \"{example}\", got \"{text}\" without a port"
            );
            self.error(
                Code::WrongType,
                message,
                format!("write \"{address}:PORT\""),
            );
        } else if matches!(host, "" | "*") && port.parse::<u16>().is_ok() {
            self.expected(
                &format!("an address with port like \"{example}\""),
                Some(format!("\"0.0.0.0:{port}\"")),
            );
        } else if port.parse::<u16>().is_ok()
            && host.contains(|c: char| c.is_ascii_alphabetic())
            && !host.contains(':')
        {
            let message = format!(
                "expected an address with port like \"{example}\", got the host name {text:?}"
            );
            self.error(
                Code::WrongType,
                message,
                "names are not looked up: write the address".to_owned(),
            );
        } else {
            self.expected(&format!("an address with port like \"{example}\""), None);
        }
        None
    }
}

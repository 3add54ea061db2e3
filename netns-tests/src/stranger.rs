//! Single packets of any shape, as a whole Ethernet frame from the client host: what a device makes of each is for the test to see.
//!
//! Written apart from the `vrrp` crate on purpose, like `wire`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context as _;
use pnet::datalink::{self, DataLinkSender};

use crate::lab::{Host, Lab};
use crate::wire::checksum;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
const PROTOCOL: u8 = 112;

/// What the checksum of a [`Shot`] covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// The pseudo-header and the message (RFC 5798; IPv6).
    Pseudo,
    /// The message alone (RFC 9568 over IPv4; version 2).
    Plain,
    /// It is wrong.
    Broken,
}

/// An advertisement, right in everything unless told otherwise.
#[derive(Clone, Debug)]
pub struct Shot {
    /// First octet: version and type.
    pub first: u8,
    /// The virtual router.
    pub vrid: u8,
    /// Its priority.
    pub priority: u8,
    /// The count of addresses; that of `addresses` when `None`.
    pub count: Option<u8>,
    /// The fifth and sixth octet: reserved bits and centiseconds in version 3, authentication type and seconds in version 2.
    pub interval: [u8; 2],
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// What follows the addresses: eight octets in version 2.
    pub trailer: Vec<u8>,
    /// What the checksum covers.
    pub sum: Sum,
    /// Source address; the client's when `None`.
    pub source: Option<IpAddr>,
    /// Destination address; the group when `None`.
    pub destination: Option<IpAddr>,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Source hardware address; the client's when `None`.
    pub mac: Option<[u8; 6]>,
}

impl Shot {
    /// Version 3 from a router of priority 200 that sends each 20 centiseconds.
    pub fn v3(vrid: u8, addresses: &[IpAddr]) -> Shot {
        let v6 = addresses.iter().any(IpAddr::is_ipv6);
        Shot {
            first: 0x31,
            vrid,
            priority: 200,
            count: None,
            interval: [0, 20],
            addresses: addresses.to_vec(),
            trailer: Vec::new(),
            sum: Sum::Pseudo,
            source: Some(if v6 {
                Host::Client.link_local().into()
            } else {
                Host::Client.v4().into()
            }),
            destination: None,
            hop_limit: 255,
            mac: None,
        }
    }

    /// Version 2 from a router of priority 200 that sends each second, without a password.
    pub fn v2(vrid: u8, addresses: &[IpAddr]) -> Shot {
        Shot {
            first: 0x21,
            interval: [0, 1],
            trailer: vec![0; 8],
            sum: Sum::Plain,
            ..Shot::v3(vrid, addresses)
        }
    }

    /// The same but for one thing.
    #[must_use]
    pub fn but(mut self, change: impl FnOnce(&mut Shot)) -> Shot {
        change(&mut self);
        self
    }

    /// The whole Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        let source = self.source.unwrap_or(Host::Client.v4().into());
        let destination = self.destination.unwrap_or(match source {
            IpAddr::V4(_) => GROUP_V4.into(),
            IpAddr::V6(_) => GROUP_V6.into(),
        });
        let message = self.message(source, destination);
        let mut frame = hardware_of(destination).to_vec();
        frame.extend(self.mac.unwrap_or(Host::Client.mac()));
        match (source, destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([0x08, 0x00]);
                frame.extend(ipv4_header(from, to, self.hop_limit, message.len()));
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend([0x86, 0xdd, 0x6c, 0, 0, 0]);
                frame.extend(length16(message.len()));
                frame.extend([PROTOCOL, self.hop_limit]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
        frame.extend(message);
        frame
    }

    fn message(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let count = self
            .count
            .unwrap_or_else(|| u8::try_from(self.addresses.len()).unwrap_or(u8::MAX));
        let mut message = vec![self.first, self.vrid, self.priority, count];
        message.extend(self.interval);
        message.extend([0, 0]);
        for address in &self.addresses {
            message.extend(octets(*address));
        }
        message.extend(&self.trailer);
        let mut summed = Vec::new();
        if self.sum == Sum::Pseudo {
            summed.extend(octets(source));
            summed.extend(octets(destination));
            summed.extend([0, PROTOCOL]);
            summed.extend(length16(message.len()));
        }
        summed.extend(&message);
        let mut sum = checksum(&summed);
        if self.sum == Sum::Broken {
            sum ^= 0x5555;
        }
        message[6..8].copy_from_slice(&sum.to_be_bytes());
        message
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn length16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn ipv4_header(from: Ipv4Addr, to: Ipv4Addr, ttl: u8, payload: usize) -> [u8; 20] {
    let mut header = [0; 20];
    header[..2].copy_from_slice(&[0x45, 0xc0]);
    header[2..4].copy_from_slice(&length16(20 + payload));
    header[8..10].copy_from_slice(&[ttl, PROTOCOL]);
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// The hardware address of a group, or of the host of the laboratory with this address.
fn hardware_of(destination: IpAddr) -> [u8; 6] {
    match destination {
        IpAddr::V4(v4) if v4.is_multicast() => {
            let [_, b, c, d] = v4.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V4(v4) => [0x02, 0, 0, 0, 0, v4.octets()[3]],
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let last: [u8; 4] = [octets[12], octets[13], octets[14], octets[15]];
            if v6.is_multicast() {
                [0x33, 0x33, last[0], last[1], last[2], last[3]]
            } else {
                [0x02, 0, 0, 0, 0, last[3]]
            }
        }
    }
}

/// Sends frames from the client host.
pub struct Stranger {
    sender: Box<dyn DataLinkSender>,
}

impl Stranger {
    /// A packet socket on the client's link.
    ///
    /// # Errors
    /// When none can be opened there.
    pub fn new(lab: &Lab) -> anyhow::Result<Stranger> {
        let sender = lab.net(Host::Client).enter(open)??;
        Ok(Stranger { sender })
    }

    /// Sends one packet.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn shoot(&mut self, shot: &Shot) -> anyhow::Result<()> {
        let sent = self.sender.send_to(&shot.frame(), None);
        sent.context("the link takes no frame")?
            .context("send a frame")
    }
}

fn open() -> anyhow::Result<Box<dyn DataLinkSender>> {
    let link = datalink::interfaces()
        .into_iter()
        .find(|link| link.name == "eth0")
        .context("the client has no eth0")?;
    match datalink::channel(&link, datalink::Config::default()).context("open a packet socket")? {
        datalink::Channel::Ethernet(sender, _) => Ok(sender),
        _ => anyhow::bail!("the client's eth0 is no Ethernet"),
    }
}

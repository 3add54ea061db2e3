//! `off_link` and `other_list`: whose advertisements count besides those that every rule allows.

use ::vrrp::Version;

use crate::Code;
use crate::model::VipAddress;
use crate::tree::{At, Item, Section};

/// What becomes of advertisements that the RFC leaves to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Belief {
    /// Those over IPv4 from an address in no network of the interface.
    pub(crate) off_link: Taken,
    /// Those with other addresses than ours.
    pub(crate) other_list: Taken,
}

/// Whether something is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// As any other.
    Accept,
    /// Counted, and an alarm.
    Drop,
}

impl Taken {
    fn read(item: &Item<'_>) -> Option<Self> {
        item.word(&[("accept", Self::Accept), ("drop", Self::Drop)])
    }
}

impl Belief {
    pub(super) fn read(
        section: &Section<'_>,
        version: Version,
        vips: &[At<VipAddress>],
        unicast: bool,
    ) -> Self {
        let off_link = section.get("off_link");
        let other_list = section.get("other_list");
        // RFC 9568 §7.1, and RFC 3768 §7.1, which lets nobody but an owner differ.
        let usual = match version {
            Version::V2 => Taken::Drop,
            Version::V3 => Taken::Accept,
        };
        Self {
            off_link: off_link
                .and_then(|item| off_link_of(&item, vips, unicast))
                .unwrap_or(Taken::Accept),
            other_list: other_list
                .and_then(|item| Taken::read(&item))
                .unwrap_or(usual),
        }
    }
}

/// A choice that only multicast over IPv4 has.
fn off_link_of(item: &Item<'_>, vips: &[At<VipAddress>], unicast: bool) -> Option<Taken> {
    let taken = Taken::read(item)?;
    let ipv4 = vips.is_empty() || vips.iter().any(|vip| vip.value.address.is_ipv4());
    let why = match (unicast, ipv4) {
        (false, true) => return Some(taken),
        (true, _) => {
            "`off_link` is for multicast: over unicast nobody but the other nodes is believed"
        }
        (false, false) => {
            "`off_link` is for IPv4: over IPv6 no other than link-local addresses are believed"
        }
    };
    if taken == Taken::Drop {
        let remedy = "remove the line".to_owned();
        item.found()
            .error(Code::ProtocolOption, &item.key_place(), why, remedy);
    }
    Some(taken)
}

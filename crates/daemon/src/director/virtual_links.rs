//! The links that carry virtual MAC addresses: a macvlan for each virtual router and family on top of its interface (RFC 9568 §7.3).
//!
//! A link of ours is up exactly while its virtual router claims or holds addresses. Down, it takes and sends nothing, so no frame of a
//! Backup can teach a switch the wrong port, and none to the virtual MAC is taken (RFC 9568 §6.4.2). Advertisements are received on the
//! interface below.

use linux::address::{Kernel, Link, VirtualLink};
use linux::sysctl::Protocol;
use vrrp::{Family, Vrid};

use super::addresses::words;
use super::parent_settings::ParentSettings;

/// What the aliases of all our links begin with.
const MARK: &str = "tandem: ";
/// The first octets of virtual MACs: IANA's, and what tells IPv4 from IPv6 (RFC 9568 §7.3).
const MAC_V4: [u8; 5] = [0x00, 0x00, 0x5e, 0x00, 0x01];
const MAC_V6: [u8; 5] = [0x00, 0x00, 0x5e, 0x00, 0x02];

/// A link that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MadeLink {
    pub(super) family: Family,
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: [u8; 6],
}

/// What to make: on this interface, for this virtual router, for these families.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) parent: Link,
    pub(super) vrid: Vrid,
    pub(super) name: String,
    pub(super) families: Vec<Family>,
}

/// The virtual MAC of a virtual router.
pub(super) fn mac(family: Family, vrid: Vrid) -> [u8; 6] {
    let [a, b, c, d, e] = match family {
        Family::V4 => MAC_V4,
        Family::V6 => MAC_V6,
    };
    [a, b, c, d, e, vrid.value()]
}

/// A MAC as people write it, `00:00:5e:00:01:33`.
pub(super) fn words_of(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

/// Sets the interface below and makes the links, all down; or nothing.
pub(super) async fn make(
    kernel: &Kernel,
    settings: &ParentSettings,
    plan: &Plan,
) -> Result<Vec<MadeLink>, String> {
    if plan.families.contains(&Family::V4) {
        settings.hold(&plan.parent).await?;
    }
    let mut made = Vec::new();
    for family in &plan.families {
        match make_one(kernel, plan, *family).await {
            Ok(link) => made.push(link),
            Err(reason) => {
                remove(kernel, settings, plan, &made).await;
                return Err(reason);
            }
        }
    }
    Ok(made)
}

async fn make_one(kernel: &Kernel, plan: &Plan, family: Family) -> Result<MadeLink, String> {
    let (digit, protocol) = match family {
        Family::V4 => ('4', Protocol::Ipv4),
        Family::V6 => ('6', Protocol::Ipv6),
    };
    let (vrid, parent) = (plan.vrid.value(), &plan.parent);
    let link = VirtualLink {
        parent: parent.index,
        name: format!("td{digit}.{vrid}.{}", parent.index),
        mac: mac(family, plan.vrid),
        alias: format!(
            "{MARK}virtual router {vrid} ({}) on {}",
            plan.name, parent.name
        ),
        protocol,
    };
    let index = kernel
        .make_link(&link)
        .await
        .map_err(|error| words(&error))?;
    Ok(MadeLink {
        family,
        index,
        name: link.name,
        mac: link.mac,
    })
}

/// Removes the links and gives the interface below its settings back.
pub(super) async fn remove(
    kernel: &Kernel,
    settings: &ParentSettings,
    plan: &Plan,
    made: &[MadeLink],
) {
    for link in made {
        if let Err(error) = kernel.remove_link(link.index).await {
            // The next start sweeps it.
            tracing::warn!(
                link = link.name,
                error = words(&error),
                "virtual link not removed"
            );
        }
    }
    if plan.families.contains(&Family::V4) {
        settings.give_back(plan.parent.index).await;
    }
}

/// Whether an earlier run left this link behind.
pub(super) fn is_left_behind(link: &Link) -> bool {
    if link.kind.as_deref() != Some("macvlan") {
        return false;
    }
    let marked = link
        .alias
        .as_deref()
        .is_some_and(|alias| alias.starts_with(MARK));
    // Made, but not marked yet when that run ended.
    let named = ["td4.", "td6."]
        .iter()
        .any(|prefix| link.name.starts_with(prefix));
    let virtual_mac = link
        .mac
        .is_some_and(|mac| mac.starts_with(&MAC_V4) || mac.starts_with(&MAC_V6));
    marked || named && virtual_mac
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn link(kind: &str, name: &str, alias: Option<&str>, mac: [u8; 6]) -> Link {
        Link {
            index: 7,
            name: name.to_owned(),
            up: true,
            running: true,
            mac: Some(mac),
            mtu: 1500,
            kind: Some(kind.to_owned()),
            alias: alias.map(str::to_owned),
            parent: Some(2),
            master: None,
        }
    }

    #[test]
    fn the_virtual_mac_is_made_of_family_and_vrid() {
        let vrid = Vrid::new(51).unwrap();
        assert_eq!(mac(Family::V4, vrid), [0, 0, 0x5e, 0, 1, 51]);
        assert_eq!(mac(Family::V6, vrid), [0, 0, 0x5e, 0, 2, 51]);
    }

    #[test]
    fn only_links_of_ours_are_left_behind() {
        let (ours, other) = ([0, 0, 0x5e, 0, 1, 51], [2, 0, 0, 0, 0, 1]);
        let alias = Some("tandem: virtual router 51 (main) on eth0");
        for (link, left) in [
            (link("macvlan", "td4.51.2", alias, ours), true),
            (link("macvlan", "renamed0", alias, ours), true),
            (link("macvlan", "td4.51.2", None, ours), true),
            (link("macvlan", "td4.51.2", None, other), false),
            (link("macvlan", "vrrp.51", None, ours), false),
            (link("dummy", "td4.51.2", alias, ours), false),
        ] {
            assert_eq!(is_left_behind(&link), left, "{link:?}");
        }
    }
}

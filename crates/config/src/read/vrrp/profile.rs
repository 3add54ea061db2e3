//! `profile`: what a virtual router is where the file says nothing.

use ::vrrp::{ChecksumForm, ChecksumPolicy, Interval, Preempt, Version};

use super::times;
use crate::Code;
use crate::model::VipAddress;
use crate::tree::{At, Section};

/// Whose defaults hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// This product's: a pair that serves on its VIPs.
    Pair,
    /// RFC 9568's: virtual MAC, Accept_Mode false, one second, preemption at once, its checksum, its times.
    Rfc9568,
}

impl Profile {
    pub(super) fn read(section: &Section<'_>, version: Version, vips: &[At<VipAddress>]) -> Self {
        let Some(item) = section.get("profile") else {
            return Self::Pair;
        };
        if item.word(&[("rfc9568", ())]).is_none() {
            return Self::Pair;
        }
        if version == Version::V2 {
            let message = "`profile = \"rfc9568\"` is version 3";
            let remedy = "remove one of `profile` and `version`".to_owned();
            item.error(Code::ProtocolOption, message, remedy);
        }
        let mut v6 = vips.iter().filter(|vip| vip.value.address.is_ipv6());
        let first = v6.next();
        let is_link_local = |vip: &At<VipAddress>| match vip.value.address {
            std::net::IpAddr::V6(address) => address.is_unicast_link_local(),
            std::net::IpAddr::V4(_) => false,
        };
        if let Some(first) = first
            && !is_link_local(first)
            && !v6.any(is_link_local)
        {
            let message = "RFC 9568 wants a link-local address among the IPv6 VIPs";
            let remedy = "add for example \"fe80::10/64\", the same on every router".to_owned();
            let found = item.found();
            found.error(Code::MissingKey, &first.place, message, remedy);
        }
        Self::Rfc9568
    }

    pub(super) fn checksum(self) -> ChecksumPolicy {
        match self {
            Self::Pair => ChecksumPolicy::Auto,
            Self::Rfc9568 => ChecksumPolicy::Fixed(ChecksumForm::Rfc9568),
        }
    }

    pub(super) fn interval(self, version: Version) -> Interval {
        match self {
            Self::Pair => times::default_interval(version),
            Self::Rfc9568 => Interval::SECOND,
        }
    }

    pub(super) fn preempt(self) -> Preempt {
        match self {
            Self::Pair => Preempt::After(times::PREEMPT_DELAY),
            Self::Rfc9568 => Preempt::Immediately,
        }
    }

    pub(super) fn virtual_mac(self) -> bool {
        self == Self::Rfc9568
    }

    pub(super) fn accept_mode(self) -> bool {
        self == Self::Pair
    }
}

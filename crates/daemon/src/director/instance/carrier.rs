//! Where the addresses of a virtual router are and where its advertisements leave: the interface itself, or links of our own on top of it
//! that have the virtual MAC.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use linux::address::Link;
use vrrp::Family;

use super::Instance;
use crate::director::addresses::Order;
use crate::director::announcers::Outlet;
use crate::director::virtual_links::{MadeLink, Plan};
use crate::director::wires::{self, WireKey};

/// After this long, links that could not be made are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The links with virtual MACs, where they are wanted.
#[derive(Debug, Default)]
pub(super) enum VirtualLinks {
    /// The interface's own MAC is used, or there is no interface.
    #[default]
    None,
    /// Ordered, on the interface of this index.
    Making { parent: u32 },
    /// In place.
    Ready { parent: u32, links: Vec<Carrier> },
    /// Refused by the kernel.
    Failed { reason: String, retry_at: Instant },
}

/// A virtual link and the socket that announces its addresses.
#[derive(Debug)]
pub(super) struct Carrier {
    link: MadeLink,
    announcer: Option<Rc<Outlet>>,
}

impl Instance {
    /// The link of the addresses of `family`: none while it is not there.
    pub(in crate::director) fn place(&self, family: Family) -> Option<u32> {
        if !self.config.virtual_mac {
            return self.ifindex();
        }
        self.virtual_link(family).map(|link| link.index)
    }

    /// The link with the virtual MAC of `family`, once it is there.
    pub(in crate::director) fn virtual_link(&self, family: Family) -> Option<&MadeLink> {
        self.carriers()
            .iter()
            .map(|carrier| &carrier.link)
            .find(|link| link.family == family)
    }

    fn carriers(&self) -> &[Carrier] {
        match &self.virtual_links {
            VirtualLinks::Ready { links, .. } => links,
            VirtualLinks::None | VirtualLinks::Making { .. } | VirtualLinks::Failed { .. } => &[],
        }
    }

    /// Indexes of the virtual links.
    pub(in crate::director) fn virtual_indexes(&self) -> Vec<u32> {
        self.carriers()
            .iter()
            .map(|carrier| carrier.link.index)
            .collect()
    }

    /// Whether it runs on this link or has addresses there.
    pub(in crate::director) fn uses_link(&self, index: u32) -> bool {
        self.ifindex() == Some(index) || self.virtual_indexes().contains(&index)
    }

    /// The wire its advertisements of `family` leave by. Unicast ones are no frames of the virtual router and leave by the interface.
    pub(in crate::director) fn sender_key(&self, family: Family) -> WireKey {
        match self.virtual_link(family) {
            Some(link) if self.config.unicast.is_none() => wires::outlet(&link.name, family),
            Some(_) | None => self.wire_key(family),
        }
    }

    /// The keys of all wires its advertisements leave by.
    pub(in crate::director) fn sender_keys(&self) -> Vec<WireKey> {
        self.families()
            .into_iter()
            .map(|family| self.sender_key(family))
            .collect()
    }

    /// The socket that tells the neighbours where `address` is.
    pub(super) fn announcer_of(&self, address: IpAddr) -> Option<&Outlet> {
        if !self.config.virtual_mac {
            return self.announcer.as_deref();
        }
        let family = Family::of(address);
        self.carriers()
            .iter()
            .find(|carrier| carrier.link.family == family)?
            .announcer
            .as_deref()
    }

    /// Whether links or rules that it needs are on their way.
    pub(in crate::director) fn is_preparing(&self) -> bool {
        matches!(self.virtual_links, VirtualLinks::Making { .. }) || self.is_refusal_pending()
    }

    /// Why the virtual links are not there; none when they are, or are not wanted.
    pub(in crate::director) fn virtual_obstacle(&self) -> Option<String> {
        match &self.virtual_links {
            VirtualLinks::Ready { .. } => None,
            VirtualLinks::Failed { reason, .. } => {
                Some(format!("no link with the virtual MAC: {reason}"))
            }
            VirtualLinks::None | VirtualLinks::Making { .. } => {
                let interface = &self.config.interface;
                let words = format!("the link with the virtual MAC on {interface} is being made");
                self.config.virtual_mac.then_some(words)
            }
        }
    }

    /// Has the virtual links made on the interface, or taken away from one that is not ours any more.
    pub(super) fn follow_parent(&mut self, link: Option<&Link>) {
        if !self.config.virtual_mac || self.departing {
            return;
        }
        let current = match &self.virtual_links {
            VirtualLinks::Making { parent } | VirtualLinks::Ready { parent, .. } => Some(*parent),
            VirtualLinks::None | VirtualLinks::Failed { .. } => None,
        };
        let wanted = link.map(|link| link.index);
        if current.is_some() && current != wanted {
            self.remove_virtual_links();
        }
        if let (Some(link), VirtualLinks::None) = (link, &self.virtual_links) {
            self.order_virtual_links(link.clone());
        }
    }

    fn order_virtual_links(&mut self, parent: Link) {
        let index = parent.index;
        let plan = Plan {
            parent,
            vrid: self.config.settings.vrid,
            name: self.config.name.clone(),
            families: self.families(),
        };
        if self.addresses.order(Order::MakeLinks(Box::new(plan))) {
            self.virtual_links = VirtualLinks::Making { parent: index };
        }
    }

    /// When links that could not be made are due again.
    pub(super) fn virtual_retry_at(&self) -> Option<Instant> {
        match self.virtual_links {
            VirtualLinks::Failed { retry_at, .. } => Some(retry_at),
            VirtualLinks::None | VirtualLinks::Making { .. } | VirtualLinks::Ready { .. } => None,
        }
    }

    pub(super) fn retry_virtual_links(&mut self, now: Instant) {
        if self.virtual_retry_at().is_some_and(|at| at <= now) {
            self.virtual_links = VirtualLinks::None;
            if let Some(link) = self.link.clone() {
                self.order_virtual_links(link);
            }
        }
    }

    /// The links are there, on the interface of index `of`.
    pub(super) fn take_virtual_links(&mut self, of: u32, made: Vec<MadeLink>) {
        let VirtualLinks::Making { parent } = self.virtual_links else {
            return;
        };
        if parent != of {
            // From before the interface changed; their removal is ordered.
            return;
        }
        let carrier = |link: MadeLink| {
            let announcer = self.announcers.open(link.index, link.mac);
            let announcer = announcer.inspect_err(
                |error| tracing::warn!(link = link.name, %error, "no announcements possible"),
            );
            Carrier {
                link,
                announcer: announcer.ok(),
            }
        };
        self.virtual_links = VirtualLinks::Ready {
            parent,
            links: made.into_iter().map(carrier).collect(),
        };
        self.will_changed = true;
    }

    /// The links could not be made.
    pub(super) fn miss_virtual_links(&mut self, now: Instant, of: u32, reason: String) {
        if let VirtualLinks::Making { parent } = self.virtual_links
            && parent == of
        {
            let retry_at = now + RETRY_INTERVAL;
            self.virtual_links = VirtualLinks::Failed { reason, retry_at };
        }
    }

    /// A link has gone from the host; if it was a virtual one of this router, what is left of them goes, and new ones are made.
    pub(in crate::director) fn note_link_gone(&mut self, index: u32) {
        if self.virtual_indexes().contains(&index) {
            self.remove_virtual_links();
        }
    }

    /// Takes the virtual links away, after whatever else has been ordered.
    pub(super) fn remove_virtual_links(&mut self) {
        match std::mem::take(&mut self.virtual_links) {
            VirtualLinks::Making { .. } | VirtualLinks::Ready { .. } => {
                if self.addresses.order(Order::RemoveLinks) {
                    self.releases_pending += 1;
                }
            }
            VirtualLinks::None | VirtualLinks::Failed { .. } => {}
        }
    }
}

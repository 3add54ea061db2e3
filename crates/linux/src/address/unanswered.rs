//! Neighbours that did not answer while a link had no carrier.
//!
//! The kernel asks for a neighbour once a second at most. A question asked into a dead link holds every packet for that neighbour back
//! until the next one, also when the link has come back in between. Forgetting the question makes the next packet ask at once.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::Parseable;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use nix::libc;

use super::kernel::{absent_is_success, attempted};
use super::{AddressError, Attempt, Kernel};

impl Kernel {
    /// Forgets the neighbours of a link that have been asked for in vain; returns their addresses.
    ///
    /// # Errors
    /// [`AddressError`].
    pub async fn forget_unanswered(&self, ifindex: u32) -> Result<Vec<IpAddr>, AddressError> {
        attempted(Attempt::ForgetUnanswered { ifindex }, async {
            let mut forgotten = Vec::new();
            for neighbour in self.unanswered(ifindex).await? {
                let address = destination(&neighbour);
                let request = RouteNetlinkMessage::DelNeighbour(neighbour);
                absent_is_success(self.ask(request, 0).await)?;
                forgotten.extend(address);
            }
            Ok(forgotten)
        })
        .await
    }

    async fn unanswered(&self, ifindex: u32) -> io::Result<Vec<NeighbourMessage>> {
        let request = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.dump(request, |frame| {
            let neighbour = (frame.kind == libc::RTM_NEWNEIGH)
                .then(|| NeighbourMessage::parse(frame.payload))?
                .ok()?;
            let in_vain = matches!(
                neighbour.header.state,
                NeighbourState::Incomplete | NeighbourState::Failed
            );
            (in_vain && neighbour.header.ifindex == ifindex).then(|| identify(neighbour))
        })
        .await
    }
}

/// The message that names this neighbour and nothing more.
fn identify(mut neighbour: NeighbourMessage) -> NeighbourMessage {
    neighbour
        .attributes
        .retain(|attribute| matches!(attribute, NeighbourAttribute::Destination(_)));
    neighbour
}

fn destination(neighbour: &NeighbourMessage) -> Option<IpAddr> {
    neighbour
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                Some(IpAddr::V4(*address))
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                Some(IpAddr::V6(*address))
            }
            _ => None,
        })
}

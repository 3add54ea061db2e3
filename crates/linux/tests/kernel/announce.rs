//! Frames on the wire, and what the other host learns from them.

use std::io::Read;
use std::net::IpAddr;
use std::time::Instant;

use futures_util::TryStreamExt;
use linux::neighbour::{Announcer, ArpForm, Claim, Watcher, gratuitous_arp, unsolicited_na};
use nix::libc;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::{Lab, SOON, Side, ip, run};

/// Everything that arrives on or leaves a link.
pub(crate) struct Frames {
    socket: Socket,
    ifindex: u32,
}

impl Frames {
    /// Of a link in the namespace this thread is in. Nothing else but loopback may be there.
    pub(crate) fn open(ifindex: u32) -> Self {
        let protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
        let socket =
            Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(protocol))).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { socket, ifindex }
    }

    /// The next frame that `wanted` accepts.
    pub(crate) fn next(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let deadline = Instant::now() + SOON;
        let mut buffer = [0; 2048];
        while Instant::now() < deadline {
            let len = self.socket.read(&mut buffer).expect("no frame arrived");
            if wanted(&buffer[..len]) {
                return buffer[..len].to_vec();
            }
        }
        panic!("no such frame arrived on link {}", self.ifindex);
    }
}

const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];

#[test]
fn frames_arrive_as_they_were_built() {
    run(async |lab: Lab| {
        let (index, mac) = (lab.left.link.index, lab.left.mac());
        let announcer = Announcer::open(index, mac).unwrap();
        lab.right.enter();
        let mut frames = Frames::open(lab.right.link.index);
        let (IpAddr::V4(v4), IpAddr::V6(v6)) = (ip("10.0.0.101"), ip("2001:db8::101")) else {
            unreachable!("one of each");
        };

        announcer.announce(v4.into(), false, false).unwrap();
        let frame = frames.next(|frame| frame[12..14] == ARP);
        assert_eq!(frame, gratuitous_arp(mac, v4, ArpForm::Request));
        announcer.announce(v4.into(), true, false).unwrap();
        let frame = frames.next(|frame| frame[12..14] == ARP);
        assert_eq!(frame, gratuitous_arp(mac, v4, ArpForm::Reply));
        for router in [false, true] {
            announcer.announce(v6.into(), false, router).unwrap();
            let frame = frames.next(|frame| frame[12..14] == IPV6 && frame[54..55] == [136]);
            assert_eq!(frame, unsolicited_na(mac, v6, router));
        }
    });
}

/// The hardware address under which `side` knows `address`.
async fn known_as(side: &Side, address: IpAddr) -> Option<Vec<u8>> {
    let wanted = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    let entries: Vec<_> = side
        .handle
        .neighbours()
        .get()
        .execute()
        .try_collect()
        .await
        .unwrap();
    let entry = entries.into_iter().find(|entry| {
        entry
            .attributes
            .contains(&NeighbourAttribute::Destination(wanted.clone()))
    })?;
    entry
        .attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(mac) => Some(mac),
            _ => None,
        })
}

#[test]
fn other_host_learns_the_new_hardware_address() {
    run(async |lab: Lab| {
        let announcer = Announcer::open(lab.left.link.index, lab.left.mac()).unwrap();
        lab.right.enter();
        let mut frames = Frames::open(lab.right.link.index);
        for (address, reply_form) in [
            ("10.0.0.101", false),
            ("10.0.0.102", true),
            ("2001:db8::101", false),
        ] {
            let before = vec![2, 0, 0, 0, 0, 0x99];
            let neighbours = lab.right.handle.neighbours();
            let stale = rtnetlink::packet_route::neighbour::NeighbourState::Stale;
            let request = neighbours.add(lab.right.link.index, ip(address));
            request
                .link_layer_address(&before)
                .state(stale)
                .execute()
                .await
                .unwrap();
            assert_eq!(known_as(&lab.right, ip(address)).await, Some(before));

            announcer.announce(ip(address), reply_form, false).unwrap();
            frames.next(|frame| frame[6..12] == lab.left.mac());
            let deadline = Instant::now() + SOON;
            let learned = Some(lab.left.mac().to_vec());
            while known_as(&lab.right, ip(address)).await != learned {
                assert!(Instant::now() < deadline, "{address} was not learned");
                tokio::task::yield_now().await;
            }
        }
    });
}

#[test]
fn announcer_needs_a_link_and_says_when_it_is_down() {
    run(async |lab: Lab| {
        let error = Announcer::open(999, [2, 0, 0, 0, 0, 1]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let announcer = Announcer::open(lab.left.link.index, lab.left.mac()).unwrap();
        lab.left.set_up(false).await;
        let error = announcer
            .announce(ip("10.0.0.101"), false, false)
            .unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
    });
}

/// The next claim, waited for.
async fn next_claim(watcher: &Watcher) -> Claim {
    let wait = async {
        loop {
            if let Some(claim) = watcher.try_next().unwrap() {
                return claim;
            }
            watcher.readable().await.unwrap();
        }
    };
    tokio::time::timeout(SOON, wait)
        .await
        .expect("no claim was heard")
}

#[test]
fn who_has_an_address_answers_a_probe_and_a_claim_of_it_is_heard() {
    run(async |lab: Lab| {
        let watched = [ip("10.0.0.101"), ip("2001:db8::101"), ip("10.0.0.77")];
        let (left, right) = (&lab.left.link, lab.right.mac());
        let watcher = Watcher::open(left.index, &watched).unwrap();
        let announcer = Announcer::open(left.index, lab.left.mac()).unwrap();
        // Nobody has them: no answer, and what we say ourselves is not heard.
        for address in watched {
            announcer.probe(address, None).unwrap();
            announcer.announce(address, true, false).unwrap();
        }
        for vip in watched[..2].iter() {
            lab.right
                .add_foreign(&vip.to_string(), if vip.is_ipv4() { 24 } else { 64 })
                .await;
            announcer.probe(*vip, None).unwrap();
            let expected = Claim {
                address: *vip,
                mac: right,
            };
            assert_eq!(next_claim(&watcher).await, expected);
        }
        // Asked in a name of ours, somebody answers under his own.
        let (IpAddr::V4(us), IpAddr::V4(them)) = (watched[2], watched[0]) else {
            unreachable!("both are IPv4");
        };
        announcer.ask(us, them).unwrap();
        let expected = Claim {
            address: them.into(),
            mac: right,
        };
        assert_eq!(next_claim(&watcher).await, expected);
        assert_eq!(watcher.try_next().unwrap(), None);
        // Claims of other addresses never get here; those of ours do, unasked.
        lab.right.enter();
        let other = Announcer::open(lab.right.link.index, right).unwrap();
        other.announce(ip("10.0.0.5"), false, false).unwrap();
        other.announce(ip("2001:db8::5"), false, false).unwrap();
        other.announce(watched[2], false, false).unwrap();
        let expected = Claim {
            address: watched[2],
            mac: right,
        };
        assert_eq!(next_claim(&watcher).await, expected);
    });
}

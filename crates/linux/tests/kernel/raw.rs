//! Packets of one protocol from one end of the cable to the other.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use linux::monitor::{Change, Monitor};
use linux::raw::{Local, RawReceiver, RawSender, Received};
use nix::libc;
use rustix::net::RecvFlags;

use crate::lab::{
    LEFT_LOCAL, LEFT_V4, LEFT_V6, Lab, RIGHT_LOCAL, RIGHT_V4, RIGHT_V6, SOON, Side, ip, run,
    wait_for,
};

const PROTOCOL: u8 = 112;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const OTHER_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 99);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x99);
const HEADER_LEN: usize = 20;

fn receiver(side: &Side, local: Local) -> RawReceiver {
    side.enter();
    RawReceiver::open(&side.link.name, side.link.index, PROTOCOL, local).unwrap()
}

fn sender(side: &Side, v6: bool) -> RawSender {
    side.enter();
    RawSender::open(&side.link.name, side.link.index, PROTOCOL, v6).unwrap()
}

/// What goes to [`RawSender::send`]: for IPv4 with a header of TTL 255 and TOS 0xc0 in front.
fn packet(source: IpAddr, destination: IpAddr, payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) else {
        return payload.to_vec();
    };
    let mut packet = vec![0x45, 0xc0, 0, 0, 0, 0, 0, 0, 255, PROTOCOL, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

fn send(sender: &RawSender, source: &str, destination: IpAddr, payload: &[u8]) {
    let source = ip(source);
    let packet = packet(source, destination, payload);
    sender.send(source, destination, &packet).unwrap();
}

/// The next packet, and what follows its IP header.
async fn receive(receiver: &RawReceiver) -> (Received, Vec<u8>) {
    let mut buffer = [0; 2048];
    let received = async {
        loop {
            receiver.readable().await.unwrap();
            if let Some(received) = receiver.try_receive(&mut buffer).unwrap() {
                return received;
            }
        }
    };
    let received = tokio::time::timeout(SOON, received)
        .await
        .expect("nothing arrived");
    let skipped = if received.source.is_ipv4() {
        HEADER_LEN
    } else {
        0
    };
    (received, buffer[skipped..received.len].to_vec())
}

fn expected(source: &str, destination: IpAddr, len: usize) -> Received {
    Received {
        len,
        source: ip(source),
        destination: Some(destination),
        hop_limit: Some(255),
        truncated: false,
    }
}

/// Sends to a group nobody here wants, then to the one that is wanted: only the second must arrive.
#[test]
fn multicast_arrives_with_source_destination_and_hop_limit() {
    run(async |lab: Lab| {
        let v4 = receiver(&lab.right, Local::MulticastV4(GROUP_V4));
        let v6 = receiver(&lab.right, Local::MulticastV6(GROUP_V6));
        // Joined by another socket of the same host: must not leak into the first two.
        let other_v4 = receiver(&lab.right, Local::MulticastV4(OTHER_V4));
        let other_v6 = receiver(&lab.right, Local::MulticastV6(OTHER_V6));

        let out = sender(&lab.left, false);
        send(&out, LEFT_V4, OTHER_V4.into(), b"other");
        send(&out, LEFT_V4, GROUP_V4.into(), b"wanted");
        let (received, payload) = receive(&v4).await;
        assert_eq!(payload, b"wanted");
        assert_eq!(received, expected(LEFT_V4, GROUP_V4.into(), HEADER_LEN + 6));
        assert_eq!(receive(&other_v4).await.1, b"other");

        let out = sender(&lab.left, true);
        send(&out, LEFT_LOCAL, OTHER_V6.into(), b"other");
        send(&out, LEFT_LOCAL, GROUP_V6.into(), b"wanted");
        let (received, payload) = receive(&v6).await;
        assert_eq!(payload, b"wanted");
        assert_eq!(received, expected(LEFT_LOCAL, GROUP_V6.into(), 6));
        assert_eq!(receive(&other_v6).await.1, b"other");
    });
}

#[test]
fn unicast_arrives_with_source_destination_and_hop_limit() {
    run(async |lab: Lab| {
        for (from, to) in [
            (LEFT_V4, RIGHT_V4),
            (LEFT_V6, RIGHT_V6),
            (LEFT_LOCAL, RIGHT_LOCAL),
        ] {
            let local = match ip(to) {
                IpAddr::V4(address) => Local::UnicastV4(address),
                IpAddr::V6(address) => Local::UnicastV6(address),
            };
            let header_len = if ip(to).is_ipv4() { HEADER_LEN } else { 0 };
            let receiver = receiver(&lab.right, local);
            send(&sender(&lab.left, ip(to).is_ipv6()), from, ip(to), b"hello");
            let (received, payload) = receive(&receiver).await;
            assert_eq!(payload, b"hello");
            assert_eq!(received, expected(from, ip(to), header_len + 5));
        }
    });
}

#[test]
fn sender_never_receives_and_hears_not_itself() {
    run(async |lab: Lab| {
        for (v6, group, from_left, from_right, to_left) in [
            (
                false,
                IpAddr::from(GROUP_V4),
                LEFT_V4,
                RIGHT_V4,
                ip(LEFT_V4),
            ),
            (
                true,
                IpAddr::from(GROUP_V6),
                LEFT_LOCAL,
                RIGHT_LOCAL,
                ip(LEFT_LOCAL),
            ),
        ] {
            let (group_local, own_local) = match (group, to_left) {
                (IpAddr::V4(group), IpAddr::V4(own)) => {
                    (Local::MulticastV4(group), Local::UnicastV4(own))
                }
                (IpAddr::V6(group), IpAddr::V6(own)) => {
                    (Local::MulticastV6(group), Local::UnicastV6(own))
                }
                _ => unreachable!("both are of one family"),
            };
            let by_group = receiver(&lab.left, group_local);
            let by_address = receiver(&lab.left, own_local);
            let left = sender(&lab.left, v6);
            let right = sender(&lab.right, v6);

            send(&left, from_left, group, b"own");
            send(&right, from_right, group, b"to the group");
            send(&right, from_right, to_left, b"to the address");
            assert_eq!(receive(&by_group).await.1, b"to the group");
            assert_eq!(receive(&by_address).await.1, b"to the address");
            let got = rustix::net::recv(left.as_fd(), &mut [0; 64], RecvFlags::DONTWAIT);
            assert_eq!(got.unwrap_err(), rustix::io::Errno::WOULDBLOCK);
        }
    });
}

#[test]
fn traffic_is_marked_as_internetwork_control() {
    run(async |lab: Lab| {
        lab.right.enter();
        let mut frames = crate::announce::Frames::open(lab.right.link.index);
        send(
            &sender(&lab.left, false),
            LEFT_V4,
            GROUP_V4.into(),
            b"marked",
        );
        let frame = frames.next(|frame| frame.ends_with(b"marked"));
        assert_eq!(frame[15], 0xc0, "TOS");
        assert_ne!(frame[24..26], [0, 0], "header checksum is the kernel's");
        assert_eq!(frame[16..18], [0, 26], "total length is the kernel's");
        send(
            &sender(&lab.left, true),
            LEFT_LOCAL,
            GROUP_V6.into(),
            b"marked",
        );
        let frame = frames.next(|frame| frame.ends_with(b"marked"));
        // The lower half of the second octet belongs to the flow label, which the kernel chooses.
        assert_eq!(
            [frame[14], frame[15] & 0xf0],
            [0x6c, 0],
            "version 6, traffic class c0"
        );
        assert_eq!(frame[21], 255, "hop limit");
    });
}

#[test]
fn group_stays_joined_when_the_link_was_down() {
    run(async |lab: Lab| {
        let v4 = receiver(&lab.right, Local::MulticastV4(GROUP_V4));
        let v6 = receiver(&lab.right, Local::MulticastV6(GROUP_V6));
        let (out_v4, out_v6) = (sender(&lab.left, false), sender(&lab.left, true));
        let mut monitor = Monitor::open().unwrap();
        for up in [false, true] {
            lab.right.set_up(up).await;
            let index = lab.left.link.index;
            wait_for(&mut monitor, |change| {
                matches!(change, Change::Link(link) if link.index == index && link.running == up)
            })
            .await;
        }
        send(&out_v4, LEFT_V4, GROUP_V4.into(), b"again");
        assert_eq!(receive(&v4).await.1, b"again");
        send(&out_v6, LEFT_LOCAL, GROUP_V6.into(), b"again");
        assert_eq!(receive(&v6).await.1, b"again");
    });
}

#[test]
fn another_descriptor_sends_as_well() {
    run(async |lab: Lab| {
        let receiver = receiver(&lab.right, Local::MulticastV6(GROUP_V6));
        let original = sender(&lab.left, true);
        let (here, there) = linux::channel::pair().unwrap();
        here.send(b"socket", &[original.try_clone_fd().unwrap().as_fd()])
            .unwrap();
        drop(original);
        let (_, fds) = there.receive(&mut Vec::new()).unwrap().unwrap();
        let fd = fds.into_iter().next().unwrap();
        let handed_on = RawSender::from_fd(fd, lab.left.link.index, true);
        send(&handed_on, LEFT_LOCAL, GROUP_V6.into(), b"last will");
        assert_eq!(receive(&receiver).await.1, b"last will");
    });
}

#[test]
fn what_cannot_be_sent_is_an_error() {
    run(async |lab: Lab| {
        let v4 = sender(&lab.left, false);
        let error = v4.send(ip(LEFT_V6), ip(RIGHT_V6), b"x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let v6 = sender(&lab.left, true);
        let error = v6
            .send(ip("2001:db8::77"), GROUP_V6.into(), b"x")
            .unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(libc::EINVAL),
            "not our source: {error}"
        );
        lab.left.set_up(false).await;
        for (sender, source, group) in [
            (&v4, LEFT_V4, GROUP_V4.into()),
            (&v6, LEFT_LOCAL, IpAddr::from(GROUP_V6)),
        ] {
            let packet = packet(ip(source), group, b"x");
            let error = sender.send(ip(source), group, &packet).unwrap_err();
            assert!(error.raw_os_error().is_some(), "link down: {error}");
        }
    });
}

#[test]
fn receiver_needs_the_link_and_the_address() {
    run(async |lab: Lab| {
        let absent = Local::UnicastV4(Ipv4Addr::new(10, 0, 0, 77));
        let index = lab.left.link.index;
        let error = RawReceiver::open("left0", index, PROTOCOL, absent).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
        let group = Local::MulticastV4(GROUP_V4);
        let error = RawReceiver::open("gone0", 999, PROTOCOL, group).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
        let error = RawSender::open("gone0", 999, PROTOCOL, false).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    });
}

#[test]
fn lost_and_cut_packets_are_told() {
    run(async |lab: Lab| {
        let receiver = receiver(&lab.right, Local::MulticastV4(GROUP_V4));
        let out = sender(&lab.left, false);
        let sent = 20_000;
        for _ in 0..sent {
            send(&out, LEFT_V4, GROUP_V4.into(), &[0; 64]);
        }
        let mut buffer = [0; 30];
        let mut taken = 0;
        receiver.readable().await.unwrap();
        while let Some(received) = receiver.try_receive(&mut buffer).unwrap() {
            assert!(received.truncated);
            assert_eq!(received.len, 30);
            taken += 1;
        }
        assert!(receiver.overflowed() > 0);
        assert_eq!(taken + receiver.overflowed(), sent);
        send(&out, LEFT_V4, GROUP_V4.into(), b"after");
        let (received, payload) = receive(&receiver).await;
        assert!(!received.truncated);
        assert_eq!(payload, b"after");
    });
}

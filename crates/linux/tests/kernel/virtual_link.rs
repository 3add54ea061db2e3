//! Links of our own: how they are made, what leaves through them, and how they go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use linux::address::{BlockingNetlink, Kernel, Link, VirtualLink, set_down_blocking};
use linux::raw::{Local, RawReceiver, RawSender};
use linux::sysctl::{self, Protocol};

use crate::lab::{LEFT_LOCAL, LEFT_V4, Lab, SOON, ip, run};

const MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 51];
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

fn wanted(lab: &Lab, name: &str, protocol: Protocol) -> VirtualLink {
    VirtualLink {
        parent: lab.left.link.index,
        name: name.to_owned(),
        mac: MAC,
        alias: "tested: a link".to_owned(),
        protocol,
    }
}

async fn link(kernel: &Kernel, name: &str) -> Option<Link> {
    let links = kernel.links().await.unwrap();
    links.into_iter().find(|link| link.name == name)
}

#[test]
fn a_link_is_made_whole_replaces_one_of_its_name_and_is_swept() {
    run(async |lab: Lab| {
        lab.left.enter();
        let kernel = Kernel::open().unwrap();
        let wanted = wanted(&lab, "virt0", Protocol::Ipv4);
        let first = kernel.make_link(&wanted).await.unwrap();
        let made = link(&kernel, "virt0").await.unwrap();
        assert_eq!((made.index, made.up, made.mac), (first, false, Some(MAC)));
        assert_eq!(made.kind.as_deref(), Some("macvlan"));
        assert_eq!(made.alias.as_deref(), Some("tested: a link"));
        assert_eq!(made.parent, Some(lab.left.link.index));
        for (protocol, key, value) in [
            (Protocol::Ipv4, "arp_ignore", "1"),
            (Protocol::Ipv4, "rp_filter", "2"),
            (Protocol::Ipv6, "disable_ipv6", "1"),
        ] {
            assert_eq!(
                sysctl::read(protocol, "virt0", key).unwrap(),
                value,
                "{key}"
            );
        }

        let second = kernel.make_link(&wanted).await.unwrap();
        assert_ne!(second, first);
        kernel.set_link(second, true).await.unwrap();
        assert!(link(&kernel, "virt0").await.unwrap().up);
        let socket = BlockingNetlink::open().unwrap();
        let outcomes = set_down_blocking(&socket, &[second, first]);
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert!(!link(&kernel, "virt0").await.unwrap().up);

        let ours = |link: &Link| link.alias.as_deref() == Some("tested: a link");
        let swept = kernel.sweep_links(ours).await.unwrap();
        assert_eq!(swept.len(), 1);
        assert_eq!(link(&kernel, "virt0").await, None);
        assert!(link(&kernel, "left0").await.is_some());
        kernel.remove_link(second).await.unwrap();
    });
}

/// The hardware address must not become part of an IPv6 address (RFC 9568 §7.4).
#[test]
fn a_link_for_ipv6_gets_no_address_by_itself() {
    run(async |lab: Lab| {
        lab.left.enter();
        let kernel = Kernel::open().unwrap();
        let index = kernel
            .make_link(&wanted(&lab, "virt6", Protocol::Ipv6))
            .await
            .unwrap();
        kernel.set_link(index, true).await.unwrap();
        let mut vip = lab.left.vip("2001:db8::10", 64, None);
        (vip.ifindex, vip.parent) = (index, Some(lab.left.link.index));
        kernel.add(&vip).await.unwrap();
        let addresses = kernel.addresses().await.unwrap();
        let there: Vec<IpAddr> = addresses
            .iter()
            .filter(|address| address.ifindex == index)
            .map(|address| address.address)
            .collect();
        assert_eq!(there, [ip("2001:db8::10")]);
        // The route to the prefix stays with the link below.
        assert_eq!(lab.left.prefix_routes("2001:db8::", 64).await, 1);
        let orphan = VirtualLink {
            parent: 4711,
            ..wanted(&lab, "virt7", Protocol::Ipv6)
        };
        let refused = kernel.make_link(&orphan).await;
        let words = refused.unwrap_err().to_string();
        assert_eq!(words, "cannot make the link virt7");
        assert_eq!(link(&kernel, "virt7").await, None);
    });
}

#[test]
fn packets_leave_through_it_with_the_source_of_the_link_below() {
    run(async |lab: Lab| {
        lab.right.enter();
        let open = |local| RawReceiver::open("right0", lab.right.link.index, 112, local).unwrap();
        let (v4, v6) = (
            open(Local::MulticastV4(GROUP_V4)),
            open(Local::MulticastV6(GROUP_V6)),
        );
        lab.left.enter();
        let kernel = Kernel::open().unwrap();
        for (name, protocol, receiver, source, group, is_v6) in [
            (
                "virt4",
                Protocol::Ipv4,
                &v4,
                LEFT_V4,
                IpAddr::V4(GROUP_V4),
                false,
            ),
            (
                "virt6",
                Protocol::Ipv6,
                &v6,
                LEFT_LOCAL,
                IpAddr::V6(GROUP_V6),
                true,
            ),
        ] {
            let made = wanted(&lab, name, protocol);
            let index = kernel.make_link(&made).await.unwrap();
            kernel.set_link(index, true).await.unwrap();
            // Over IPv6 the kernel wants any address at all on the link, and does not look at it.
            let address = if is_v6 { "2001:db8::10" } else { "10.0.0.10" };
            let mut vip = lab.left.vip(address, 24, None);
            (vip.ifindex, vip.parent) = (index, Some(lab.left.link.index));
            kernel.add(&vip).await.unwrap();
            let sender = RawSender::open_for_any_source(name, index, 112, is_v6).unwrap();
            // As the keeper does with the socket it was given.
            let sender = RawSender::from_fd(sender.try_clone_fd().unwrap(), index, is_v6);
            let mut packet = Vec::new();
            if let (IpAddr::V4(source), IpAddr::V4(group)) = (ip(source), group) {
                packet.extend([0x45, 0xc0, 0, 0, 0, 0, 0, 0, 255, 112, 0, 0]);
                packet.extend(source.octets());
                packet.extend(group.octets());
            }
            packet.extend(b"hello");
            sender.send(ip(source), group, &packet).unwrap();

            let mut buffer = [0; 256];
            let received = async {
                loop {
                    receiver.readable().await.unwrap();
                    if let Some(received) = receiver.try_receive(&mut buffer).unwrap() {
                        return received;
                    }
                }
            };
            let received = tokio::time::timeout(SOON, received).await.unwrap();
            assert_eq!(received.source, ip(source));
            assert_eq!(
                (received.destination, received.hop_limit),
                (Some(group), Some(255))
            );
            assert_eq!(&buffer[received.len - 5..received.len], b"hello");
            kernel.set_link(index, false).await.unwrap();
            sender.send(ip(source), group, &packet).unwrap_err();
        }
    });
}

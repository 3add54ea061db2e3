//! Addresses that the kernel takes away by itself, unless they are renewed.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt, TryStreamExt};
use linux::address::Kernel;
use linux::monitor::{Change, Monitor};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};

use crate::lab::{
    LEFT_V6, Lab, RIGHT_V6, added, find, ip, measured, removed, run, run_alone, wait_for,
};

/// Some tenths of a second in a quiet kernel. It looks for ends of IPv6 leases once a second at most, so a look just before the
/// end costs a second more, and namespaces that end meanwhile on the same machine hold the lock it needs for this.
const LATE: Duration = Duration::from_secs(4);
const RENEW_INTERVAL: Duration = Duration::from_millis(250);
const RENEWALS: usize = 16;

#[test]
fn kernel_removes_a_lease_that_is_not_renewed_on_time() {
    measured(|| run_alone(four_leases()));
}

/// A lease of one and of two seconds in each family, at the same time.
fn four_leases() -> Vec<impl AsyncFnOnce(Lab) + Send + 'static> {
    let leases = [
        ("10.0.0.101", 24, 1),
        ("10.0.0.101", 24, 2),
        ("2001:db8::101", 64, 1),
        ("2001:db8::101", 64, 2),
    ];
    let bodies = leases.map(|(address, prefix_len, lease_s)| {
        async move |lab: Lab| run_out(&lab, address, prefix_len, lease_s).await
    });
    bodies.into()
}

/// Takes a lease, renews it once, and waits for its end.
async fn run_out(lab: &Lab, address: &str, prefix_len: u8, lease_s: u64) {
    let kernel = Kernel::open().unwrap();
    let mut monitor = Monitor::open().unwrap();
    let vip = lab.left.vip(address, prefix_len, Some(lease_s));
    kernel.add(&vip).await.unwrap();
    tokio::time::sleep(RENEW_INTERVAL).await;
    let renewed_at = Instant::now();
    kernel.add(&vip).await.unwrap();
    let found = find(&kernel, address).await.unwrap();
    assert!(
        found.ours && found.valid.is_some() && found.valid <= vip.lease,
        "{found:?}"
    );

    wait_for(&mut monitor, removed(address)).await;
    let after = renewed_at.elapsed();
    let lease = Duration::from_secs(lease_s);
    assert!(
        after >= lease - Duration::from_millis(300),
        "{vip} after {after:?}"
    );
    assert!(after <= lease + LATE, "{vip} after {after:?}");
    assert_eq!(find(&kernel, address).await, None);
}

/// Each lease begins while the kernel waits for the end of another one: the worst case of many.
#[test]
fn leases_that_begin_at_different_times_end_little_later() {
    measured(|| run_alone(vec![begun_apart]));
}

async fn begun_apart(lab: Lab) {
    let kernel = Kernel::open().unwrap();
    let mut monitor = Monitor::open().unwrap();
    let mut begun = Vec::new();
    for last in 101..=104 {
        let vip = lab.left.vip(&format!("2001:db8::{last}"), 64, Some(2));
        begun.push((vip.address, Instant::now()));
        kernel.add(&vip).await.unwrap();
        tokio::time::sleep(RENEW_INTERVAL).await;
    }
    while !begun.is_empty() {
        let Change::AddressRemoved(gone) = monitor.next().await else {
            continue;
        };
        let place = begun
            .iter()
            .position(|(address, _)| *address == gone.address);
        let after = begun.swap_remove(place.unwrap()).1.elapsed();
        assert!(
            after <= Duration::from_secs(2) + LATE,
            "{} after {after:?}",
            gone.address
        );
    }
}

/// The kernel confirms an IPv6 address a moment before it answers for it; a client that asks in between waits a second.
#[test]
fn first_connection_to_an_added_address_need_not_wait() {
    measured(|| run_alone(vec![first_connections]));
}

async fn first_connections(lab: Lab) {
    let kernel = Kernel::open().unwrap();
    for last in 101..=130 {
        for prefix in ["10.0.0.", "2001:db8::", "fe80::"] {
            let vip = lab.left.vip(&format!("{prefix}{last}"), 24, Some(60));
            let scope = if prefix == "fe80::" {
                lab.left.link.index
            } else {
                0
            };
            kernel.add(&vip).await.unwrap();
            let listener = TcpListener::bind(socket_address(vip.address, 0, scope)).unwrap();
            lab.right.enter();
            let scope = if scope == 0 { 0 } else { lab.right.link.index };
            let port = listener.local_addr().unwrap().port();
            let started_at = Instant::now();
            TcpStream::connect(socket_address(vip.address, port, scope)).unwrap();
            let took = started_at.elapsed();
            assert!(took < Duration::from_millis(500), "{vip} after {took:?}");
            lab.left.enter();
        }
    }
}

fn socket_address(address: IpAddr, port: u16, scope: u32) -> SocketAddr {
    match address {
        IpAddr::V4(address) => SocketAddrV4::new(address, port).into(),
        IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, scope).into(),
    }
}

#[test]
fn renewal_keeps_address_routes_and_connections() {
    run_alone(vec![async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        // Renewed for longer than it lasts, and long enough for a machine that is late with a renewal.
        let lease = Some(3);
        let vips = [
            lab.left.vip("10.0.0.101", 24, lease),
            lab.left.vip("172.16.5.5", 24, lease),
            lab.left.vip("2001:db8::101", 64, lease),
            lab.left.vip("2001:db8:5::5", 64, lease),
        ];
        for vip in &vips {
            kernel.add(vip).await.unwrap();
        }
        let mut connections = Vec::new();
        for vip in [&vips[0], &vips[2]] {
            let listener = TcpListener::bind((vip.address, 0)).unwrap();
            lab.right.enter();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            lab.left.enter();
            connections.push((client, listener.accept().unwrap().0));
        }
        let mut monitor = Monitor::open().unwrap();
        let groups = [MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
        let (routes, _, mut route_changes) = rtnetlink::new_multicast_connection(&groups).unwrap();
        tokio::spawn(routes);

        let mut ticks = tokio::time::interval(RENEW_INTERVAL);
        for _ in 0..RENEWALS {
            ticks.tick().await;
            for vip in &vips {
                kernel.add(vip).await.unwrap();
            }
        }

        let mut renewals = 0;
        while let Some(change) = monitor.next().now_or_never() {
            match change {
                Change::AddressAdded(_) => renewals += 1,
                Change::Link(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(renewals, RENEWALS * vips.len());
        let route_change = route_changes.next().now_or_never();
        assert!(route_change.is_none(), "{route_change:?}");
        for (client, server) in &mut connections {
            client.write_all(b"still here").unwrap();
            let mut got = [0; 10];
            server.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"still here");
        }
    }]);
}

#[test]
fn ipv6_address_is_deprecated_and_stays_so_when_renewed() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let vip = lab.left.vip("2001:db8::101", 64, Some(60));
        for _ in 0..3 {
            kernel.add(&vip).await.unwrap();
            let request = lab
                .left
                .handle
                .address()
                .get()
                .set_address_filter(vip.address);
            let found: Vec<_> = request.execute().try_collect().await.unwrap();
            let flags = found[0]
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    AddressAttribute::Flags(flags) => Some(*flags),
                    _ => None,
                });
            let expected =
                AddressFlags::Deprecated | AddressFlags::Nodad | AddressFlags::Noprefixroute;
            assert_eq!(flags, Some(expected));
        }
        let peer = (RIGHT_V6, 9);
        let probe = std::net::UdpSocket::bind("[::]:0").unwrap();
        probe.connect(peer).unwrap();
        assert_eq!(probe.local_addr().unwrap().ip(), ip(LEFT_V6));
    });
}

#[test]
fn an_address_set_by_hand_becomes_a_lease() {
    run(async |lab: Lab| {
        for (address, prefix_len) in [("10.0.0.101", 24), ("2001:db8::101", 64)] {
            lab.left.add_foreign(address, prefix_len).await;
            let kernel = Kernel::open().unwrap();
            let mut monitor = Monitor::open().unwrap();
            assert_eq!(find(&kernel, address).await.unwrap().valid, None);
            kernel
                .add(&lab.left.vip(address, prefix_len, Some(2)))
                .await
                .unwrap();
            wait_for(&mut monitor, added(address)).await;
            let valid = find(&kernel, address).await.unwrap().valid;
            assert!(valid.is_some(), "{address} has no end");
            wait_for(&mut monitor, removed(address)).await;
        }
    });
}

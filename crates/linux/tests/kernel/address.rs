//! Adding, removing, listing and sweeping.

use std::error::Error;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use linux::address::{
    AddressError, BlockingNetlink, Kernel, remove_all_blocking, remove_blocking,
    set_promote_secondaries,
};
use nix::libc;

use crate::lab::{LEFT_V4, LEFT_V6, Lab, RIGHT_V4, SOON, find, ip, run, run_alone};

#[test]
fn links_are_listed_with_carrier_and_hardware_address() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let links = kernel.links().await.unwrap();
        let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
        assert!(
            names.contains(&"lo") && names.contains(&"left0"),
            "{names:?}"
        );
        let cable = links.iter().find(|link| link.name == "left0").unwrap();
        assert!(cable.up && cable.running && cable.mtu == 1500, "{cable:?}");
        assert_eq!(cable.index, lab.left.link.index);
        let read = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
        assert!(
            read.contains("left0"),
            "the list is of another namespace: {read}"
        );
    });
}

#[test]
fn added_address_is_there_when_the_call_returns_and_gone_when_removed() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        for (address, prefix_len, secondary) in [
            ("10.0.0.101", 24, true),
            ("10.0.0.102", 32, false),
            ("2001:db8::101", 64, false),
            ("2001:db8::102", 128, false),
        ] {
            let vip = lab.left.vip(address, prefix_len, None);
            kernel.add(&vip).await.unwrap();
            std::net::TcpListener::bind((vip.address, 0)).unwrap();
            let found = find(&kernel, address).await.unwrap();
            assert_eq!((found.ifindex, found.prefix_len), (vip.ifindex, prefix_len));
            assert_eq!((found.ours, found.valid), (true, None));
            assert_eq!(found.secondary, secondary, "{found:?}");
            assert!(!found.tentative && !found.dad_failed);
            kernel.remove(&vip).await.unwrap();
            assert_eq!(find(&kernel, address).await, None);
            kernel.remove(&vip).await.unwrap();
        }
    });
}

/// Whether this host has a route to `address`.
fn has_route(address: &str) -> bool {
    let any = if ip(address).is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    UdpSocket::bind(any)
        .unwrap()
        .connect((ip(address), 9))
        .is_ok()
}

#[test]
fn foreign_prefix_brings_its_route_and_takes_it_along() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        for (address, neighbour, prefix_len) in [
            ("172.16.5.5", "172.16.5.9", 24),
            ("2001:db8:5::5", "2001:db8:5::9", 64),
        ] {
            assert!(!has_route(neighbour));
            let vip = lab.left.vip(address, prefix_len, Some(3));
            kernel.add(&vip).await.unwrap();
            assert!(has_route(neighbour));
            kernel.remove(&vip).await.unwrap();
            // The route of an IPv6 lease is leased too, and outlives the address by what is left of that.
            let removed_at = Instant::now();
            while has_route(neighbour) {
                let is_late = vip.address.is_ipv4() || removed_at.elapsed() > SOON;
                assert!(!is_late, "{neighbour} is still routed");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
}

#[test]
fn prefix_that_is_routed_already_keeps_its_one_route() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        for (address, prefix, prefix_len) in [
            ("10.0.0.101", "10.0.0.0", 24),
            ("2001:db8::101", "2001:db8::", 64),
        ] {
            let vip = lab.left.vip(address, prefix_len, Some(60));
            kernel.add(&vip).await.unwrap();
            assert_eq!(lab.left.prefix_routes(prefix, prefix_len).await, 1);
            kernel.remove(&vip).await.unwrap();
            assert_eq!(lab.left.prefix_routes(prefix, prefix_len).await, 1);
        }
        let narrower = lab.left.vip("10.0.0.130", 25, Some(60));
        kernel.add(&narrower).await.unwrap();
        assert_eq!(lab.left.prefix_routes("10.0.0.128", 25).await, 0);
    });
}

#[test]
fn secondary_outlives_the_first_address_of_its_prefix() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        set_promote_secondaries("left0").unwrap();
        kernel
            .add(&lab.left.vip("10.0.0.101", 24, None))
            .await
            .unwrap();
        lab.left.remove_foreign(LEFT_V4).await;
        let found = find(&kernel, "10.0.0.101").await.unwrap();
        assert!(!found.secondary);
        assert_eq!(lab.left.prefix_routes("10.0.0.0", 24).await, 1);
    });
}

#[test]
fn names_that_no_link_has_are_refused() {
    for name in ["", "..", "a/b", "longer-than-a-link"] {
        let error = set_promote_secondaries(name).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{name}");
    }
}

#[test]
fn sweep_removes_ours_and_only_ours() {
    run(async |lab: Lab| {
        let earlier = Kernel::open().unwrap();
        for (address, prefix_len) in [
            ("10.0.0.101", 24),
            ("10.0.0.102", 24),
            ("2001:db8::101", 64),
        ] {
            earlier
                .add(&lab.left.vip(address, prefix_len, None))
                .await
                .unwrap();
        }
        lab.left.add_foreign("10.0.0.200", 24).await;
        drop(earlier);

        let kernel = Kernel::open().unwrap();
        let swept = kernel.sweep(&[ip("10.0.0.102")]).await.unwrap();
        let mut swept: Vec<_> = swept.into_iter().map(|gone| gone.address).collect();
        swept.sort();
        assert_eq!(swept, [ip("10.0.0.101"), ip("2001:db8::101")]);
        for (address, there) in [
            ("10.0.0.101", false),
            ("10.0.0.102", true),
            ("2001:db8::101", false),
            ("10.0.0.200", true),
            (LEFT_V4, true),
            (LEFT_V6, true),
        ] {
            assert_eq!(find(&kernel, address).await.is_some(), there, "{address}");
        }
        assert!(kernel.sweep(&[ip("10.0.0.102")]).await.unwrap().is_empty());
    });
}

#[test]
fn errors_say_what_was_tried_on_what() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let mut vip = lab.left.vip("10.0.0.101", 24, None);
        vip.ifindex = 999;
        let error = kernel.add(&vip).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot add 10.0.0.101/24 to link 999");
        let cause = error
            .source()
            .unwrap()
            .downcast_ref::<std::io::Error>()
            .unwrap();
        assert_eq!(cause.raw_os_error(), Some(libc::ENODEV));

        vip = lab.left.vip("10.0.0.101", 40, None);
        let error = kernel.add(&vip).await.unwrap_err();
        assert!(matches!(error, AddressError::Invalid { .. }));
        let words = format!("cannot add 10.0.0.101/40 to left0 (link {})", vip.ifindex);
        assert!(error.to_string().starts_with(&words), "{error}");
    });
}

#[test]
fn absence_of_link_or_address_is_success_when_removing() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let blocking = BlockingNetlink::open().unwrap();
        let absent = lab.left.vip("10.0.0.101", 24, None);
        let mut nowhere = absent;
        nowhere.ifindex = 999;
        for vip in [absent, nowhere] {
            kernel.remove(&vip).await.unwrap();
            remove_blocking(&blocking, &vip).unwrap();
        }
    });
}

#[test]
fn many_addresses_are_removed_quickly_without_a_runtime() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let mut vips = Vec::new();
        for last in 1..=150 {
            vips.push(lab.left.vip(&format!("10.0.1.{last}"), 32, None));
            vips.push(lab.left.vip(&format!("2001:db8::1:{last}"), 128, None));
        }
        for vip in &vips {
            kernel.add(vip).await.unwrap();
        }
        let before = kernel.addresses().await.unwrap().len();
        let socket = BlockingNetlink::open().unwrap();
        let started_at = Instant::now();
        let outcomes = remove_all_blocking(&socket, &vips);
        let took = started_at.elapsed();
        assert_eq!(outcomes.len(), vips.len());
        for outcome in outcomes {
            outcome.unwrap();
        }
        assert_eq!(kernel.addresses().await.unwrap().len(), before - vips.len());
        assert!(took < SOON, "{took:?}");
    });
}

#[test]
fn refusal_without_a_runtime_is_told_for_the_address_it_concerns() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let good = lab.left.vip("10.0.0.101", 24, None);
        kernel.add(&good).await.unwrap();
        let impossible = lab.left.vip("2001:db8::102", 200, None);
        let socket = BlockingNetlink::open().unwrap();
        let outcomes = remove_all_blocking(&socket, &[impossible, good]);
        let words = outcomes[0].as_ref().unwrap_err().to_string();
        assert!(
            words.starts_with("cannot remove 2001:db8::102/200 from left0"),
            "{words}"
        );
        assert!(outcomes[1].is_ok());
        assert_eq!(find(&kernel, "10.0.0.101").await, None);
    });
}

#[test]
fn address_on_a_link_that_is_down_is_not_waited_for_without_end() {
    run_alone(vec![async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        lab.left.set_up(false).await;
        for (address, prefix_len) in [("10.0.0.101", 24), ("2001:db8::101", 64)] {
            kernel
                .add(&lab.left.vip(address, prefix_len, Some(60)))
                .await
                .unwrap();
            assert!(find(&kernel, address).await.unwrap().ours);
        }
    }]);
}

#[test]
fn requests_at_the_same_time_do_not_mix() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let vips: Vec<_> = (1..=40)
            .map(|last| {
                lab.left
                    .vip(&format!("10.0.0.{}", 100 + last), 24, Some(60))
            })
            .collect();
        let adds = vips.iter().map(|vip| kernel.add(vip));
        for outcome in futures_util::future::join_all(adds).await {
            outcome.unwrap();
        }
        let (links, addresses) = tokio::join!(kernel.links(), kernel.addresses());
        assert_eq!(
            links
                .unwrap()
                .iter()
                .filter(|link| link.name == "left0")
                .count(),
            1
        );
        let ours = addresses
            .unwrap()
            .iter()
            .filter(|address| address.ours)
            .count();
        assert_eq!(ours, vips.len());
    });
}

#[test]
fn a_neighbour_asked_for_in_vain_is_forgotten_and_others_stay() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let ifindex = lab.left.link.index;
        let socket = UdpSocket::bind((LEFT_V4, 0)).unwrap();
        socket.send_to(b"x", (RIGHT_V4, 9)).unwrap();
        socket.send_to(b"x", ("10.0.0.77", 9)).unwrap();
        let began = Instant::now();
        let mut forgotten = Vec::new();
        while forgotten.is_empty() && began.elapsed() < SOON {
            forgotten = kernel.forget_unanswered(ifindex).await.unwrap();
        }
        assert_eq!(forgotten, [ip("10.0.0.77")]);
        assert!(kernel.forget_unanswered(ifindex).await.unwrap().is_empty());
        let neighbours = std::fs::read_to_string("/proc/thread-self/net/arp").unwrap();
        assert!(
            neighbours.contains(RIGHT_V4) && !neighbours.contains("10.0.0.77"),
            "{neighbours}"
        );
    });
}

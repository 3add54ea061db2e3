//! Capabilities and users.

use std::net::TcpListener;

use linux::process::{
    Capability, become_user, grant_children, group_id, keep_capabilities, user_ids,
};

use crate::lab::namespace;
use crate::role::{executed_status, in_child, own_status, status};

const NOBODY: u32 = 65534;

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

/// The five sets in the order of [`SETS`].
fn sets() -> [u64; 5] {
    SETS.map(|name| u64::from_str_radix(&own_status(name), 16).unwrap())
}

fn mask(capabilities: &[Capability]) -> u64 {
    capabilities
        .iter()
        .map(|capability| capability.bitmask())
        .sum()
}

#[test]
fn all_but_the_kept_capabilities_are_gone_for_good() {
    in_child(
        "privilege::all_but_the_kept_capabilities_are_gone_for_good",
        || {
            namespace();
            let keep = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];
            assert_eq!(keep_capabilities(&keep).unwrap(), []);
            let kept = mask(&keep);
            assert_eq!(sets(), [0, kept, kept, kept, 0]);
            // A program executed by root gets all that the bounding set leaves it.
            let executed = u64::from_str_radix(&status(&executed_status(), "CapEff"), 16).unwrap();
            assert_eq!(executed, kept);
            TcpListener::bind("0.0.0.0:1").expect_err("low ports need a capability that is gone");
            linux::raw::RawSender::open("lo", 1, 112, false).unwrap();
        },
    );
}

#[test]
fn capabilities_that_are_not_there_are_named() {
    in_child(
        "privilege::capabilities_that_are_not_there_are_named",
        || {
            keep_capabilities(&[Capability::CAP_NET_RAW]).unwrap();
            let wanted = [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW];
            let missing = keep_capabilities(&wanted).unwrap();
            assert_eq!(missing, [Capability::CAP_NET_ADMIN]);
            let kept = mask(&[Capability::CAP_NET_RAW]);
            assert_eq!(sets()[1..4], [kept, kept, kept]);
        },
    );
}

#[test]
fn another_user_keeps_what_it_is_given() {
    in_child("privilege::another_user_keeps_what_it_is_given", || {
        namespace();
        let keep = [Capability::CAP_NET_BIND_SERVICE];
        assert_eq!(become_user(NOBODY, NOBODY, &keep).unwrap(), []);
        let four = [NOBODY.to_string().as_str(); 4].join("\t");
        assert_eq!(own_status("Uid"), four);
        assert_eq!(own_status("Gid"), four);
        assert_eq!(own_status("Groups"), NOBODY.to_string());
        let kept = mask(&keep);
        assert_eq!(sets(), [0, kept, kept, kept, 0]);
        TcpListener::bind("0.0.0.0:1").unwrap();
        let denied = std::fs::read("/etc/shadow").unwrap_err();
        assert_eq!(denied.kind(), std::io::ErrorKind::PermissionDenied);
        become_user(0, 0, &[]).expect_err("there is no way back");
        assert_eq!(status(&executed_status(), "CapEff"), format!("{:016x}", 0));
    });
}

#[test]
fn programs_get_what_they_are_granted() {
    in_child("privilege::programs_get_what_they_are_granted", || {
        let keep = [Capability::CAP_NET_BIND_SERVICE, Capability::CAP_NET_RAW];
        become_user(NOBODY, NOBODY, &keep).unwrap();
        grant_children(&keep[..1]).unwrap();
        let text = executed_status();
        let granted = format!("{:016x}", mask(&keep[..1]));
        assert_eq!(status(&text, "CapEff"), granted);
        assert_eq!(status(&text, "CapPrm"), granted);
        assert_eq!(sets()[1..3], [mask(&keep), mask(&keep)]);
        let refused = grant_children(&[Capability::CAP_NET_ADMIN]);
        refused.expect_err("what one has not one cannot give");
    });
}

#[test]
fn users_and_groups_are_found_by_name() {
    assert_eq!(user_ids("root").unwrap(), Some((0, 0)));
    assert_eq!(group_id("root").unwrap(), Some(0));
    assert_eq!(user_ids("no-such-user-here").unwrap(), None);
    assert_eq!(group_id("no-such-group-here").unwrap(), None);
}

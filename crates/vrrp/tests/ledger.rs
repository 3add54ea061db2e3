//! The conformance ledger `docs/rfc9568.md` names every requirement, and only tests that exist.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names of functions marked `#[test]` below a folder.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                if line == "#[test]" {
                    marked = true;
                } else if let Some(rest) = line.strip_prefix("fn ")
                    && std::mem::take(&mut marked)
                {
                    names.insert(rest.split('(').next().unwrap().to_owned());
                }
            }
        }
    }
}

fn ledger() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rfc9568.md")).unwrap()
}

#[test]
fn every_test_named_in_the_ledger_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut names = BTreeSet::new();
    for folder in ["crates", "netns-tests"] {
        tests_below(&root.join(folder), &mut names);
    }
    let ledger = ledger();
    // Words in code marks with three underscores or more are tests; settings and paths have fewer.
    let named: BTreeSet<&str> = ledger
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() >= 3)
        .collect();
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !names.contains(**name))
        .collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
    assert!(named.len() > 60, "only {} tests are named", named.len());
}

#[test]
fn every_requirement_has_its_line() {
    let ledger = ledger();
    for number in 1..=50 {
        assert_eq!(
            ledger.matches(&format!("\n| C{number} |")).count(),
            1,
            "C{number}"
        );
    }
}

/// What Debian's Keepalived can be told of a virtual router and of a group of them.
const KEYS: &str = "state interface dont_track_primary track_interface track_file track_process track_script track_bfd \
    mcast_src_ip mcast_dst_ip unicast_src_ip track_src_ip unicast_peer unicast_ttl check_unicast_src unicast_fault_no_peer \
    old_unicast_checksum version virtual_router_id priority advert_int authentication auth_type auth_pass virtual_ipaddress \
    virtual_ipaddress_excluded native_ipv6 promote_secondaries virtual_routes virtual_rules accept no_accept use_vmac \
    use_vmac_addr vmac_xmit_base use_ipvlan vrf linkbeat_use_polling interface_up_down_delays nopreempt preempt preempt_delay \
    skip_check_adv_addr strict_mode down_timer_adverts garp_master_delay garp_master_repeat garp_master_refresh \
    garp_master_refresh_repeat garp_lower_prio_delay garp_lower_prio_repeat garp_extra_if higher_prio_send_advert \
    lower_prio_no_advert debug notify notify_master notify_backup notify_fault notify_stop notify_master_rx_lower_pri \
    notify_priority_changes smtp_alert kernel_rx_buf_size group global_tracking sync_group_tracking_weight notify_deleted \
    vrrp_version vrrp_strict vrrp_mcast_group4 vrrp_mcast_group6 vrrp_startup_delay vrrp_no_swap vrrp_notify_fifo \
    dynamic_interfaces log_unknown_vrids default_interface router_id script_user enable_script_security notify_fifo";

#[test]
fn every_key_of_keepalived_has_its_line() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vrrp.md");
    let page = fs::read_to_string(page).unwrap();
    let left: String = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .collect();
    let missing: Vec<&str> = KEYS
        .split_whitespace()
        .filter(|key| !left.contains(&format!("`{key}`")))
        .collect();
    assert!(missing.is_empty(), "no line for {missing:?}");
}

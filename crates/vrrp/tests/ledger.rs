//! The conformance ledger `docs/rfc9568.md` names every requirement, shows it both ways, and by tests that exist; `docs/vrrp.md` has every key of
//! Keepalived.
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

/// Whether some test is named: by its own name, or as one of the two that the page has words for.
fn names_a_test(words: &str) -> bool {
    let own = words.split('`').skip(1).step_by(2);
    let mut own = own.filter(|word| word.matches('_').count() >= 2);
    own.next().is_some() || words.contains("the table") || words.contains("the simulation")
}

#[test]
fn every_requirement_is_shown_both_ways_or_says_why_not() {
    let ledger = ledger();
    let mut one_way = Vec::new();
    for line in ledger.lines().filter(|line| line.starts_with("| C")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [number, requirement, place, shown] = cells[..] else {
            panic!("{line}")
        };
        let reason = place.starts_with("not applicable:") || place.starts_with("not implemented:");
        let forbids = requirement.starts_with("MUST NOT") || requirement.starts_with("SHOULD NOT");
        let mut sides = shown.split(';').map(names_a_test);
        let (kept, violated) = (sides.next(), sides.next());
        let both = kept == Some(true) && (forbids || violated == Some(true));
        if !reason && !both {
            one_way.push(number);
        }
    }
    assert!(one_way.is_empty(), "shown one way only: {one_way:?}");
}

/// What Debian's Keepalived (2.2.7) can be told that concerns VRRP: every key of its manual's sections on `global_defs`, static addresses, tracked
/// files, processes and scripts, groups and instances, but those that begin with `lvs_`, `checker_`, `bfd_` or `nftables_ipvs`.
const KEYS: &str = "net_namespace net_namespace_ipvs namespace_with_ipsets instance use_pid_dir linkbeat_use_polling child_wait_time \
    tmp_config_directory config_save_dir process_names process_name vrrp_process_name startup_script startup_script_timeout \
    shutdown_script shutdown_script_timeout notification_email notification_email_from smtp_server smtp_helo_name smtp_connect_timeout \
    smtp_alert smtp_alert_vrrp smtp_alert_checker no_email_faults router_id vrrp_mcast_group4 vrrp_mcast_group6 default_interface \
    vrrp_garp_master_delay vrrp_garp_master_repeat vrrp_garp_lower_prio_delay vrrp_down_timer_adverts vrrp_garp_lower_prio_repeat \
    vrrp_garp_master_refresh vrrp_garp_master_refresh_repeat vrrp_garp_interval vrrp_gna_interval vrrp_min_garp vrrp_garp_extra_if \
    vrrp_lower_prio_no_advert vrrp_higher_prio_send_advert vrrp_version nftables nftables_priority nftables_counters nftables_ifindex \
    vrrp_iptables vrrp_ipsets disable_local_igmp vrrp_check_unicast_src vrrp_skip_check_adv_addr vrrp_strict \
    vrrp_notify_priority_changes max_auto_priority min_auto_priority_delay vrrp_priority vrrp_no_swap vrrp_cpu_affinity \
    vrrp_rt_priority vrrp_rlimit_rttime snmp_socket enable_snmp_vrrp enable_snmp_checker enable_snmp_rfc enable_snmp_rfcv2 \
    enable_snmp_rfcv3 enable_traps enable_dbus dbus_service_name script_user enable_script_security notify_fifo notify_fifo_script \
    vrrp_notify_fifo vrrp_notify_fifo_script fifo_write_vrrp_states_on_reload dynamic_interfaces vrrp_netlink_cmd_rcv_bufs \
    vrrp_netlink_cmd_rcv_bufs_force vrrp_netlink_monitor_rcv_bufs vrrp_netlink_monitor_rcv_bufs_force process_monitor_rcv_bufs \
    process_monitor_rcv_bufs_force vrrp_rx_bufs_policy vrrp_rx_bufs_multiplier rs_init_notifies no_checker_emails umask \
    vrrp_startup_delay log_unknown_vrids vmac_prefix vmac_addr_prefix random_seed reload_check_config include_check reload_time_file \
    reload_repeat reload_file data_use_instance linkbeat_interfaces track_group group static_ipaddress static_routes vrf static_rules \
    track_file file weight init_file vrrp_track_process process param_match quorum quorum_max fork_delay terminate_delay delay \
    full_command vrrp_script script interval timeout rise fall user init_fail track_interface track_script track_process track_bfd \
    notify_master notify_backup notify_fault notify_stop notify_deleted notify notify_priority_changes global_tracking \
    sync_group_tracking_weight garp_group garp_interval gna_interval interface interfaces state use_vmac use_vmac_addr vmac_xmit_base \
    use_ipvlan native_ipv6 dont_track_primary mcast_src_ip unicast_src_ip mcast_dst_ip track_src_ip version check_unicast_src \
    unicast_peer unicast_fault_no_peer unicast_ttl old_unicast_checksum garp_master_delay garp_master_repeat garp_lower_prio_delay \
    garp_lower_prio_repeat garp_master_refresh garp_master_refresh_repeat garp_extra_if down_timer_adverts lower_prio_no_advert \
    higher_prio_send_advert virtual_router_id priority advert_int authentication auth_type auth_pass virtual_ipaddress \
    virtual_ipaddress_excluded promote_secondaries virtual_routes virtual_rules accept no_accept nopreempt preempt preempt_delay \
    skip_check_adv_addr strict_mode debug notify_master_rx_lower_pri kernel_rx_buf_size interface_up_down_delays";

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

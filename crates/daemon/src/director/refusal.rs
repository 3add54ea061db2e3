//! Accept_Mode false: packets to the virtual addresses are dropped, by a table of ours (RFC 9568 §6.1, §6.4.3).
//!
//! ARP is no matter of this table, and neighbour solicitations and advertisements are let through, so that neighbours still find the
//! Active router. The table is there before the addresses are, whatever the state, and goes with its virtual router.

use std::net::IpAddr;

use super::nft;

/// The whole table, in place of one of the same name.
pub(super) fn rules(vrid: u8, number: u64, vips: &[IpAddr]) -> String {
    let table = table_name(vrid, number);
    let mut rules = removal(vrid, number);
    rules.push_str(&format!(
        "table inet {table} {{\n  chain input {{ type filter hook input priority -150; policy accept;\n"
    ));
    let list = |v4: bool| {
        let vips = vips.iter().filter(|vip| vip.is_ipv4() == v4);
        vips.map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
    };
    let (v4, v6) = (list(true), list(false));
    if !v4.is_empty() {
        rules.push_str(&format!("    ip daddr {{ {v4} }} counter drop\n"));
    }
    if !v6.is_empty() {
        rules.push_str(&format!(
            "    ip6 daddr {{ {v6} }} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept\n    ip6 daddr {{ {v6} }} counter drop\n"
        ));
    }
    rules.push_str("  }\n}\n");
    rules
}

/// Takes the table away, if it is there.
pub(super) fn removal(vrid: u8, number: u64) -> String {
    let table = table_name(vrid, number);
    format!("add table inet {table}\ndelete table inet {table}\n")
}

fn table_name(vrid: u8, number: u64) -> String {
    format!("{}accept_{vrid}_{number}", nft::PREFIX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_dropped_and_neighbour_discovery_is_not() {
        let all = ["10.0.0.10", "fe80::10", "2001:db8::10"].map(|vip| vip.parse().unwrap());
        let both = rules(51, 3, &all);
        assert!(both.starts_with("add table inet tandem_accept_51_3\ndelete table inet"));
        let kept = both.find("nd-neighbor-advert } accept").unwrap();
        let dropped = both.find("ip6 daddr { fe80::10, 2001:db8::10 } counter drop");
        assert!(kept < dropped.unwrap(), "{both}");
        assert!(
            both.contains("ip daddr { 10.0.0.10 } counter drop"),
            "{both}"
        );
        assert!(!rules(51, 3, &all[..1]).contains("ip6"));
        assert!(!rules(51, 3, &all[1..]).contains("ip daddr"));
    }
}

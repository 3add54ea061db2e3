//! Guesses what was meant: names by edit distance, keys by where they belong.

/// The candidate closest to `name`, if it is close enough to be worth naming.
pub(crate) fn closest<'c>(
    name: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let lower = name.to_lowercase();
    let limit = 1 + name.chars().count() / 4;
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// What other programs call a key of ours.
const FOREIGN: &[(&str, &str)] = &[
    ("virtual_router_id", "vrid"),
    ("vr_id", "vrid"),
    ("virtual_ipaddress", "vips"),
    ("virtual_ipaddress_excluded", "vips"),
    ("vip", "vips"),
    ("advert_int", "advert_interval"),
    ("vrrp_version", "version"),
    ("state", "priority"),
    ("nopreempt", "preempt"),
    ("preempt_delay", "preempt"),
    ("authentication", "auth"),
    ("auth_pass", "auth"),
    ("unicast_peer", "unicast"),
    ("unicast_src_ip", "unicast"),
    ("use_vmac", "virtual_mac"),
    ("accept", "accept_mode"),
    ("no_accept", "accept_mode"),
    ("skip_check_adv_addr", "other_list"),
    ("vrrp_skip_check_adv_addr", "other_list"),
    ("strict_mode", "profile"),
    ("vrrp_strict", "profile"),
    ("track_interface", "track"),
    ("track_script", "track"),
    ("track_file", "track"),
    ("track_process", "track"),
    ("quorum", "min"),
    ("quorum_max", "max"),
    ("script", "run"),
    ("garp_master_refresh", "garp"),
    ("garp_master_delay", "garp"),
    ("listen", "bind"),
    ("address", "bind"),
    ("mode", "protocol"),
    ("backend", "forward"),
    ("default_backend", "forward"),
    ("use_backend", "forward"),
    ("proxy_pass", "forward"),
    ("group", "forward"),
    ("maxconn", "connections"),
    ("balance", "algorithm"),
    ("lb_algo", "algorithm"),
    ("lb_policy", "algorithm"),
    ("server", "targets"),
    ("servers", "targets"),
    ("real_server", "targets"),
    ("backends", "targets"),
    ("upstreams", "targets"),
    ("health_check", "health"),
    ("check", "health"),
    ("healthcheck", "health"),
    ("interval", "every"),
    ("inter", "every"),
    ("healthy_threshold", "rise"),
    ("unhealthy_threshold", "fall"),
    ("uri", "http"),
    ("path", "http"),
    ("level", "log"),
    ("nbthread", "threads"),
    ("worker_processes", "threads"),
];

/// The key of ours, among those possible here, that another program calls `key`.
pub(super) fn translated(key: &str, possible: &[&'static str]) -> Option<&'static str> {
    let lower = key.to_lowercase().replace('-', "_");
    FOREIGN
        .iter()
        .find(|(foreign, ours)| *foreign == lower && possible.contains(ours))
        .map(|(_, ours)| *ours)
}

/// The tables each key belongs to, for keys found elsewhere. Names of the operator's choice are in capitals.
const HOMES: &[(&str, &[&str])] = &[
    ("log", &["global"]),
    ("access_log", &["global"]),
    ("metrics", &["global"]),
    ("socket", &["global"]),
    ("trusted_proxies", &["global"]),
    ("threads", &["global"]),
    ("user", &["global"]),
    ("nodes", &["pair"]),
    ("key_file", &["pair"]),
    ("interface", &["vrrp.NAME"]),
    ("vrid", &["vrrp.NAME"]),
    ("version", &["vrrp.NAME"]),
    ("auth", &["vrrp.NAME"]),
    ("password_file", &["vrrp.NAME.auth"]),
    ("checksum", &["vrrp.NAME"]),
    ("off_link", &["vrrp.NAME"]),
    ("other_list", &["vrrp.NAME"]),
    ("vips", &["vrrp.NAME"]),
    ("advert_interval", &["vrrp.NAME"]),
    ("priority", &["vrrp.NAME"]),
    ("preempt", &["vrrp.NAME"]),
    ("unicast", &["vrrp.NAME"]),
    ("virtual_mac", &["vrrp.NAME"]),
    ("accept_mode", &["vrrp.NAME"]),
    ("profile", &["vrrp.NAME"]),
    ("vip_lease", &["vrrp.NAME"]),
    ("garp", &["vrrp.NAME"]),
    ("track", &["vrrp.NAME"]),
    ("hooks", &["vrrp.NAME"]),
    ("schedule", &["vrrp.NAME.garp"]),
    ("refresh", &["vrrp.NAME.garp"]),
    ("forwarder", &["vrrp.NAME.track"]),
    ("interfaces", &["vrrp.NAME.track"]),
    ("scripts", &["vrrp.NAME.track"]),
    ("files", &["vrrp.NAME.track"]),
    ("processes", &["vrrp.NAME.track"]),
    ("probes", &["vrrp.NAME.track"]),
    ("transition", &["vrrp.NAME.hooks"]),
    ("notify_fifo", &["global"]),
    ("bind", &["listener.NAME"]),
    ("protocol", &["listener.NAME"]),
    ("redirect", &["listener.NAME", "listener.NAME.rule"]),
    ("respond", &["listener.NAME", "listener.NAME.rule"]),
    ("forward", &["listener.NAME", "listener.NAME.rule"]),
    ("accept_proxy", &["listener.NAME"]),
    ("h2c", &["listener.NAME"]),
    ("rule", &["listener.NAME"]),
    ("header", &["listener.NAME.timeouts"]),
    ("body_idle", &["listener.NAME.timeouts"]),
    ("keepalive", &["listener.NAME.timeouts"]),
    ("age", &["listener.NAME.timeouts"]),
    ("tunnel", &["listener.NAME.timeouts"]),
    ("half_closed", &["listener.NAME.timeouts"]),
    ("connections", &["listener.NAME.limits"]),
    ("per_ip", &["listener.NAME.limits"]),
    ("requests", &["listener.NAME.limits"]),
    ("header_bytes", &["listener.NAME.limits"]),
    ("header_fields", &["listener.NAME.limits"]),
    ("url_bytes", &["listener.NAME.limits"]),
    ("body_bytes", &["listener.NAME.limits"]),
    ("streams", &["listener.NAME.limits"]),
    ("certificates", &["listener.NAME.tls"]),
    ("alpn", &["listener.NAME.tls"]),
    ("client_ca", &["listener.NAME.tls"]),
    ("client_crl", &["listener.NAME.tls"]),
    ("client_certificate", &["listener.NAME.tls"]),
    ("when", &["listener.NAME.rule"]),
    ("set_headers", &["listener.NAME.rule"]),
    ("remove_headers", &["listener.NAME.rule"]),
    ("host", &["listener.NAME.rule.when", "group.NAME.health"]),
    ("path", &["listener.NAME.rule.when"]),
    ("method", &["listener.NAME.rule.when"]),
    ("source", &["listener.NAME.rule.when"]),
    ("sni", &["listener.NAME.rule.when"]),
    ("algorithm", &["group.NAME"]),
    ("targets", &["group.NAME"]),
    ("health", &["group.NAME"]),
    ("outlier", &["group.NAME"]),
    ("drain", &["group.NAME"]),
    ("retry", &["group.NAME"]),
    ("slow_start", &["group.NAME"]),
    ("send_proxy", &["group.NAME"]),
    ("on_all_down", &["group.NAME"]),
    ("on_down", &["group.NAME"]),
    ("every", &["group.NAME.health"]),
    ("rise", &["group.NAME.health"]),
    ("fall", &["group.NAME.health"]),
    ("status", &["group.NAME.health"]),
    ("connect", &["group.NAME.timeouts"]),
    ("first_byte", &["group.NAME.timeouts"]),
    ("idle", &["group.NAME.timeouts"]),
    ("pool_age", &["group.NAME.timeouts"]),
    ("pool_idle", &["group.NAME.timeouts"]),
    ("per_target", &["group.NAME.limits"]),
    ("queue", &["group.NAME.limits"]),
    ("queue_for", &["group.NAME.limits"]),
    ("vnodes", &["group.NAME.algorithm"]),
    ("cert", &["certificate.NAME"]),
    ("ocsp", &["certificate.NAME"]),
];

/// The tables a key belongs to; a table's own name from `label` is put in where the kinds agree.
pub(crate) fn homes(key: &str, section: &str) -> Vec<String> {
    let own: Vec<&str> = section.split('.').collect();
    let homes = HOMES
        .iter()
        .find(|(name, _)| *name == key)
        .map_or(&[][..], |(_, homes)| homes);
    homes
        .iter()
        .map(|home| {
            let mut parts: Vec<&str> = home.split('.').collect();
            if let (Some(name), true) = (own.get(1), own.first() == parts.first()) {
                parts
                    .iter_mut()
                    .filter(|part| **part == "NAME")
                    .for_each(|part| *part = name);
            }
            parts.join(".")
        })
        .filter(|home| home != section)
        .collect()
}

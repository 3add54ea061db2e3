//! `tandem vrrp`: the election in words. Both families of a name share one state and stand in one block.

use std::collections::BTreeMap;

use control::{
    AuthenticationStatus, ChecksumForm, ContributionStatus, HooksStatus, PeerStatus, Timestamp,
    TrackedStatus, VrrpDetail, VrrpState,
};

use super::words::{age, count, exact, flow, millis, sentence};

/// Where the text after a label begins.
const LABEL: usize = 14;

/// The screen of `tandem vrrp`.
pub(crate) fn vrrp(routers: &[VrrpDetail], now: Timestamp) -> String {
    if routers.is_empty() {
        return "no virtual routers\n".to_owned();
    }
    let of_one_name = |a: &VrrpDetail, b: &VrrpDetail| a.status.name == b.status.name;
    let blocks: Vec<String> = routers
        .chunk_by(of_one_name)
        .map(|families| block(families, now))
        .collect();
    blocks.join("\n")
}

fn block(families: &[VrrpDetail], now: Timestamp) -> String {
    let Some(shared) = families.first() else {
        return String::new();
    };
    let mut out = headline(shared, now);
    out.push_str(&label("why", &[why(shared)]));
    if let Some(held_back) = &shared.held_back {
        out.push_str(&label(
            "held back",
            &[format!("does not claim: {held_back}")],
        ));
    }
    out.push_str(&timers(shared));
    out.push_str(&label("priority", &[arithmetic(shared)]));
    out.push_str(&column("tracked", &tracked(shared)));
    out.push_str(
        &shared
            .hooks
            .as_ref()
            .map_or_else(String::new, |shown| hooks(shown, now)),
    );
    out.push_str(&intervals(shared));
    for family in families {
        out.push_str(&family_lines(family));
    }
    out.push_str(&evidence(families));
    out.push_str(&history(families, now));
    out
}

/// `main  BACKUP for 12s  vrid 51 on eth0`
fn headline(router: &VrrpDetail, now: Timestamp) -> String {
    let status = &router.status;
    let state = format!(
        "{} for {}",
        status.state.as_str().to_uppercase(),
        age(status.since, now)
    );
    let place = format!("vrid {} on {}", status.vrid, status.interface);
    let group = status.group.iter().map(|group| format!("group {group}"));
    let words: Vec<String> = [status.name.clone(), state, place]
        .into_iter()
        .chain(group)
        .collect();
    flow("", 2, &words)
}

/// The reason, and the phase where it says more than the state.
fn why(router: &VrrpDetail) -> String {
    match router.phase.as_str() {
        "" => router.why.clone(),
        phase if phase == router.status.state.as_str() => router.why.clone(),
        phase => format!("{phase}: {}", router.why),
    }
}

fn timers(router: &VrrpDetail) -> String {
    let lines = router.timers.iter().map(|timer| match timer.in_ms {
        0 => format!("{} is due", timer.name),
        in_ms => format!("{} in {}", timer.name, millis(in_ms)),
    });
    let mut lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        lines.push("none runs".to_owned());
    }
    column("timer", &lines)
}

/// `script disk  down 0.4s ago, weight -20: exit code 2: /var is full`
fn tracked(router: &VrrpDetail) -> Vec<String> {
    let line = |tracked: &TrackedStatus| {
        let age = tracked.age_ms.map(|age| format!(" {} ago", millis(age)));
        format!(
            "{} {}{}, {}: {}",
            tracked.what,
            tracked.state,
            age.unwrap_or_default(),
            tracked.effect,
            tracked.why
        )
    };
    router.tracked.iter().map(line).collect()
}

/// `2 ok, 1 failed, 3 wait; /usr/local/bin/on-transition runs for 1.2s`
fn hooks(hooks: &HooksStatus, now: Timestamp) -> String {
    let counted = |count: u64, what: &str| (count > 0).then(|| format!("{count} {what}"));
    let counts = [
        Some(format!("{} ok", hooks.succeeded)),
        counted(hooks.failed, "failed"),
        counted(hooks.dropped, "DROPPED, too many waited"),
        counted(hooks.waiting, "wait"),
    ];
    let mut lines = vec![counts.into_iter().flatten().collect::<Vec<_>>().join(", ")];
    if let Some(program) = &hooks.running {
        let since = hooks.running_ms.map(millis).unwrap_or_default();
        lines.push(format!("{program} runs for {since}"));
    }
    if let Some(last) = &hooks.last {
        lines.push(format!(
            "{} {} -> {}, {} ago in {}: {}",
            last.program,
            last.from.as_str(),
            last.to.as_str(),
            age(last.at, now),
            millis(last.took_ms),
            last.outcome
        ));
    }
    column("hooks", &lines)
}

/// `200 - 30 eth2 down = 170`
fn arithmetic(router: &VrrpDetail) -> String {
    let (base, effective) = (router.status.priority, router.status.effective_priority);
    if base == 255 && effective == 255 {
        return "255: owns the addresses, nothing moves it".to_owned();
    }
    if router.contributions.is_empty() && base == effective {
        return base.to_string();
    }
    let terms: String = router.contributions.iter().map(term).collect();
    format!("{base}{terms} = {effective}")
}

fn term(contribution: &ContributionStatus) -> String {
    let ContributionStatus { what, delta, cap } = contribution;
    let sign = if *delta < 0 { '-' } else { '+' };
    let points = delta.unsigned_abs();
    match cap {
        Some(cap) if *delta == 0 => format!(", at most {cap} ({what})"),
        Some(cap) => format!(" {sign} {points} {what} (at most {cap})"),
        None => format!(" {sign} {points} {what}"),
    }
}

/// `own 100ms, learned 100ms; 333ms of silence and the active router is down (skew 33ms)`
fn intervals(router: &VrrpDetail) -> String {
    let mut words = format!("own {}", exact(router.advert_interval_ms));
    if let Some(learned) = router.learned_interval_ms {
        words.push_str(&format!(", learned {}", exact(learned)));
    }
    if router.status.state != VrrpState::Active {
        let (down, skew) = (exact(router.down_interval_ms), exact(router.skew_ms));
        words.push_str(&format!(
            "; {down} of silence and the active router is down (skew {skew})"
        ));
    }
    label("interval", &[words])
}

fn family_lines(router: &VrrpDetail) -> String {
    let mut out = label(
        router.status.family.as_str(),
        &[router.status.vips.join(" ")],
    );
    if let Some(mac) = &router.status.virtual_mac {
        let link = match &router.status.link {
            Some(link) => format!("on {link}"),
            None => "its link is not there".to_owned(),
        };
        out.push_str(&inner("mac", &[mac.clone(), link]));
    }
    if !router.status.accepts {
        let words = "no: packets to these addresses are dropped (not ARP, NS, NA)";
        out.push_str(&inner("accepts", &[words.to_owned()]));
    }
    match &router.status.peer {
        Some(peer) => out.push_str(&inner("peer", &peer_words(peer, router.checksum_sent))),
        None => out.push_str(&inner("peer", &["never heard".to_owned()])),
    }
    if let Some(authentication) = &router.authentication {
        out.push_str(&inner("signed", &authentication_words(authentication)));
    }
    let counters = numbers(&router.counters);
    if !counters.is_empty() {
        out.push_str(&inner("counted", &counters));
    }
    let rejects = numbers(&router.rejects);
    if !rejects.is_empty() {
        out.push_str(&inner("rejected", &rejects));
    }
    out
}

fn peer_words(peer: &PeerStatus, sent: Option<ChecksumForm>) -> Vec<String> {
    let checksum = match (peer.checksum, sent) {
        (Some(theirs), Some(ours)) if theirs != ours => {
            format!("checksum {}, we send {}", theirs.as_str(), ours.as_str())
        }
        (Some(theirs), _) => format!("checksum {}", theirs.as_str()),
        (None, _) => String::new(),
    };
    vec![
        peer.address.to_string(),
        format!("priority {}", peer.priority),
        format!("heard {} ago", millis(peer.last_heard_ms)),
        format!("every {}", exact(peer.interval_ms)),
        checksum,
    ]
}

/// `enforce`, `with key 2 of 1 2`, `the peer signs with key 1, its clock 3 s behind`
fn authentication_words(authentication: &AuthenticationStatus) -> Vec<String> {
    let keys: Vec<String> = authentication.keys.iter().map(u8::to_string).collect();
    let clock = match authentication.peer_skew_s {
        None | Some(-1..=1) => String::new(),
        Some(skew) if skew < 0 => format!(", its clock {} s ahead", skew.unsigned_abs()),
        Some(skew) => format!(", its clock {skew} s behind"),
    };
    let peer = match authentication.peer_key {
        Some(key) => format!("the peer signs with key {key}{clock}"),
        None => "nothing signed was heard".to_owned(),
    };
    vec![
        authentication.mode.clone(),
        format!(
            "with key {} of {}",
            authentication.active_key,
            keys.join(" ")
        ),
        format!("anti-replay {}", authentication.anti_replay),
        peer,
    ]
}

/// Those that are not zero.
fn numbers(counters: &BTreeMap<String, u64>) -> Vec<String> {
    let not_zero = counters.iter().filter(|(_, number)| **number > 0);
    not_zero
        .map(|(name, number)| format!("{} {}", name.replace('_', " "), count(*number)))
        .collect()
}

/// Changes of state, which the families share, and the alarms of all of them.
fn history(families: &[VrrpDetail], now: Timestamp) -> String {
    let transitions = families
        .first()
        .map_or(&[][..], |shared| &shared.transitions);
    let changes: Vec<String> = transitions
        .iter()
        .map(|change| {
            let (from, to) = (change.from.as_str(), change.to.as_str());
            format!(
                "{} ago {from} -> {to}: {}",
                age(change.at, now),
                change.reason
            )
        })
        .collect();
    let mut alarms: Vec<_> = families.iter().flat_map(|family| &family.alarms).collect();
    alarms.sort_by(|a, b| b.at.cmp(&a.at).then_with(|| a.words.cmp(&b.words)));
    alarms.dedup();
    let alarms: Vec<String> = alarms
        .iter()
        .map(|alarm| {
            format!(
                "{} ago {}: {}",
                age(alarm.at, now),
                alarm.kind.replace('_', " "),
                alarm.words
            )
        })
        .collect();
    let mut out = if changes.is_empty() {
        label("changes", &["none yet".to_owned()])
    } else {
        column("changes", &changes)
    };
    if !alarms.is_empty() {
        out.push_str(&column("! alarms", &alarms));
    }
    out
}

/// What is known besides advertisements, of all families.
fn evidence(families: &[VrrpDetail]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in families.iter().flat_map(|family| &family.evidence) {
        if !lines.contains(line) {
            lines.push(line.clone());
        }
    }
    column("evidence", &lines)
}

/// A label of a block with pieces that flow.
fn label(word: &str, pieces: &[String]) -> String {
    flow(&format!("  {word:<12}"), LABEL, pieces)
}

/// The same below an address family.
fn inner(word: &str, pieces: &[String]) -> String {
    flow(&format!("    {word:<10}"), LABEL, pieces)
}

/// A label before the first of several lines.
fn column(word: &str, lines: &[String]) -> String {
    let mut out = String::new();
    for (number, line) in lines.iter().enumerate() {
        let word = if number == 0 { word } else { "" };
        out.push_str(&sentence(&format!("  {word:<12}"), LABEL + 2, line));
    }
    out
}

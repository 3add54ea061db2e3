//! What would happen: the times are those of the tables, with 1 s and a down interval of 3.609375 s at priority 100.

use std::collections::BTreeSet;

use super::super::rehearsal::{Outlook, Rehearsal};
use super::*;

fn rehearse(bench: &Bench, at: u64, peer: Option<u8>, events: Vec<Event>, cut: bool) -> Outlook {
    let first = bench.router.first();
    let cut = if cut {
        BTreeSet::from([first])
    } else {
        BTreeSet::new()
    };
    let rehearsal = Rehearsal {
        peer: peer.map(Priority::new),
        peer_address: Some(ip("10.0.0.9")),
        events: events.into_iter().map(|event| (first, event)).collect(),
        cut,
        horizon: Duration::from_secs(20),
    };
    let now = bench.start + Duration::from_micros(at);
    bench.router.rehearse(now, &rehearsal)
}

/// Changes of state and farewells: milliseconds, who, what.
fn story(outlook: &Outlook) -> Vec<String> {
    let told = outlook.steps.iter().filter(|step| {
        matches!(
            step.action,
            Action::Transition(_) | Action::Send(_) | Action::Release
        )
    });
    told.map(|step| {
        let who = if step.by_peer { "peer" } else { "us" };
        format!("{} {who}: {}", step.after.as_millis(), word(&step.action))
    })
    .collect()
}

#[test]
fn a_fault_of_the_active_router_moves_the_addresses_at_once_in_a_pair() {
    let bench = Bench::active(pair(), 3_609_375);
    let before = bench.router.clone();
    let fault = Event::Fault(FaultReason::new("eth1 is down"));
    let outlook = rehearse(&bench, 4_000_000, Some(50), vec![fault], false);
    assert_eq!(
        story(&outlook),
        [
            "0 us: send ipv4 0",
            "0 us: release",
            "0 us: active to fault: eth1 is down",
            "0 peer: backup to active: 10.0.0.2 said that it leaves",
        ]
    );
    assert_eq!(
        (outlook.ours, outlook.theirs),
        (State::Fault, Some(State::Active))
    );
    assert_eq!(
        format!("{before:?}"),
        format!("{:?}", bench.router),
        "nothing is touched"
    );
}

#[test]
fn without_a_wire_the_other_router_waits_for_its_down_interval() {
    let bench = Bench::active(pair(), 3_609_375);
    let fault = Event::Fault(FaultReason::new("eth0 is down"));
    let outlook = rehearse(&bench, 4_000_000, Some(50), vec![fault], true);
    // Priority 50: a skew of 206/256 s after three intervals.
    let last = story(&outlook).pop().unwrap();
    assert_eq!(
        last,
        "3804 peer: backup to active: no active router heard for 3804 ms"
    );
}

#[test]
fn a_silent_active_router_is_replaced_and_a_lower_one_preempted() {
    let mut bench = Bench::backup(pair());
    bench.hear(1_000_000, "10.0.0.3", 150);
    let silent = rehearse(&bench, 1_500_000, None, Vec::new(), false);
    let silence = "3109 us: backup to active: no active router heard for 3609 ms";
    assert_eq!(story(&silent), [silence]);
    // At priority 50 the other one is outranked; what was heard of it still counts for one down interval.
    let lower = rehearse(&bench, 1_500_000, Some(50), Vec::new(), false);
    let told = story(&lower);
    assert!(
        told[0].starts_with("3109 us: backup to active: priority 100 takes over"),
        "{told:?}"
    );
    assert_eq!(
        (lower.ours, lower.theirs),
        (State::Active, Some(State::Backup))
    );
    let steady = rehearse(&bench, 1_500_000, Some(150), Vec::new(), false);
    assert_eq!(story(&steady), Vec::<String>::new());
    assert_eq!(
        (steady.ours, steady.theirs),
        (State::Backup, Some(State::Active))
    );
}

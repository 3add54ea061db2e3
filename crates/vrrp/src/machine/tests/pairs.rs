//! Every pair of state and event.

use super::*;

/// state at microsecond | event | actions; in order | state after | next deadline
const TABLE: &str = "
initialize 100000 | startup        | initialize to backup: started | backup | 3709375
initialize 100000 | resume         | initialize to backup: started; claim | claiming | 1100000
initialize 100000 | pause          | | initialize | -
initialize 100000 | pause over     | | initialize | -
initialize 100000 | shutdown       | stopped | initialize | -
initialize 100000 | handover       | handover failed | initialize | -
initialize 100000 | timer          | | initialize | -
initialize 100000 | higher         | | initialize | -
initialize 100000 | equal, above   | | initialize | -
initialize 100000 | equal, below   | | initialize | -
initialize 100000 | lower          | | initialize | -
initialize 100000 | farewell       | | initialize | -
initialize 100000 | priority 200   | | initialize | -
initialize 100000 | source lost    | | initialize | -
initialize 100000 | source new     | | initialize | -
initialize 100000 | fault          | | initialize | -
initialize 100000 | fault cleared  | | initialize | -
initialize 100000 | claimed        | | initialize | -
initialize 100000 | claim failed   | | initialize | -
initialize 100000 | address lost   | | initialize | -
initialize 100000 | send failed    | | initialize | -
initialize 100000 | reload         | | initialize | -
initialize 100000 | reload vips    | | initialize | -
initialize 100000 | reload vrid    | | initialize | -

backup 1000000 | startup        | | backup | 3609375
backup 1000000 | resume         | | backup | 3609375
backup 1000000 | pause          | | backup | 3609375
backup 1000000 | pause over     | | backup | 3609375
backup 1000000 | shutdown       | backup to initialize: stopped on request; stopped | initialize | -
backup 1000000 | handover       | handover failed | backup | 3609375
backup 1000000 | timer          | | backup | 3609375
backup 1000000 | higher         | | backup | 4609375
backup 1000000 | equal, above   | | backup | 4609375
backup 1000000 | equal, below   | | backup | 4609375
backup 1000000 | lower          | | backup | 3609375
backup 1000000 | farewell       | claim | claiming | 2000000
backup 1000000 | priority 200   | | backup | 3218750
backup 1000000 | source lost    | backup to fault: no source address to advertise from | fault | -
backup 1000000 | source new     | | backup | 3609375
backup 1000000 | fault          | backup to fault: eth1 is down | fault | -
backup 1000000 | fault cleared  | | backup | 3609375
backup 1000000 | claimed        | | backup | 3609375
backup 1000000 | claim failed   | | backup | 3609375
backup 1000000 | address lost   | | backup | 3609375
backup 1000000 | send failed    | | backup | 3609375
backup 1000000 | reload         | | backup | 3609375
backup 1000000 | reload vips    | | backup | 3609375
backup 1000000 | reload vrid    | | backup | 4609375

claiming 3700000 | startup        | | claiming | 4609375
claiming 3700000 | resume         | | claiming | 4609375
claiming 3700000 | pause          | | claiming | 4609375
claiming 3700000 | pause over     | | claiming | 4609375
claiming 3700000 | shutdown       | release; backup to initialize: stopped on request; stopped | initialize | -
claiming 3700000 | handover       | handover failed | claiming | 4609375
claiming 3700000 | timer          | | claiming | 4700000
claiming 3700000 | higher         | release | backup | 7309375
claiming 3700000 | equal, above   | release | backup | 7309375
claiming 3700000 | equal, below   | release | backup | 7309375
claiming 3700000 | lower          | | claiming | 4609375
claiming 3700000 | farewell       | | claiming | 4609375
claiming 3700000 | priority 200   | | claiming | 4609375
claiming 3700000 | source lost    | release; backup to fault: no source address to advertise from | fault | -
claiming 3700000 | source new     | | claiming | 4609375
claiming 3700000 | fault          | release; backup to fault: eth1 is down | fault | -
claiming 3700000 | fault cleared  | | claiming | 4609375
claiming 3700000 | claimed        | send ipv4 100; announce TookOver; backup to active: no active router heard for 3609 ms | active | 4700000
claiming 3700000 | claim failed   | release; backup to fault: virtual addresses could not be added: refused | fault | 4700000
claiming 3700000 | address lost   | release; backup to fault: virtual addresses could not be kept: gone | fault | 4700000
claiming 3700000 | send failed    | | claiming | 4609375
claiming 3700000 | reload         | | claiming | 4700000
claiming 3700000 | reload vips    | claim | claiming | 4700000
claiming 3700000 | reload vrid    | release | backup | 7309375

active 4400000 | startup        | | active | 5000000
active 4400000 | resume         | | active | 5000000
active 4400000 | pause          | send ipv4 100 | active | 5000000
active 4400000 | pause over     | send ipv4 100 | active | 5000000
active 4400000 | shutdown       | send ipv4 0 | leaving | 4410000
active 4400000 | handover       | send ipv4 0 | handing-over | 4410000
active 4400000 | timer          | | active | 5000000
active 4400000 | higher         | stop announcing; active to backup: 10.0.0.3 is active with priority 200, ours is 100 | backup | 4550000
active 4400000 | equal, above   | alarm equal_priorities; stop announcing; active to backup: 10.0.0.3 is active with priority 100, ours is 100 | backup | 4550000
active 4400000 | equal, below   | alarm equal_priorities; send ipv4 100; announce ConflictResolved | active | 5000000
active 4400000 | lower          | send ipv4 100; announce ConflictResolved | active | 5000000
active 4400000 | farewell       | send ipv4 100 | active | 5400000
active 4400000 | priority 200   | | active | 5000000
active 4400000 | source lost    | stop announcing; release; active to fault: no source address to advertise from | fault | -
active 4400000 | source new     | | active | 5000000
active 4400000 | fault          | send ipv4 0; stop announcing; release; active to fault: eth1 is down | fault | -
active 4400000 | fault cleared  | | active | 5000000
active 4400000 | claimed        | | active | 5000000
active 4400000 | claim failed   | | active | 5000000
active 4400000 | address lost   | send ipv4 0; stop announcing; release; active to fault: virtual addresses could not be kept: gone | fault | 5400000
active 4400000 | send failed    | alarm send_failed | active | 5000000
active 4400000 | reload         | | active | 5000000
active 4400000 | reload vips    | claim | active | 5000000
active 4400000 | reload vrid    | send ipv4 0; stop announcing; release; active to backup: virtual router id or version changed | backup | 8009375

leaving 4505000 | startup        | | leaving | 4510000
leaving 4505000 | resume         | | leaving | 4510000
leaving 4505000 | pause          | | leaving | 4510000
leaving 4505000 | pause over     | | leaving | 4510000
leaving 4505000 | shutdown       | | leaving | 4510000
leaving 4505000 | handover       | handover failed | leaving | 4510000
leaving 4505000 | timer          | | leaving | 4510000
leaving 4505000 | higher         | stop announcing | leaving | 4655000
leaving 4505000 | equal, above   | stop announcing | leaving | 4655000
leaving 4505000 | equal, below   | stop announcing | leaving | 4655000
leaving 4505000 | lower          | stop announcing | leaving | 4655000
leaving 4505000 | farewell       | | leaving | 4510000
leaving 4505000 | priority 200   | | leaving | 4510000
leaving 4505000 | source lost    | stop announcing; release; active to initialize: stopped on request; stopped | initialize | -
leaving 4505000 | source new     | | leaving | 4510000
leaving 4505000 | fault          | send ipv4 0; stop announcing; release; active to initialize: stopped on request; stopped | initialize | -
leaving 4505000 | fault cleared  | | leaving | 4510000
leaving 4505000 | claimed        | | leaving | 4510000
leaving 4505000 | claim failed   | | leaving | 4510000
leaving 4505000 | address lost   | send ipv4 0; stop announcing; release; active to initialize: stopped on request; stopped | initialize | -
leaving 4505000 | send failed    | | leaving | 4510000
leaving 4505000 | reload         | | leaving | 4510000
leaving 4505000 | reload vips    | | leaving | 4510000
leaving 4505000 | reload vrid    | stop announcing; release; active to initialize: stopped on request; stopped | initialize | -

handing-over 4505000 | startup        | | handing-over | 4510000
handing-over 4505000 | resume         | | handing-over | 4510000
handing-over 4505000 | pause          | | handing-over | 4510000
handing-over 4505000 | pause over     | | handing-over | 4510000
handing-over 4505000 | shutdown       | handover failed | leaving | 4510000
handing-over 4505000 | handover       | | handing-over | 4510000
handing-over 4505000 | timer          | | handing-over | 4510000
handing-over 4505000 | higher         | stop announcing | handing-over | 4655000
handing-over 4505000 | equal, above   | stop announcing | handing-over | 4655000
handing-over 4505000 | equal, below   | stop announcing | handing-over | 4655000
handing-over 4505000 | lower          | stop announcing | handing-over | 4655000
handing-over 4505000 | farewell       | send ipv4 100; handover failed | active | 5505000
handing-over 4505000 | priority 200   | | handing-over | 4510000
handing-over 4505000 | source lost    | stop announcing; release; active to fault: no source address to advertise from; handover failed | fault | -
handing-over 4505000 | source new     | | handing-over | 4510000
handing-over 4505000 | fault          | send ipv4 0; stop announcing; release; active to fault: eth1 is down; handover failed | fault | -
handing-over 4505000 | fault cleared  | | handing-over | 4510000
handing-over 4505000 | claimed        | | handing-over | 4510000
handing-over 4505000 | claim failed   | | handing-over | 4510000
handing-over 4505000 | address lost   | send ipv4 0; stop announcing; release; active to fault: virtual addresses could not be kept: gone; handover failed | fault | 5505000
handing-over 4505000 | send failed    | | handing-over | 4510000
handing-over 4505000 | reload         | | handing-over | 4510000
handing-over 4505000 | reload vips    | | handing-over | 4510000
handing-over 4505000 | reload vrid    | handover failed; stop announcing; release; active to backup: virtual router id or version changed | backup | 8114375

handed-over 4510000 | startup        | | handing-over | 4655000
handed-over 4510000 | resume         | | handing-over | 4655000
handed-over 4510000 | pause          | | handing-over | 4655000
handed-over 4510000 | pause over     | | handing-over | 4655000
handed-over 4510000 | shutdown       | handed over | leaving | 4655000
handed-over 4510000 | handover       | | handing-over | 4655000
handed-over 4510000 | timer          | | handing-over | 4655000
handed-over 4510000 | higher         | | handing-over | 4655000
handed-over 4510000 | equal, above   | | handing-over | 4655000
handed-over 4510000 | equal, below   | | handing-over | 4655000
handed-over 4510000 | lower          | | handing-over | 4655000
handed-over 4510000 | farewell       | send ipv4 100; announce ConflictResolved; handover failed | active | 5510000
handed-over 4510000 | priority 200   | | handing-over | 4655000
handed-over 4510000 | source lost    | release; active to fault: no source address to advertise from; handed over | fault | -
handed-over 4510000 | source new     | | handing-over | 4655000
handed-over 4510000 | fault          | release; active to fault: eth1 is down; handed over | fault | -
handed-over 4510000 | fault cleared  | | handing-over | 4655000
handed-over 4510000 | claimed        | | handing-over | 4655000
handed-over 4510000 | claim failed   | | handing-over | 4655000
handed-over 4510000 | address lost   | release; active to fault: virtual addresses could not be kept: gone; handed over | fault | 5510000
handed-over 4510000 | send failed    | | handing-over | 4655000
handed-over 4510000 | reload         | | handing-over | 4655000
handed-over 4510000 | reload vips    | | handing-over | 4655000
handed-over 4510000 | reload vrid    | handed over; release; active to backup: virtual router id or version changed | backup | 8119375

fault 1000000 | startup        | | fault | -
fault 1000000 | resume         | | fault | -
fault 1000000 | pause          | | fault | -
fault 1000000 | pause over     | | fault | -
fault 1000000 | shutdown       | fault to initialize: stopped on request; stopped | initialize | -
fault 1000000 | handover       | handover failed | fault | -
fault 1000000 | timer          | | fault | -
fault 1000000 | higher         | | fault | -
fault 1000000 | equal, above   | | fault | -
fault 1000000 | equal, below   | | fault | -
fault 1000000 | lower          | | fault | -
fault 1000000 | farewell       | | fault | -
fault 1000000 | priority 200   | | fault | -
fault 1000000 | source lost    | | fault | -
fault 1000000 | source new     | | fault | -
fault 1000000 | fault          | | fault | -
fault 1000000 | fault cleared  | fault to backup: no fault any more | backup | 4609375
fault 1000000 | claimed        | | fault | -
fault 1000000 | claim failed   | | fault | -
fault 1000000 | address lost   | | fault | -
fault 1000000 | send failed    | | fault | -
fault 1000000 | reload         | | fault | -
fault 1000000 | reload vips    | | fault | -
fault 1000000 | reload vrid    | | fault | -
";

fn in_state(name: &str) -> Bench {
    let mut bench = match name {
        "initialize" => Bench::new(pair()),
        "fault" => {
            let mut bench = Bench::new(pair());
            bench.fault(0);
            bench.handle(0, Event::Startup);
            bench
        }
        _ => Bench::backup(pair()),
    };
    if !matches!(name, "initialize" | "fault" | "backup") {
        bench.timer(3_609_375);
    }
    if matches!(name, "active" | "leaving" | "handing-over" | "handed-over") {
        bench.handle(4_000_000, Event::Claimed);
    }
    if name == "leaving" {
        bench.handle(4_500_000, Event::Shutdown);
    }
    if matches!(name, "handing-over" | "handed-over") {
        bench.handle(4_500_000, Event::Handover);
    }
    if name == "handed-over" {
        bench.hear(4_505_000, "10.0.0.3", 50);
    }
    bench
}

pub(super) fn event(bench: &Bench, name: &str) -> Event {
    let source_changed = |source: Option<&str>| Event::SourceChanged {
        family: Family::V4,
        source: source.map(ip),
    };
    let from = |peer, priority| bench.advertisement(peer, priority, 100, ChecksumForm::Rfc5798);
    match name {
        "startup" => Event::Startup,
        "resume" => Event::Resume,
        "pause" => Event::Pause(Some(centis(200))),
        "pause over" => Event::Pause(None),
        "shutdown" => Event::Shutdown,
        "handover" => Event::Handover,
        "timer" => Event::Timer,
        "higher" => from("10.0.0.3", 200),
        "equal, above" => from("10.0.0.3", 100),
        "equal, below" => from("10.0.0.1", 100),
        "lower" => from("10.0.0.3", 50),
        "farewell" => from("10.0.0.3", 0),
        "priority 200" => Event::PriorityChanged(Priority::new(200)),
        "source lost" => source_changed(None),
        "source new" => source_changed(Some("10.0.0.5")),
        "fault" => Event::Fault(FaultReason::new("eth1 is down")),
        "fault cleared" => Event::FaultCleared,
        "claimed" => Event::Claimed,
        "claim failed" => Event::ClaimFailed("refused".to_owned()),
        "address lost" => Event::AddressLost("gone".to_owned()),
        "send failed" => Event::SendFailed("no buffer".to_owned()),
        "reload" => Event::Reconfigure(pair()),
        "reload vips" => Event::Reconfigure(Settings {
            vips: vec![ip("10.0.0.11")],
            ..pair()
        }),
        "reload vrid" => Event::Reconfigure(Settings {
            vrid: Vrid::new(52).unwrap(),
            ..pair()
        }),
        _ => panic!("no event {name}"),
    }
}

#[test]
fn every_state_answers_every_event_as_the_table_says() {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for row in TABLE.lines().filter(|row| !row.is_empty()) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [start, event_name, actions, after, deadline] = cells[..] else {
            panic!("{row}")
        };
        let (state, at) = start.split_once(' ').unwrap();
        let mut bench = in_state(state);
        let event = event(&bench, event_name);
        let seen = bench.handle(at.parse().unwrap(), event).join("; ");
        let seen_deadline = bench
            .deadline()
            .map_or_else(|| "-".to_owned(), |at| at.to_string());
        if (seen.as_str(), bench.phase(), seen_deadline.as_str()) != (actions, after, deadline) {
            wrong.push(format!(
                "{row}\n    seen: {seen} | {} | {seen_deadline}",
                bench.phase()
            ));
        }
        rows += 1;
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert_eq!(rows, 8 * 24, "eight states, twenty-four events");
}

/// A duplicate of an event or an untimely timer changes nothing.
#[test]
fn spurious_timers_are_harmless() {
    for (state, at) in [
        ("initialize", 0),
        ("backup", 1_000_000),
        ("active", 4_400_000),
        ("leaving", 4_505_000),
    ] {
        let mut bench = in_state(state);
        let (phase, deadline) = (bench.phase(), bench.deadline());
        for _ in 0..10 {
            assert!(bench.timer(at).is_empty());
        }
        assert_eq!((bench.phase(), bench.deadline()), (phase, deadline));
    }
}

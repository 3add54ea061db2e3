//! Any events in any order: the invariants asserted in the machine hold, and it never stands still or runs wild.

use proptest::prelude::*;

use super::*;

const EVENTS: [&str; 21] = [
    "startup",
    "shutdown",
    "handover",
    "timer",
    "higher",
    "equal, above",
    "equal, below",
    "lower",
    "farewell",
    "priority 200",
    "source lost",
    "source new",
    "fault",
    "fault cleared",
    "claimed",
    "claim failed",
    "address lost",
    "send failed",
    "reload",
    "reload vips",
    "reload vrid",
];

fn any_settings() -> impl Strategy<Value = Settings> {
    let preempt = prop::sample::select(vec![
        Preempt::Immediately,
        Preempt::After(Duration::ZERO),
        Preempt::After(Duration::from_secs(5)),
        Preempt::Never,
    ]);
    let priority = prop::sample::select(vec![1, 100, 254, 255]);
    (preempt, priority, any::<bool>(), any::<bool>()).prop_map(
        |(preempt, priority, both, is_pair)| {
            let base = if both { dual() } else { pair() };
            let peer = if is_pair {
                PeerKnowledge::Pair
            } else {
                PeerKnowledge::Unknown
            };
            Settings {
                preempt,
                priority: Priority::new(priority),
                peer,
                ..base
            }
        },
    )
}

/// An event and the microseconds before it: often at once, often a while, seldom long.
fn any_step() -> impl Strategy<Value = (&'static str, u64)> {
    let wait = prop_oneof![
        Just(0),
        1_u64..30_000,
        1_u64..4_000_000,
        4_000_000_u64..60_000_000
    ];
    (prop::sample::select(EVENTS.to_vec()), wait)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_events_in_any_order_keep_the_machine_sound(
        settings in any_settings(),
        steps in prop::collection::vec(any_step(), 1..80),
        punctual in any::<bool>(),
    ) {
        let mut bench = Bench::new(settings);
        let (mut now, mut held) = (0, false);
        let mut book = |words: &[String]| {
            for word in words {
                match word.as_str() {
                    "claim" => held = true,
                    "release" => {
                        assert!(held, "a release of nothing");
                        held = false;
                    }
                    "stopped" => assert!(!held, "stopped with the addresses"),
                    word if word.starts_with("announce") => assert!(held, "announces what it does not hold"),
                    word if word.starts_with("send") && !word.ends_with(" 0") => assert!(held),
                    _ => {}
                }
            }
        };
        for (name, wait) in steps {
            now += wait;
            if punctual {
                let log = bench.run(now);
                log.iter().for_each(|(_, words)| book(words));
            }
            let event = pairs::event(&bench, name);
            let words = bench.handle(now, event);
            book(&words);
            // Whatever is due is dealt with in one go: a timer that is served is over.
            book(&bench.timer(now));
            prop_assert!(bench.deadline().is_none_or(|at| at > now), "a timer stands still");
        }
    }
}

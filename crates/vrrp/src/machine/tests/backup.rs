//! Backup and Claiming: timers, learned interval, preemption, lateness.

use super::*;
use crate::types::Password;

fn with(priority: u8, interval: u16) -> Settings {
    Settings {
        priority: Priority::new(priority),
        advert_interval: centis(interval),
        ..pair()
    }
}

#[test]
fn silence_ends_after_three_intervals_and_the_skew() {
    let rows = [
        (254, 100, 3_007_813),
        (200, 100, 3_218_750),
        (150, 100, 3_414_063),
        (100, 100, 3_609_375),
        (1, 100, 3_996_094),
        (100, 10, 360_938),
        (1, 10, 399_610),
        (100, 200, 7_218_750),
    ];
    for (priority, interval, at) in rows {
        let mut bench = Bench::backup(with(priority, interval));
        assert_eq!(
            bench.deadline(),
            Some(at),
            "priority {priority}, {interval} cs"
        );
        assert!(bench.timer(at - 1).is_empty());
        assert_eq!(bench.timer(at), ["claim"]);
    }
}

#[test]
fn v2_times_do_not_scale_the_skew() {
    let password = Password::new(b"s3cret");
    let v2 = Settings {
        version: Version::V2,
        password,
        ..with(100, 200)
    };
    let mut bench = Bench::backup(v2.clone());
    assert_eq!(bench.deadline(), Some(6_609_375));
    bench.hear(1_000_000, "10.0.0.3", 150);
    assert_eq!(bench.deadline(), Some(7_609_375));
    let mut alone = Bench::backup(Settings {
        peer: PeerKnowledge::Unknown,
        ..v2
    });
    alone.hear(1_000_000, "10.0.0.3", 0);
    assert_eq!(alone.deadline(), Some(1_609_375));
}

#[test]
fn the_interval_heard_is_learned() {
    let mut bench = Bench::backup(pair());
    assert_eq!(
        bench.hear_each(1_000_000, "10.0.0.3", 150, 300),
        ["alarm interval_mismatch"]
    );
    assert_eq!(bench.deadline(), Some(11_828_125));
    assert_eq!(bench.router.status().learned_interval, Some(centis(300)));
}

#[test]
fn a_farewell_among_unknown_peers_waits_for_the_skew_of_the_learned_interval() {
    let mut bench = Bench::backup(unknown());
    bench.hear_each(1_000_000, "10.0.0.3", 150, 300);
    assert!(bench.hear_each(2_000_000, "10.0.0.3", 0, 300).is_empty());
    assert_eq!(bench.deadline(), Some(3_828_125));
    assert_eq!(bench.timer(3_828_125), ["claim"]);
    let words = bench.handle(3_830_000, Event::Claimed);
    assert_eq!(words[2], "backup to active: 10.0.0.3 said that it leaves");
}

#[test]
fn farewells_never_postpone_the_timer() {
    let mut bench = Bench::backup(unknown());
    for at in (3_000_000..3_600_000).step_by(50_000) {
        bench.hear(at, "10.0.0.3", 0);
    }
    assert_eq!(bench.deadline(), Some(3_609_375));
}

#[test]
fn a_lower_router_that_took_the_place_of_who_left_is_who_is_preempted() {
    let mut bench = Bench::backup(unknown());
    bench.hear_each(1_000_000, "10.0.0.3", 150, 300);
    bench.hear_each(2_000_000, "10.0.0.3", 0, 300);
    bench.hear(2_500_000, "10.0.0.4", 50);
    assert_eq!(bench.timer(3_828_125), ["claim"]);
    let words = bench.handle(3_830_000, Event::Claimed);
    assert_eq!(
        words[2],
        "backup to active: priority 100 takes over from 10.0.0.4 with priority 50"
    );
}

#[test]
fn an_advertisement_after_a_farewell_restarts_the_full_wait() {
    let mut bench = Bench::backup(unknown());
    bench.hear(1_000_000, "10.0.0.3", 0);
    bench.hear(1_300_000, "10.0.0.4", 120);
    assert_eq!(bench.deadline(), Some(4_909_375));
}

#[test]
fn the_sole_backup_of_a_pair_claims_at_once_on_a_farewell() {
    let mut bench = Bench::backup(Settings {
        preempt: Preempt::Never,
        ..with(1, 10)
    });
    bench.hear(100_000, "10.0.0.3", 200);
    assert_eq!(bench.hear(150_000, "10.0.0.3", 0), ["claim"]);
    assert_eq!(
        bench.handle(151_000, Event::Claimed)[2],
        "backup to active: 10.0.0.3 said that it leaves"
    );
}

#[test]
fn a_lower_active_router_is_preempted_when_the_own_timer_ends() {
    let mut bench = Bench::backup(pair());
    for at in [500_000, 1_500_000, 2_500_000, 3_500_000] {
        bench.hear(at, "10.0.0.3", 50);
    }
    assert_eq!(bench.timer(3_609_375), ["claim"]);
    let words = bench.handle(3_610_000, Event::Claimed);
    assert_eq!(
        words[2],
        "backup to active: priority 100 takes over from 10.0.0.3 with priority 50"
    );
}

#[test]
fn never_means_that_any_router_is_obeyed() {
    let mut bench = Bench::backup(Settings {
        preempt: Preempt::Never,
        ..pair()
    });
    bench.hear(3_000_000, "10.0.0.3", 50);
    assert_eq!(bench.deadline(), Some(6_609_375));
    assert_eq!(bench.phase(), "backup");
}

#[test]
fn a_delayed_preemption_counts_from_the_first_lower_advertisement() {
    let mut bench = Bench::backup(Settings {
        preempt: Preempt::After(Duration::from_secs(5)),
        ..pair()
    });
    for at in [1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000] {
        assert!(bench.hear(at, "10.0.0.3", 50).is_empty());
        assert_eq!(bench.phase(), "preempt-wait");
    }
    assert_eq!(bench.deadline(), Some(6_000_000));
    assert_eq!(bench.timer(6_000_000), ["claim"]);
    assert!(
        bench.hear(6_001_000, "10.0.0.3", 50).is_empty(),
        "the claim stands"
    );
    let words = bench.handle(6_002_000, Event::Claimed);
    assert_eq!(
        words[2],
        "backup to active: priority 100 takes over from 10.0.0.3 with priority 50"
    );
}

#[test]
fn waiting_to_preempt_ends_early_when_the_other_dies_or_leaves() {
    let after = Settings {
        preempt: Preempt::After(Duration::from_secs(60)),
        ..pair()
    };
    let mut dies = Bench::backup(after.clone());
    dies.hear(1_000_000, "10.0.0.3", 50);
    assert_eq!(dies.deadline(), Some(4_609_375));
    assert_eq!(dies.timer(4_609_375), ["claim"]);
    let mut leaves = Bench::backup(after.clone());
    leaves.hear(1_000_000, "10.0.0.3", 50);
    assert_eq!(leaves.hear(1_500_000, "10.0.0.3", 0), ["claim"]);
    let mut among_unknown = Bench::backup(Settings {
        peer: PeerKnowledge::Unknown,
        ..after
    });
    among_unknown.hear(1_000_000, "10.0.0.3", 50);
    among_unknown.hear(1_500_000, "10.0.0.3", 0);
    assert_eq!(
        (among_unknown.phase(), among_unknown.deadline()),
        ("backup", Some(2_109_375))
    );
}

#[test]
fn waiting_to_preempt_begins_anew_after_a_higher_router() {
    let mut bench = Bench::backup(Settings {
        preempt: Preempt::After(Duration::from_secs(2)),
        ..pair()
    });
    bench.hear(1_000_000, "10.0.0.3", 50);
    bench.hear(2_000_000, "10.0.0.3", 150);
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("backup", Some(5_609_375))
    );
    bench.hear(2_500_000, "10.0.0.3", 50);
    assert_eq!(bench.deadline(), Some(4_500_000));
}

#[test]
fn a_reload_to_never_ends_the_wait_to_preempt() {
    let mut bench = Bench::backup(Settings {
        preempt: Preempt::After(Duration::from_secs(2)),
        ..pair()
    });
    bench.hear(1_000_000, "10.0.0.3", 50);
    bench.handle(
        1_500_000,
        Event::Reconfigure(Settings {
            preempt: Preempt::Never,
            ..pair()
        }),
    );
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("backup", Some(4_609_375))
    );
}

#[test]
fn a_priority_change_shifts_the_timer_by_the_difference() {
    let mut bench = Bench::backup(pair());
    bench.hear(2_000_000, "10.0.0.3", 250);
    assert_eq!(bench.deadline(), Some(5_609_375));
    bench.handle(3_000_000, Event::PriorityChanged(Priority::new(200)));
    assert_eq!(bench.deadline(), Some(5_218_750));
    bench.handle(3_500_000, Event::PriorityChanged(Priority::new(1)));
    assert_eq!(bench.deadline(), Some(5_996_094));
    bench.handle(4_000_000, Event::PriorityChanged(Priority::new(100)));
    assert_eq!(bench.deadline(), Some(5_609_375));
}

#[test]
fn the_shift_uses_the_learned_interval() {
    let mut bench = Bench::backup(pair());
    bench.hear_each(1_000_000, "10.0.0.3", 250, 300);
    bench.handle(2_000_000, Event::PriorityChanged(Priority::new(200)));
    assert_eq!(bench.deadline(), Some(10_656_250));
}

#[test]
fn a_reload_of_the_interval_shifts_a_timer_that_learned_nothing() {
    let mut bench = Bench::backup(pair());
    bench.handle(1_000_000, Event::Reconfigure(with(100, 50)));
    assert_eq!(bench.deadline(), Some(1_804_688));
    let mut learned = Bench::backup(pair());
    learned.hear(1_000_000, "10.0.0.3", 150);
    learned.handle(2_000_000, Event::Reconfigure(with(100, 50)));
    assert_eq!(learned.deadline(), Some(4_609_375));
}

#[test]
fn a_backup_more_than_an_interval_late_listens_first() {
    let mut in_time = Bench::backup(pair());
    assert_eq!(in_time.timer(4_609_375), ["claim"]);
    let mut late = Bench::backup(pair());
    assert_eq!(late.timer(4_609_376), ["alarm late"]);
    assert_eq!(
        (late.phase(), late.deadline()),
        ("listening", Some(6_609_376))
    );
    assert_eq!(late.timer(6_609_376), ["claim"]);
}

#[test]
fn what_was_heard_while_away_counts() {
    let mut bench = Bench::backup(pair());
    bench.timer(20_000_000);
    bench.hear(20_000_100, "10.0.0.3", 150);
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("backup", Some(23_609_475))
    );
}

#[test]
fn listening_is_not_cut_short_by_jitter_but_by_another_absence() {
    let mut bench = Bench::backup(pair());
    bench.timer(10_000_000);
    assert_eq!(bench.deadline(), Some(12_000_000));
    assert_eq!(bench.clone().timer(15_000_000), ["claim"]);
    assert_eq!(bench.timer(15_000_001), ["alarm late"]);
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("listening", Some(17_000_001))
    );
}

#[test]
fn a_lower_router_heard_while_listening_gets_the_full_down_interval() {
    let mut bench = Bench::backup(pair());
    bench.timer(10_000_000);
    bench.hear(10_500_000, "10.0.0.3", 50);
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("backup", Some(13_609_375))
    );
}

#[test]
fn the_owner_claims_at_once_and_says_nothing_before_the_kernel_confirms() {
    let mut bench = Bench::new(Settings {
        priority: Priority::OWNER,
        ..pair()
    });
    assert_eq!(
        bench.handle(0, Event::Startup),
        ["initialize to backup: started", "claim"]
    );
    let words = bench.handle(1_000, Event::Claimed);
    let became = "backup to active: started as the owner of the addresses";
    assert_eq!(words, ["send ipv4 255", "announce TookOver", became]);
}

#[test]
fn a_claim_is_watched_each_interval_and_given_up_after_5_s() {
    let mut bench = Bench::backup(pair());
    bench.timer(3_609_375);
    let log = bench.run(8_609_375);
    let failed = "backup to fault: virtual addresses could not be added: no answer within 5 s";
    assert_eq!(
        log,
        [(8_609_375, vec!["release".to_owned(), failed.to_owned()])]
    );
    assert_eq!(bench.deadline(), Some(9_609_375));
}

#[test]
fn a_claim_confirmed_after_an_absence_is_not_believed() {
    let mut in_time = Bench::backup(pair());
    in_time.timer(3_609_375);
    in_time.handle(6_609_374, Event::Claimed);
    assert_eq!(in_time.phase(), "active");
    let mut late = Bench::backup(pair());
    late.timer(3_609_375);
    assert_eq!(late.handle(6_609_375, Event::Claimed), ["release"]);
    assert_eq!(
        (late.phase(), late.deadline()),
        ("listening", Some(8_609_375))
    );
}

#[test]
fn a_slow_kernel_is_no_absence() {
    let mut bench = Bench::backup(with(100, 10));
    bench.timer(360_938);
    bench.run(1_800_000);
    assert_eq!(bench.phase(), "claiming");
    assert_eq!(bench.handle(1_850_000, Event::Claimed)[0], "send ipv4 100");
}

#[test]
fn a_claim_without_preemption_ends_for_any_active_router() {
    let mut bench = Bench::backup(Settings {
        preempt: Preempt::Never,
        ..pair()
    });
    bench.timer(3_609_375);
    assert_eq!(bench.hear(3_610_000, "10.0.0.3", 50), ["release"]);
    assert_eq!(
        (bench.phase(), bench.deadline()),
        ("backup", Some(7_219_375))
    );
    assert!(
        bench.handle(3_611_000, Event::Claimed).is_empty(),
        "a void answer"
    );
}

#[test]
fn a_reload_of_the_base_priority_is_in_force_at_once_unless_tracking_rules() {
    let other = || Event::Reconfigure(with(200, 100));
    let mut bench = Bench::backup(pair());
    bench.handle(1_000_000, other());
    assert_eq!(bench.router.status().effective_priority, Priority::new(200));
    assert_eq!(
        bench.deadline(),
        Some(3_218_750),
        "shifted by the difference"
    );
    let mut tracked = Bench::backup(pair());
    tracked.handle(500_000, Event::PriorityChanged(Priority::new(70)));
    tracked.handle(1_000_000, other());
    assert_eq!(
        tracked.router.status().effective_priority,
        Priority::new(70)
    );
    tracked.handle(1_000_000, Event::PriorityChanged(Priority::new(170)));
    assert_eq!(
        tracked.router.status().effective_priority,
        Priority::new(170)
    );
}

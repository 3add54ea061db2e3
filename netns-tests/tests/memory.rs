//! What a takeover needs is in memory, and locked there, before it is needed: a backup that has never been Active waits for no disk.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::time::Duration;

use common::{LIMIT, measured};
use netns_tests::{
    Address, Device as _, Host, Lab, PairConfig, Part, Tandem, code_kib, locked_kib, wait_until,
};

/// The start takes ten seconds at most; then memory is locked.
const LOCKED: Duration = Duration::from_secs(10);
#[test]
fn a_takeover_runs_what_is_locked_in_memory_already() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig {
            listener: false,
            ..PairConfig::default()
        };
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let director = two.pids(Part::Director)[0];
        wait_until("the director has locked its memory", LOCKED + LIMIT, || {
            locked_kib(director).unwrap() > 0
        })
        .unwrap();
        // The questions of this test are no part of a takeover.
        assert_eq!(two.state(), "backup");
        // Until the claim for practice has come back from the kernel, and the routine of a backup has been through.
        let mut before = 0;
        wait_until("it runs nothing new", LIMIT, || {
            std::thread::sleep(Duration::from_millis(500));
            let now = code_kib(director).unwrap();
            std::mem::replace(&mut before, now) == now
        })
        .unwrap();
        one.kill(Part::All).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
        wait_until("it has announced the address", LIMIT, || {
            two.state() == "active"
        })
        .unwrap();
        let after = code_kib(director).unwrap();
        eprintln!("code in memory: {before} KiB before the takeover, {after} KiB after it");
        // Not everything is practised.
        assert!(
            after <= before + before * 10 / 100,
            "{before} KiB before, {after} KiB after"
        );
    });
}

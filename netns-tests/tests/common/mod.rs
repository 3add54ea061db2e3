//! What the scenarios share. Each test file uses its own part of it.

#![allow(dead_code, clippy::unwrap_used)]

use std::cell::Cell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use netns_tests::{Address, Host, Lab, PairConfig, ProbeSettings, Prober, Run, Summary, Tandem};

pub(crate) mod succession;

/// For things that take milliseconds; waiting longer than this means it will not happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(15);

/// How long a service is watched after an event, for second interruptions.
pub(crate) const AFTERWARDS: Duration = Duration::from_secs(3);

/// A prober through the floating address that has found the service steady.
pub(crate) fn probe(lab: &Lab, config: &PairConfig) -> Prober {
    let target = SocketAddr::new(config.address(), Address::HTTP);
    let prober = Prober::start(lab.net(Host::Client), ProbeSettings::new(target)).unwrap();
    prober.wait_steady(300, LIMIT).unwrap();
    prober
}

/// Watches on for [`AFTERWARDS`] and until the service is steady, and sums up from `event` on.
pub(crate) fn watch_on(prober: Prober, event: Instant) -> (Run, Summary) {
    let rest = (event + AFTERWARDS).saturating_duration_since(Instant::now());
    // The length of the watch is what is asked for here; no fact would end it sooner.
    std::thread::sleep(rest);
    prober.wait_steady(300, LIMIT).unwrap();
    let run = prober.finish().unwrap();
    let summary = run.summary(Some(event));
    (run, summary)
}

/// How often a scenario may miss a bound of milliseconds before that counts.
const ATTEMPTS: usize = 5;

thread_local! {
    /// The last assertion that failed was one about milliseconds.
    static MISSED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a scenario that measures. A machine that is busy with something else can be late once, so a missed bound is
/// printed and measured again; every other assertion counts at once.
pub(crate) fn measured(scenario: impl Fn()) {
    for attempt in 1..=ATTEMPTS {
        MISSED.set(false);
        let Err(panic) = catch_unwind(AssertUnwindSafe(&scenario)) else {
            return;
        };
        if attempt == ATTEMPTS || !MISSED.get() {
            resume_unwind(panic);
        }
        // Straight to the terminal: what a test prints with macros is kept back when it passes in the end.
        let _ = writeln!(
            std::io::stderr(),
            "attempt {attempt} missed its bound; measuring again"
        );
    }
}

/// Asserts that something took no longer than it may.
pub(crate) fn assert_within(what: &str, took: Duration, bound: Duration) {
    MISSED.set(took > bound);
    assert!(took <= bound, "{what}: {took:?}, bound {bound:?}");
}

/// Asserts that something took at least as long as it has to. A peer that was held up itself may act on what it had not read yet.
pub(crate) fn assert_not_before(what: &str, took: Duration, bound: Duration) {
    MISSED.set(took < bound);
    assert!(took >= bound, "{what}: {took:?}, not before {bound:?}");
}

/// Asserts that a machine that may be busy did as much as the scenario needs.
pub(crate) fn assert_at_least(what: &str, found: f64, bound: f64) {
    MISSED.set(found < bound);
    assert!(found >= bound, "{found:.0} {what}, not {bound:.0}");
}

/// Asserts a blackout bound with everything seen in the message.
pub(crate) fn assert_blackout(summary: &Summary, bound_ms: f64, nodes: [&Tandem<'_>; 2]) {
    MISSED.set(summary.blackout_ms > bound_ms);
    assert!(
        summary.blackout_ms <= bound_ms && !summary.still_out,
        "blackout {} ms, bound {bound_ms} ms\n{summary:#?}\n--- lb1\n{}\n--- lb2\n{}",
        summary.blackout_ms,
        nodes[0].tail(),
        nodes[1].tail()
    );
}

/// Asserts that at most `most` probes were lost.
pub(crate) fn assert_lost(summary: &Summary, most: usize, nodes: [&Tandem<'_>; 2]) {
    MISSED.set(summary.lost > most);
    assert!(
        summary.lost <= most && !summary.still_out,
        "{} probes lost, at most {most} may be\n{summary:#?}\n--- lb1\n{}\n--- lb2\n{}",
        summary.lost,
        nodes[0].tail(),
        nodes[1].tail()
    );
}

/// A certificate for `app.test` and the floating address that signs itself, in this folder; each file is replaced at once.
pub(crate) fn certificate(folder: &Path) {
    let made = Command::new("openssl")
        .current_dir(folder)
        .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"])
        .args(["ec_paramgen_curve:prime256v1", "-days", "30"])
        .args([
            "-subj",
            "/CN=app.test",
            "-addext",
            "subjectAltName=DNS:app.test,IP:10.0.0.10",
        ])
        .args(["-keyout", "key.new", "-out", "pem.new"])
        .output()
        .expect("openssl is installed (scripts/setup)");
    assert!(made.status.success(), "{made:?}");
    for ending in ["key", "pem"] {
        let at = |name: String| folder.join(name);
        std::fs::rename(at(format!("{ending}.new")), at(format!("app.{ending}"))).unwrap();
    }
}

//! What the scenarios share. Each test file uses its own part of it.

#![allow(dead_code, clippy::unwrap_used)]

use std::cell::Cell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use netns_tests::{
    Address, Host, Lab, Observer, PairConfig, ProbeSettings, Prober, Pulse, Run, Summary, Tandem,
    within,
};

pub(crate) mod succession;

/// For things that take milliseconds; waiting longer than this means it will not happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

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
const ATTEMPTS: usize = 8;

/// A core that stood still for so long is no longer the machine a scenario with an interval of 100 ms is about.
const STOOD_STILL: Duration = Duration::from_millis(100);

thread_local! {
    /// The last assertion that failed was one about milliseconds.
    static MISSED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a scenario that measures. A machine that is busy with something else can be late once, so a missed bound is printed and measured
/// again, and so is whatever went wrong while a core of the machine stood still, which is measured, too. Every other assertion counts at once.
/// `scripts/test` counts what was repeated.
pub(crate) fn measured(scenario: impl Fn()) {
    for attempt in 1..=ATTEMPTS {
        MISSED.set(false);
        let pulse = Pulse::start().unwrap();
        let Err(panic) = catch_unwind(AssertUnwindSafe(&scenario)) else {
            return;
        };
        let late = pulse.worst();
        let why = match (MISSED.get(), late >= STOOD_STILL) {
            _ if attempt == ATTEMPTS => resume_unwind(panic),
            (true, _) => "a bound was missed".to_owned(),
            (false, true) => format!("it failed while a core stood still for {late:?}"),
            (false, false) => resume_unwind(panic),
        };
        let thread = std::thread::current();
        // Straight to the terminal: what a test prints with macros is kept back when it passes in the end.
        let _ = writeln!(
            std::io::stderr(),
            "\nREPEATED {} (attempt {attempt}): {why}",
            thread.name().unwrap_or_default()
        );
        await_calm();
    }
}

/// Waits until a second has gone by in which every core was there when it was wanted, but not for long: a machine that is never calm is
/// measured as it is.
fn await_calm() {
    let until = Instant::now() + 2 * LIMIT;
    while Instant::now() < until {
        let pulse = Pulse::start().unwrap();
        // Nothing is to be seen but time that passes as it should.
        std::thread::sleep(Duration::from_secs(1));
        if pulse.worst() < STOOD_STILL / 4 {
            return;
        }
    }
}

/// Asserts something that a machine may owe its other work: how much was done in a time, or that nobody was missed for a while.
pub(crate) fn assert_measured(holds: bool, what: impl FnOnce() -> String) {
    MISSED.set(!holds);
    assert!(holds, "{}", what());
}

/// Asserts that an Active router was heard all the time: no advertisement later than half an interval.
pub(crate) fn assert_heard(observer: &Observer, host: Host, config: &PairConfig, since: Instant) {
    // Up to what is heard next: the observer may not have read all of it yet.
    let now = Instant::now();
    let next = within("it is heard", LIMIT, || {
        observer.adverts(host.v4(), now).first().map(|(at, _)| *at)
    });
    let silence = observer.longest_silence(host.v4(), since, next.unwrap());
    let most = config.interval * 3 / 2;
    assert_within("the longest silence of the active router", silence, most);
}

/// Asserts that something took no longer than it may.
pub(crate) fn assert_within(what: &str, took: Duration, bound: Duration) {
    assert_measured(took <= bound, || {
        format!("{what}: {took:?}, bound {bound:?}")
    });
}

/// Asserts that something took at least as long as it has to. A peer that was held up itself may act on what it had not read yet.
pub(crate) fn assert_not_before(what: &str, took: Duration, bound: Duration) {
    assert_measured(took >= bound, || {
        format!("{what}: {took:?}, not before {bound:?}")
    });
}

/// Asserts that a machine that may be busy did as much as the scenario needs.
pub(crate) fn assert_at_least(what: &str, found: f64, bound: f64) {
    assert_measured(found >= bound, || {
        format!("{found:.0} {what}, not {bound:.0}")
    });
}

/// Asserts a blackout bound with everything seen in the message.
pub(crate) fn assert_blackout(summary: &Summary, bound_ms: f64, nodes: [&Tandem<'_>; 2]) {
    assert_measured(
        summary.blackout_ms <= bound_ms && !summary.still_out,
        || {
            let took = summary.blackout_ms;
            format!(
                "blackout {took} ms, bound {bound_ms} ms\n{}",
                told(summary, nodes)
            )
        },
    );
}

/// Asserts that at most `most` probes were lost.
pub(crate) fn assert_lost(summary: &Summary, most: usize, nodes: [&Tandem<'_>; 2]) {
    assert_measured(summary.lost <= most && !summary.still_out, || {
        let lost = summary.lost;
        format!(
            "{lost} probes lost, at most {most} may be\n{}",
            told(summary, nodes)
        )
    });
}

/// What was seen, and what the nodes have to say.
fn told(summary: &Summary, nodes: [&Tandem<'_>; 2]) -> String {
    let [one, two] = nodes.map(Tandem::tail);
    format!("{summary:#?}\n--- lb1\n{one}\n--- lb2\n{two}")
}

/// A pair before targets at this port of both backends, with checks that notice within a second, and short ejections: a check that passes
/// ends none.
pub(crate) fn quick_checks(port: u16) -> PairConfig {
    let (one, two) = (Host::Backend1.v4(), Host::Backend2.v4());
    let (vip, http) = (Address::VIP4, Address::HTTP);
    PairConfig {
        listener: false,
        extra: format!(
            r#"
[listener.web]
bind = "{vip}:{http}"
forward = "app"

[group.app]
targets = ["{one}:{port}", "{two}:{port}"]
health = {{ http = "/healthz", every = "200ms", timeout = "150ms", rise = 1, fall = 2 }}
timeouts = {{ connect = "300ms" }}
outlier = {{ eject = "1s" }}
"#
        ),
        ..PairConfig::default()
    }
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

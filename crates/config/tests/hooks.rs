//! `[vrrp.NAME.hooks]` and `global.notify_fifo`: what is read, what is refused, what a reload says.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use config::{Config, Facts, HookOn, Outcome, diff, load};
use vrrp::State;

fn read(global: &str, hooks: &str) -> Outcome {
    let facts = Facts {
        host_name: "lb1".to_owned(),
        ..Facts::default()
    };
    let text = format!(
        "[global]\n{global}\n[vrrp.main]\ninterface = \"eth0\"\nvrid = 51\nvips = [\"10.0.0.10/24\"]\n[vrrp.main.hooks]\n{hooks}\n"
    );
    load(Path::new("t.toml"), &text, &facts)
}

fn config(global: &str, hooks: &str) -> Config {
    let outcome = read(global, hooks);
    let problems = format!("{:?}", outcome.report.problems);
    outcome.config.unwrap_or_else(|| panic!("{problems}"))
}

fn problems(global: &str, hooks: &str) -> Vec<String> {
    let problems = read(global, hooks).report.problems;
    let words = problems
        .iter()
        .map(|problem| format!("{} {}: {}", problem.code, problem.key, problem.message));
    words.collect()
}

#[test]
fn what_is_for_one_state_goes_before_what_is_for_all() {
    let text = "transition = [\"/bin/all\", \"-v\"]\nfault = [\"/bin/fault\"]\nstop = [\"/bin/stop\"]\ntimeout = \"2s\"";
    let config = config("notify_fifo = \"/run/fifo\"", text);
    assert_eq!(
        config.global.notify_fifo.as_deref(),
        Some(Path::new("/run/fifo"))
    );
    let hooks = &config.vrrp[0].hooks;
    assert_eq!(hooks.timeout, Duration::from_secs(2));
    let run = |to| -> Vec<(HookOn, String)> {
        let hooks = hooks.on(to);
        hooks.map(|hook| (hook.on, hook.run.join(" "))).collect()
    };
    let all = (HookOn::Transition, "/bin/all -v".to_owned());
    assert_eq!(run(State::Active), std::slice::from_ref(&all));
    let fault = HookOn::State(State::Fault);
    assert_eq!(
        run(State::Fault),
        [(fault, "/bin/fault".to_owned()), all.clone()]
    );
    let stop = HookOn::State(State::Initialize);
    assert_eq!(
        run(State::Initialize),
        [(stop, "/bin/stop".to_owned()), all]
    );
}

#[test]
fn without_any_nothing_is_run() {
    let config = config("", "");
    assert!(config.vrrp[0].hooks.programs.is_empty());
    assert_eq!(config.global.notify_fifo, None);
}

#[test]
fn mistakes_are_named() {
    let cases = [
        (
            "",
            "transition = \"/bin/x\"",
            "E010 vrrp.main.hooks.transition: expected a list of program and arguments like [\"/usr/local/bin/program\"], got \"/bin/x\"",
        ),
        (
            "",
            "active = [\"x\"]",
            "E014 vrrp.main.hooks.active: \"x\" is not an absolute path",
        ),
        (
            "",
            "master = [\"/bin/x\"]",
            "E012 vrrp.main.hooks.master: unknown key `master` in [vrrp.main.hooks]",
        ),
        (
            "",
            "timeout = \"20m\"",
            "E014 vrrp.main.hooks.timeout: `timeout` must be from 100ms to 10m, got 20m",
        ),
        (
            "notify_fifo = \"fifo\"",
            "",
            "E014 global.notify_fifo: \"fifo\" is not an absolute path",
        ),
    ];
    for (global, hooks, expected) in cases {
        assert_eq!(problems(global, hooks), [expected]);
    }
}

#[test]
fn a_reload_says_which_program_changes() {
    let old = config("", "transition = [\"/bin/a\"]");
    let new = config(
        "notify_fifo = \"/run/fifo\"",
        "transition = [\"/bin/b\", \"1\"]\nbackup = [\"/bin/c\"]",
    );
    let words: Vec<String> = diff(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "global: notify_fifo none -> /run/fifo (in place)",
            "vrrp.main: hooks.backup /bin/c added (in place)",
            "vrrp.main: hooks.transition /bin/a -> /bin/b, 1 (in place)"
        ]
    );
}

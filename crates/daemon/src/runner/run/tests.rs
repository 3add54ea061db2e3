//! With real programs: those that end, those that do not want to, and those that leave others behind.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use super::*;

/// A limit that is never reached by a program that ends by itself.
const PLENTY: u64 = 20_000;

fn program(run: &[&str], limit_ms: u64) -> Program {
    Program {
        run: run.iter().map(|word| (*word).to_owned()).collect(),
        environment: Vec::new(),
        limit_ms,
    }
}

fn shell(script: &str, limit_ms: u64) -> Program {
    program(&["/bin/sh", "-c", script], limit_ms)
}

/// Runs it to the end of all that belongs to it.
fn ran(program: Program) -> RunReport {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut run = Run::start(program, ());
        let report = run.report().await;
        run.gone().await;
        report
    })
}

fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let began = Instant::now();
    while !fact() {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "waited in vain until {what}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process, once a script has written its number to a file; none that has ended meanwhile counts as alive.
fn is_alive(file: &Path) -> bool {
    let pid = std::fs::read_to_string(file).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    (folder, file)
}

#[test]
fn exit_codes_signals_and_words_are_reported() {
    let good = ran(shell("echo all; echo '  is\twell' >&2", PLENTY));
    assert_eq!(good.end, RunEnd::Exited(0));
    assert_eq!(good.output, "all is well");
    assert_eq!(ran(shell("exit 3", PLENTY)).end, RunEnd::Exited(3));
    assert_eq!(ran(shell("kill -11 $$", PLENTY)).end, RunEnd::Signalled(11));
}

#[test]
fn what_does_not_start_is_said_with_its_reason() {
    let missing = ran(program(&["/nonexistent/program"], PLENTY));
    assert_eq!(
        missing.to_string(),
        "does not start: /nonexistent/program, or the interpreter it names, does not exist"
    );
    let (_folder, file) = folder();
    std::fs::write(&file, "#!/bin/sh\n").unwrap();
    let path = file.display().to_string();
    let forbidden = ran(program(&[&path], PLENTY));
    let words = format!("does not start: {path} may not be executed by user");
    assert!(forbidden.to_string().starts_with(&words), "{forbidden}");
}

#[test]
fn nothing_of_ours_is_in_its_environment() {
    let mut program = program(&["/usr/bin/env"], PLENTY);
    program.environment = vec![("NODE".to_owned(), "lb1".to_owned())];
    let report = ran(program);
    let mut words: Vec<&str> = report.output.split(' ').collect();
    words.sort_unstable();
    assert_eq!(words, ["LANG=C.UTF-8", "NODE=lb1", &format!("PATH={PATH}")]);
    let place = ran(shell("pwd; cat; readlink /proc/self/fd/0", PLENTY));
    assert_eq!(place.output, "/ /dev/null");
}

#[test]
fn it_leads_a_process_group_of_its_own() {
    let report = ran(shell(
        "set -- $(cut -d')' -f2 /proc/$$/stat); [ $3 = $$ ]",
        PLENTY,
    ));
    assert_eq!(report.end, RunEnd::Exited(0));
}

#[test]
fn it_blocks_no_signal() {
    let report = ran(program(
        &["/bin/grep", "SigBlk", "/proc/self/status"],
        PLENTY,
    ));
    assert_eq!(report.output, "SigBlk: 0000000000000000");
}

#[test]
fn one_that_hangs_is_ended_with_all_that_it_started() {
    let (_folder, file) = folder();
    let script = format!("sleep 1000 & echo $! > {}; sleep 1000", file.display());
    let report = ran(shell(&script, 300));
    assert_eq!(report.end, RunEnd::TimedOut);
    assert!(report.took_ms >= 300, "{report}");
    wait_until("the child of the program has ended", || !is_alive(&file));
}

#[test]
fn one_that_ignores_the_request_to_end_is_killed() {
    let report = ran(shell("trap '' TERM; while :; do sleep 1000; done", 100));
    assert_eq!(report.end, RunEnd::TimedOut);
    assert!(report.took_ms >= 600, "killed after the grace: {report}");
}

#[test]
fn what_it_leaves_behind_ends_with_it() {
    let (_folder, file) = folder();
    let script = format!("sleep 1000 & echo $! > {}", file.display());
    assert_eq!(ran(shell(&script, PLENTY)).end, RunEnd::Exited(0));
    wait_until("the child that was left has ended", || !is_alive(&file));
}

#[test]
fn a_flood_of_output_neither_blocks_it_nor_is_kept() {
    let report = ran(shell(
        "head -c 3000000 /dev/zero | tr '\\0' x; exit 7",
        PLENTY,
    ));
    assert_eq!(report.end, RunEnd::Exited(7));
    assert_eq!(report.output, "x".repeat(KEPT_OUTPUT));
    let endless = ran(program(&["/usr/bin/yes"], 200));
    assert_eq!(endless.end, RunEnd::TimedOut);
}

#[test]
fn one_that_closes_its_output_is_waited_for_without_turning_round() {
    let report = ran(shell("exec >&- 2>&-; sleep 0.3; exit 4", PLENTY));
    assert_eq!(report.end, RunEnd::Exited(4));
}

#[test]
fn a_run_that_is_dropped_is_killed() {
    let (_folder, file) = folder();
    let run = Run::start(
        shell(
            &format!(
                "echo $$ > {0}.new; mv {0}.new {0}; sleep 1000",
                file.display()
            ),
            PLENTY,
        ),
        (),
    );
    wait_until("the program runs", || file.exists());
    assert!(is_alive(&file));
    drop(run);
    wait_until("it has ended", || !is_alive(&file));
}

#[test]
fn bytes_that_are_no_text_do_no_harm() {
    let report = ran(shell("printf 'a\\377\\033[31mb\\n'", PLENTY));
    assert_eq!(report.output, "a\u{fffd} [31mb");
}

//! Memory, scheduling, limits, clocks, children, and a channel through standard input.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write, pipe};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use linux::channel::{self, Channel};
use linux::process::{
    ChildFd, Signal, boottime, die_with_parent, monotonic, oom_score, raise_nofile, realtime,
    release_program, trim_memory,
};
use nix::libc;

use crate::lab::SOON;
use crate::role::{command, in_child, own_status, role};

fn own_kib(key: &str) -> u64 {
    let value = own_status(key);
    value.trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn memory_is_locked_and_what_comes_later_as_it_is_touched() {
    in_child(
        "process::memory_is_locked_and_what_comes_later_as_it_is_touched",
        || {
            assert_eq!(own_kib("VmLck"), 0);
            release_program().lock_memory().unwrap();
            let (locked, resident) = (own_kib("VmLck"), own_kib("VmRSS"));
            assert!(locked > 0);
            let untouched: Vec<u8> = std::hint::black_box(Vec::with_capacity(64 * 1024 * 1024));
            assert!(own_kib("VmLck") >= locked + 64 * 1024, "it is to be locked");
            assert!(
                own_kib("VmRSS") < resident + 32 * 1024,
                "what was not touched is resident"
            );
            drop(untouched);
        },
    );
}

#[test]
fn the_program_is_given_back_and_what_runs_again_is_locked() {
    in_child(
        "process::the_program_is_given_back_and_what_runs_again_is_locked",
        || {
            let code = || own_kib("RssFile");
            let before = code();
            let released = release_program();
            let after = code();
            assert!(after < before, "{after} of {before} KiB");
            released.lock_memory().unwrap();
            assert!(own_kib("VmLck") > 0);
            // What is needed comes back.
            let text = format!("{:?}", Duration::from_millis(1500));
            assert_eq!(text, "1.5s");
            drop(released);
            drop(release_program());
            assert!(code() >= after, "what is locked was given back");
        },
    );
}

#[test]
fn freed_memory_goes_back() {
    in_child("process::freed_memory_goes_back", || {
        let before = own_kib("VmRSS");
        // Too small each for a mapping of its own, with a last one that holds the end of the heap.
        let all: Vec<Vec<u8>> = (0..2000).map(|_| vec![1; 16 * 1024]).collect();
        let last = vec![1_u8; 16 * 1024];
        assert!(own_kib("VmRSS") > before + 24 * 1024);
        drop(all);
        trim_memory();
        assert!(own_kib("VmRSS") < before + 8 * 1024);
        drop(last);
    });
}

/// Scheduling policy and real-time priority of a process (proc_pid_stat(5), fields 41 and 40).
fn scheduling(stat: &str) -> (i32, u32) {
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    (
        fields[41 - 3].parse().unwrap(),
        fields[40 - 3].parse().unwrap(),
    )
}

#[test]
fn real_time_is_for_this_thread_and_not_for_its_children() {
    in_child(
        "process::real_time_is_for_this_thread_and_not_for_its_children",
        || {
            realtime(20).unwrap();
            let own = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            assert_eq!(scheduling(&own), (libc::SCHED_RR, 20));
            let child = Command::new("cat").arg("/proc/self/stat").output().unwrap();
            let child = String::from_utf8(child.stdout).unwrap();
            assert_eq!(scheduling(&child), (libc::SCHED_OTHER, 0));
            let error = realtime(100).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        },
    );
}

#[test]
fn score_and_limit_are_set() {
    in_child("process::score_and_limit_are_set", || {
        oom_score(500).unwrap();
        assert_eq!(
            std::fs::read_to_string("/proc/self/oom_score_adj").unwrap(),
            "500\n"
        );
        oom_score(5000).expect_err("out of range");

        let limit = raise_nofile().unwrap();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max open files"))
            .unwrap();
        let fields: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(fields[3..5], [limit.to_string(), limit.to_string()]);
    });
}

#[test]
fn clocks_run() {
    let (before, instant) = (monotonic(), Instant::now());
    let slept = boottime().checked_sub(monotonic());
    while instant.elapsed() < Duration::from_millis(2) {
        std::hint::spin_loop();
    }
    assert!(monotonic() - before >= Duration::from_millis(2));
    // Read a moment before the other clock, so a hair behind at most.
    assert!(slept.is_some() || boottime() + Duration::from_millis(100) > monotonic());
}

#[test]
fn end_of_a_child_is_seen_and_its_status_stays() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let watched = ChildFd::open(child.id()).unwrap();
    assert!(!watched.wait(Duration::from_millis(20)).unwrap());
    watched.signal(Signal::Kill).unwrap();
    assert!(watched.wait(SOON).unwrap());
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    let error = watched.signal(Signal::Term).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
}

#[tokio::test]
async fn end_of_a_child_wakes_a_task() {
    let mut child = Command::new("sleep").arg("60").spawn().unwrap();
    let watched = ChildFd::open(child.id()).unwrap();
    let early = tokio::time::timeout(Duration::from_millis(20), watched.ended()).await;
    assert!(early.is_err());
    watched.signal(Signal::Term).unwrap();
    tokio::time::timeout(SOON, watched.ended())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
}

#[test]
fn nobody_is_watched_under_an_impossible_number() {
    assert_eq!(
        ChildFd::open(0).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        ChildFd::open(u32::MAX).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

const ORPHAN: &str = "process::child_ends_with_its_parent";
const READY: &str = "the grandchild is ready";

/// The test starts a parent, that one a child that asks to end with it; both inherit the test's pipe. When the parent
/// is killed, the pipe has no writer left as soon as the child is gone too.
#[test]
#[allow(clippy::print_stdout)]
fn child_ends_with_its_parent() {
    match role().as_deref() {
        None => {
            let mut parent = command(ORPHAN, "parent")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut output = BufReader::new(parent.stdout.take().unwrap());
            let mut line = String::new();
            while !line.contains(READY) {
                line.clear();
                assert!(
                    output.read_line(&mut line).unwrap() > 0,
                    "the pipe was closed early"
                );
            }
            let killed_at = Instant::now();
            parent.kill().unwrap();
            parent.wait().unwrap();
            output.read_to_string(&mut line).unwrap();
            assert!(killed_at.elapsed() < SOON, "{:?}", killed_at.elapsed());
        }
        Some("parent") => {
            let parent = std::process::id().to_string();
            let mut child = command(ORPHAN, "child")
                .env("PARENT", parent)
                .spawn()
                .unwrap();
            child.wait().unwrap();
        }
        Some(_) => {
            let parent = std::env::var("PARENT").unwrap().parse().unwrap();
            die_with_parent(Signal::Term, parent).unwrap();
            println!("{READY}");
            std::thread::sleep(SOON * 4);
        }
    }
}

#[test]
fn a_parent_that_is_gone_already_is_told() {
    in_child("process::a_parent_that_is_gone_already_is_told", || {
        let error = die_with_parent(Signal::Term, std::process::id()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

const STDIN: &str = "process::a_channel_is_handed_on_as_standard_input";

#[test]
fn a_channel_is_handed_on_as_standard_input() {
    if role().is_some() {
        let channel = Channel::from_stdin().unwrap();
        let (question, fds) = channel.receive(&mut Vec::new()).unwrap().unwrap();
        assert_eq!(question, b"write into this");
        let mut pipe = std::fs::File::from(fds.into_iter().next().unwrap());
        pipe.write_all(b"from the child").unwrap();
        drop(pipe);
        assert!(
            channel.receive(&mut Vec::new()).unwrap().is_none(),
            "the parent closes"
        );
        return;
    }
    let (ours, theirs) = channel::pair().unwrap();
    let mut child = command(STDIN, "child");
    let mut child = child
        .stdin(theirs.into_fd())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut reader, writer) = pipe().unwrap();
    ours.send(b"write into this", &[writer.as_fd()]).unwrap();
    drop(writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "from the child");
    drop(ours);
    assert!(child.wait().unwrap().success());
}

#[test]
fn standard_input_that_is_no_channel_is_refused() {
    in_child(
        "process::standard_input_that_is_no_channel_is_refused",
        || {
            let error = Channel::from_stdin().unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
        },
    );
}

//! Tests that change the process they run in: each runs once more as a child, in another role.

use std::process::{Command, Stdio};

const ROLE: &str = "LINUX_TEST_ROLE";

/// The role this process was started in, if it was started by [`command`].
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// This test program, about to run the one test `name` in `role`.
pub(crate) fn command(name: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdin(Stdio::null());
    command
}

/// Runs `body` in a child process of its own; `name` is the full name of the calling test.
pub(crate) fn in_child(name: &str, body: impl FnOnce()) {
    if role().is_some() {
        body();
        return;
    }
    let output = command(name, "alone").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(
        text.contains("1 passed"),
        "{name} is not the name of a test: {text}"
    );
}

/// The value of `key` in the status of a process, as the kernel writes it.
pub(crate) fn status(text: &str, key: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {key} in {text}"))
        .trim()
        .to_owned()
}

/// The status of this thread.
pub(crate) fn own_status(key: &str) -> String {
    status(
        &std::fs::read_to_string("/proc/thread-self/status").unwrap(),
        key,
    )
}

/// The status of a program that this thread executes.
pub(crate) fn executed_status() -> String {
    let output = Command::new("cat")
        .arg("/proc/self/status")
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

//! Nodes that leave on purpose, one way after the other, while clients ask on connections that they keep: curl over HTTP/1.1 and HTTP/2,
//! and one of our own over HTTP/2 in clear text.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

use netns_tests::{Host, Lab, wait_until};

use crate::clear::Clear;
use crate::common::{LIMIT, measured};
use crate::pair::Pair;

/// More requests than can be answered while this runs, how many of them are under way at once, and for how many milliseconds each.
const REQUESTS: &str = "10000000";
const AT_ONCE: &str = "8";
const TAKES_MS: u32 = 5;

/// How curl asks, and the version it has to see.
const SPEECHES: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];

/// A curl that asks on and on.
struct Asking {
    curl: Child,
    lines: JoinHandle<Vec<String>>,
    done: Arc<AtomicUsize>,
}

impl Asking {
    fn start(pair: &Pair<'_>, speech: &str) -> Asking {
        let url = format!("https://app.test/slow/{TAKES_MS}?[1-{REQUESTS}]");
        let curl = pair.curl(&[speech, "--parallel", "--parallel-max", AT_ONCE, &url]);
        // Each line is to be seen when it is written.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "curl"]).args(curl.get_args());
        let told = "%{http_code} %{http_version} %{exitcode} %{local_port} %{num_connects} %{time_total} %{errormsg}\\n";
        command.args(["--output", "/dev/null", "--write-out", told]);
        let mut curl = pair.client(&mut command);
        let done = Arc::new(AtomicUsize::new(0));
        let out = BufReader::new(curl.stdout.take().unwrap());
        let count = Arc::clone(&done);
        let lines = std::thread::spawn(move || {
            let counted = out.split(b'\n').map_while(Result::ok).inspect(|_| {
                count.fetch_add(1, SeqCst);
            });
            let text = |line: Vec<u8>| String::from_utf8_lossy(&line).trim_end().to_owned();
            counted.map(text).collect()
        });
        Asking { curl, lines, done }
    }

    fn done(&self) -> usize {
        self.done.load(SeqCst)
    }

    /// What became of its requests.
    fn end(mut self) -> Vec<String> {
        self.curl.kill().unwrap();
        self.curl.wait().unwrap();
        let mut lines = self.lines.join().unwrap();
        // It may have been in the middle of it.
        lines.pop();
        lines
    }
}

#[test]
fn no_request_fails_while_nodes_leave_one_after_the_other() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let mut pair = Pair::start(&lab, "");
        let asking = SPEECHES.map(|(speech, _)| Asking::start(&pair, speech));
        let clear = Clear::start(&lab, pair.address(), format!("/slow/{TAKES_MS}"));
        let done = || {
            let [one, two] = asking.each_ref().map(Asking::done);
            [one, two, clear.done()]
        };
        let go_on = |pair: &Pair<'_>, what: &str| {
            let before = done();
            wait_until(&format!("all are served {what}"), LIMIT, || {
                let mut all = done().into_iter().zip(before);
                all.all(|(now, before)| now > before + 200)
            })
            .unwrap_or_else(|error| panic!("{error}: {before:?}, {:?}\n{}", done(), pair.logs()));
        };
        go_on(&pair, "at first");
        // From the one that is active to the other, each time another way.
        pair.wait_steered(Host::Lb2);
        pair.order(Host::Lb1, &["handover"]);
        go_on(&pair, "after a handover");
        pair.wait_steered(Host::Lb1);
        pair.order(Host::Lb2, &["maint", "on", "--why", "kernel"]);
        go_on(&pair, "with a node in maintenance");
        pair.order(Host::Lb2, &["maint", "off"]);
        pair.wait_steered(Host::Lb2);
        pair.stop(Host::Lb1);
        go_on(&pair, "with a node that was stopped");
        pair.start_again(Host::Lb1);
        // Preferred, it takes the addresses back by itself.
        lab.wait_holder(pair.address(), Host::Lb1, LIMIT).unwrap();
        go_on(&pair, "after it has come back");

        let clear = clear.end();
        assert!(
            clear.as_ref().is_ok_and(|all| *all > 1000),
            "in clear text: {clear:?}\n{}",
            pair.logs()
        );
        for (asking, (speech, version)) in asking.into_iter().zip(SPEECHES) {
            let lines = asking.end();
            let good = format!("200 {version} 0 ");
            let bad: Vec<_> = lines
                .iter()
                .filter(|line| !line.starts_with(&good))
                .collect();
            let (all, some) = (lines.len(), &bad[..bad.len().min(20)]);
            let _ = writeln!(
                std::io::stderr(),
                "{speech}: {all} requests, {} failed",
                bad.len()
            );
            assert!(
                bad.is_empty() && all > 1000,
                "{speech}: {} of {all}: {some:?}\n{}",
                bad.len(),
                pair.logs()
            );
        }
    });
}

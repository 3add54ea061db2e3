//! Clients as people have them, through the floating address of a running pair: curl, nghttp and h2load over HTTPS and in clear text, and,
//! run by `scripts/clients`, gRPC and a browser. All of them go on while both nodes are reloaded.

#![allow(clippy::unwrap_used)]

#[path = "clients/clear.rs"]
mod clear;
mod common;
#[path = "clients/departure.rs"]
mod departure;
#[path = "../../crates/forwarder/tests/integration/frames.rs"]
#[allow(dead_code)] // the part of it that asks
mod frames;
#[path = "clients/large.rs"]
mod large;
#[path = "clients/pair.rs"]
mod pair;

/// What the frames need of their surroundings.
mod support {
    pub(crate) use crate::common::LIMIT;
}

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output};

use common::{LIMIT, measured};
use netns_tests::{Lab, wait_until};
use pair::{Pair, said};

/// What is sent up and comes back, larger than every buffer on its way.
const PAYLOAD: usize = 20 << 20;

/// curl's word for a protocol, where it is spoken, and the version it has to be.
const SPEECHES: [(&str, &str, &str); 3] = [
    ("--http1.1", "https://app.test", "1.1"),
    ("--http2", "https://app.test", "2"),
    ("--http2-prior-knowledge", "http://app.test:8081", "2"),
];

/// Octets of which none stands where another could.
fn payload() -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..PAYLOAD / 8).flat_map(|_| next()).collect()
}

/// h2load with this many requests in flight on each of its connections; every other one is for `/held`.
fn h2load(url: &str, words: &[&str], streams: u32) -> Command {
    let mut command = Command::new("h2load");
    command
        .args(["-n", "400", "-c", "4", "-m", &streams.to_string()])
        .args(words)
        .args([&format!("{url}/"), &format!("{url}/held")]);
    command
}

fn assert_all_succeeded(output: &Output, protocol: &str, pair: &Pair<'_>) {
    let told = said(output);
    for fact in [
        "400 succeeded, 0 failed, 0 errored, 0 timeout",
        "status codes: 400 2xx, 0 3xx, 0 4xx, 0 5xx",
        &format!("Application protocol: {protocol}\n"),
    ] {
        assert!(told.contains(fact), "{told}\n{}", pair.logs());
    }
}

/// The three ways h2load asks: its words, the requests in flight on a connection, and the protocol it has to see.
const LOADS: [(&str, &[&str], u32, &str); 3] = [
    ("https://10.0.0.10", &[], 8, "h2"),
    ("https://10.0.0.10", &["--h1"], 1, "http/1.1"),
    ("http://10.0.0.10:8081", &[], 8, "h2c"),
];

#[test]
fn curl_nghttp_and_h2load_are_served_in_every_protocol() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let pair = Pair::start(&lab, "");
        let (payload, file) = (payload(), lab.folder().join("payload"));
        std::fs::write(&file, &payload).unwrap();
        let file = file.to_str().unwrap();

        for (speech, url, version) in SPEECHES {
            let got = pair.run(&mut pair.curl(&[speech, &format!("{url}/")]));
            assert!(got.status.success(), "{speech}: {}", said(&got));
            let told = said(&got);
            assert!(told.contains(" via 10.0.0.2\n"), "{speech}: {told}");
            assert!(
                told.ends_with(&format!("HTTP/{version}")),
                "{speech}: {told}"
            );

            let url = format!("{url}/echo");
            let got = pair.run(&mut pair.curl(&[speech, "--upload-file", file, &url]));
            let words = String::from_utf8_lossy(&got.stderr);
            assert!(got.status.success(), "{speech}: {words}\n{}", pair.logs());
            assert!(
                got.stdout == payload,
                "{speech}: {} octets came back",
                got.stdout.len()
            );
        }
        for url in ["https://10.0.0.10/echo", "http://10.0.0.10:8081/echo"] {
            let mut command = Command::new("nghttp");
            command.args(["--no-verify-peer", "--timeout=60", "--data", file, url]);
            let got = pair.run(&mut command);
            let words = String::from_utf8_lossy(&got.stderr);
            assert!(
                got.status.success(),
                "nghttp {url}: {words}\n{}",
                pair.logs()
            );
            assert!(
                got.stdout == payload,
                "nghttp {url}: {} octets came back",
                got.stdout.len()
            );
        }
        pair.release();
        for (url, words, streams, protocol) in LOADS {
            assert_all_succeeded(&pair.run(&mut h2load(url, words, streams)), protocol, &pair);
        }
    });
}

/// A curl that sends up what it is fed, and writes what comes back into a file.
struct Transfer {
    curl: Child,
    output: PathBuf,
}

impl Transfer {
    fn start(pair: &Pair<'_>, speech: &str, url: &str) -> Transfer {
        let output = pair.lab.folder().join(format!("back{speech}"));
        let url = format!("{url}/echo");
        let words = [
            speech,
            "--upload-file",
            ".",
            "--output",
            output.to_str().unwrap(),
            &url,
        ];
        let curl = pair.client(&mut pair.curl(&words));
        Transfer { curl, output }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let pipe = self.curl.stdin.as_mut().unwrap();
        pipe.write_all(bytes).expect("curl still reads");
    }

    fn came_back(&self) -> usize {
        let length = std::fs::metadata(&self.output).map_or(0, |found| found.len());
        usize::try_from(length).unwrap()
    }

    fn finish(mut self, payload: &[u8], pair: &Pair<'_>) {
        drop(self.curl.stdin.take());
        let ended = self.curl.wait_with_output().unwrap();
        let told = said(&ended);
        assert!(
            ended.status.success(),
            "{}: {told}\n{}",
            self.output.display(),
            pair.logs()
        );
        let back = std::fs::read(&self.output).unwrap();
        assert!(
            back == payload,
            "{}: {} octets",
            self.output.display(),
            back.len()
        );
    }
}

#[test]
fn both_nodes_are_reloaded_in_the_middle_of_requests_and_transfers_and_no_client_notices() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let pair = Pair::start(&lab, "");
        let payload = payload();
        let (first, second) = payload.split_at(PAYLOAD / 2);

        let loads: Vec<_> = LOADS
            .iter()
            .map(|(url, words, streams, _)| pair.client(&mut h2load(url, words, *streams)))
            .collect();
        let in_flight: u64 = LOADS
            .iter()
            .map(|(_, _, streams, _)| 4 * u64::from(*streams))
            .sum();
        let mut transfers: Vec<_> = SPEECHES
            .iter()
            .map(|(speech, url, _)| Transfer::start(&pair, speech, url))
            .collect();
        for transfer in &mut transfers {
            transfer.feed(first);
        }
        // How much is curl's affair: while it is fed nothing, it waits for its standard input alone, and does not read.
        wait_until("a part of the first half is back", LIMIT, || {
            transfers.iter().all(|transfer| transfer.came_back() > 0)
        })
        .unwrap_or_else(|error| {
            let back: Vec<_> = transfers.iter().map(Transfer::came_back).collect();
            panic!("{error}: {back:?}\n{}", pair.logs())
        });
        wait_until("every request in flight is held", LIMIT, || {
            pair.held() == in_flight
        })
        .unwrap_or_else(|error| panic!("{error}: {} are\n{}", pair.held(), pair.logs()));

        pair.reload();
        assert_eq!(pair.held(), in_flight, "a reload lets go of no request");
        pair.release();
        for transfer in &mut transfers {
            transfer.feed(second);
        }
        // Once more while it flows.
        pair.reload();
        for transfer in transfers {
            transfer.finish(&payload, &pair);
        }
        for (load, (.., protocol)) in loads.into_iter().zip(LOADS) {
            assert_all_succeeded(&load.wait_with_output().unwrap(), protocol, &pair);
        }
    });
}

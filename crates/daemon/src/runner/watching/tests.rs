//! With real programs, files and sockets.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use config::FileExpectation;

use super::*;

fn watch(probe: Probe, every_ms: u64, timeout_ms: u64) -> Watch {
    Watch {
        probe,
        every: Duration::from_millis(every_ms),
        timeout: Duration::from_millis(timeout_ms),
    }
}

fn shell(script: &str) -> Probe {
    Probe::Script {
        run: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
    }
}

fn in_runtime<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let done = tokio::task::LocalSet::new().block_on(&runtime, async {
        timeout(Duration::from_secs(20), future)
            .await
            .expect("it ends within 20 s")
    });
    runtime.shutdown_background();
    done
}

async fn look_once(probe: Probe, timeout_ms: u64) -> Finding {
    let look = Look {
        watch: watch(probe, timeout_ms + 1, timeout_ms),
        node: "lb1".to_owned(),
        turn: Arc::default(),
    };
    look.once().await
}

/// The next finding.
async fn next(answers: &mut mpsc::Receiver<FromRunner>) -> (u64, Finding) {
    match answers.recv().await.unwrap() {
        FromRunner::Found { number, finding } => (number, finding),
        other => panic!("{other:?}"),
    }
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn a_script_is_run_again_and_again_and_knows_its_node() {
    in_runtime(async {
        let (answers, mut findings) = mpsc::channel(16);
        let mut watching = Watching::new(Turns::default());
        let script = watch(shell("echo on $TANDEM_NODE; exit 3"), 50, 40_000);
        watching.set("lb1", vec![(7, script)], &answers);
        for _ in 0..3 {
            let (number, finding) = next(&mut findings).await;
            assert_eq!((number, finding.passed), (7, false));
            assert_eq!(finding.words, "exit code 3: on lb1");
        }
        watching.set("lb1", Vec::new(), &answers);
        while findings.try_recv().is_ok() {}
        drop(answers);
        assert_eq!(findings.recv().await, None, "the task has ended");
    });
}

#[test]
fn a_script_that_hangs_never_runs_twice_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (log, twice) = (folder.path().join("log"), folder.path().join("twice"));
    // Each run says if the one before it has not ended.
    let script = format!(
        "[ -e {pid} ] && kill -0 $(cat {pid}) 2>/dev/null && echo twice >> {twice}; echo $$ > {pid}; echo run >> {log}; sleep 1000",
        pid = folder.path().join("pid").display(),
        twice = twice.display(),
        log = log.display(),
    );
    in_runtime(async {
        let (answers, mut findings) = mpsc::channel(16);
        let turns = Turns::default();
        let mut watching = Watching::new(turns.clone());
        let hanging = vec![(1, watch(shell(&script), 20, 200))];
        watching.set("lb1", hanging.clone(), &answers);
        // On a busy machine a run may be ended before it has said anything.
        while lines(&log) < 3 {
            let (_, finding) = next(&mut findings).await;
            assert!(
                !finding.passed && finding.words.contains("ended because it took"),
                "{finding:?}"
            );
        }
        // The director is another one: what ran for the old one ends before anything runs for the new.
        let runs = lines(&log);
        while lines(&log) == runs {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(watching);
        let mut watching = Watching::new(turns);
        watching.set("lb1", hanging, &answers);
        let (_, finding) = next(&mut findings).await;
        assert!(!finding.passed);
    });
    assert_eq!(lines(&twice), 0);
}

#[test]
fn a_look_that_does_not_come_back_is_not_repeated() {
    in_runtime(async {
        let turn: Arc<Mutex<()>> = Arc::default();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let limit = Duration::from_millis(20);
        let held = Arc::clone(&turn).lock_owned().await;
        let stuck = blocking(held, limit, move || {
            let _ = released.recv();
            probes::file::look(Path::new("/"), FileExpectation::Present)
        });
        assert_eq!(stuck.await, Err("did not come back in 20 ms".to_owned()));
        let look = Look {
            watch: watch(
                Probe::File {
                    path: "/".into(),
                    expect: FileExpectation::Present,
                },
                30,
                20,
            ),
            node: String::new(),
            turn,
        };
        assert!(look.once().await.is_stuck());
        release.send(()).unwrap();
        while !look.once().await.passed {}
    });
}

#[test]
fn what_stays_the_same_is_not_disturbed_by_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let script = shell(&format!("echo run >> {}; sleep 0.3", log.display()));
    in_runtime(async {
        let (answers, mut findings) = mpsc::channel(16);
        let mut watching = Watching::new(Turns::default());
        let slow = (1, watch(script, 100_000, 90_000));
        watching.set("lb1", vec![slow.clone()], &answers);
        while lines(&log) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let quick = (2, watch(shell("exit 0"), 100_000, 90_000));
        watching.set("lb1", vec![slow, quick], &answers);
        let mut numbers = [next(&mut findings).await.0, next(&mut findings).await.0];
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2]);
        assert_eq!(lines(&log), 1);
    });
}

#[test]
fn tcp_and_http_are_asked_for_real() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let status = if request.starts_with("GET /up HTTP/1.1\r\nHost: site\r\n") {
                "204 No Content"
            } else {
                "503 No"
            };
            let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes());
        }
    });
    let http = |path: &str| Probe::Http {
        address,
        host: "site".to_owned(),
        path: path.to_owned(),
        status: vec![(200, 399)],
    };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = silent.local_addr().unwrap();
    in_runtime(async {
        assert!(look_once(Probe::Tcp { address }, 10_000).await.passed);
        let good = look_once(http("/up"), 10_000).await;
        assert_eq!((good.passed, good.words.as_str()), (true, "http 204"));
        let bad = look_once(http("/"), 10_000).await;
        assert_eq!((bad.passed, bad.words.as_str()), (false, "http 503"));
        let nobody = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let refused = look_once(Probe::Tcp { address: nobody }, 10_000).await;
        assert_eq!(
            (refused.passed, refused.words.as_str()),
            (false, "connection refused")
        );
        let mute = Probe::Http {
            address: silent_address,
            host: String::new(),
            path: "/".to_owned(),
            status: Vec::new(),
        };
        assert_eq!(look_once(mute, 50).await.words, "no answer in 50 ms");
    });
}

#[test]
fn a_name_server_is_asked_for_real() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, from)) = server.recv_from(&mut query) {
            // Something that is no answer first, then one; names that begin with x do not exist.
            let _ = server.send_to(b"junk", from);
            query[2] |= 0x80;
            query[3] = if query[13] == b'x' { 3 } else { 0 };
            let _ = server.send_to(&query[..len], from);
        }
    });
    let ask = |name: &str| Probe::Dns {
        server: address,
        name: name.to_owned(),
    };
    in_runtime(async {
        assert!(look_once(ask("."), 10_000).await.passed);
        assert!(look_once(ask("example.com"), 10_000).await.passed);
        let missing = look_once(ask("xample.com"), 10_000).await;
        assert_eq!(missing.words, "answered with no such name");
    });
}

#[test]
fn loopback_answers_a_ping_and_an_address_without_a_host_does_not() {
    let ping = |address: &str, interface: Option<&str>| Probe::Ping {
        address: address.parse().unwrap(),
        interface: interface.map(str::to_owned),
    };
    in_runtime(async {
        for (address, interface) in [
            ("127.0.0.1", None),
            ("127.0.0.1", Some("lo")),
            ("::1", None),
        ] {
            let found = look_once(ping(address, interface), 10_000).await;
            assert!(found.passed, "{address} {interface:?}: {found:?}");
        }
        let missing = look_once(ping("127.0.0.1", Some("tdm-none")), 10_000).await;
        assert!(!missing.passed, "{missing:?}");
        let arp = Probe::Arp {
            address: "10.0.0.1".parse().unwrap(),
            interface: "tdm-none".to_owned(),
        };
        assert_eq!(
            look_once(arp, 10_000).await.words,
            "there is no interface tdm-none with a hardware address"
        );
    });
}

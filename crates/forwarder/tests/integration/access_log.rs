//! The access log as others read it: a line for each request, whatever becomes of it and whatever is sent.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use balancer::{
    Condition, FixedAnswer, Glob, GroupSettings, ListenerSettings, Protocol, RuleAction,
    RuleSettings,
};
use forwarder::{AccessLogFormat, AccessLogSettings, AccessLogTarget, Forwarder};
use serde_json::Value;

use crate::support::*;

/// A log in a folder of its own.
pub(crate) struct Log {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Log {
    pub(crate) fn begin(forwarder: &Forwarder, format: AccessLogFormat) -> Log {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        forwarder.set_access_log(settings(&path, format));
        Log {
            path,
            _folder: folder,
        }
    }

    /// The lines, once there are so many.
    fn texts(&self, count: usize) -> Vec<String> {
        let read = || std::fs::read_to_string(&self.path).unwrap_or_default();
        eventually("the lines are there", || read().lines().count() >= count);
        let lines: Vec<String> = read().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), count, "{lines:#?}");
        lines
    }

    pub(crate) fn lines(&self, count: usize) -> Vec<Value> {
        let parse = |line: String| serde_json::from_str(&line).unwrap();
        self.texts(count).into_iter().map(parse).collect()
    }

    fn line(&self) -> Value {
        self.lines(1).remove(0)
    }
}

fn settings(path: &Path, format: AccessLogFormat) -> AccessLogSettings {
    AccessLogSettings {
        to: AccessLogTarget::File(path.to_owned()),
        format,
        without_query: false,
    }
}

fn millis(line: &Value, key: &str) -> f64 {
    line[key]
        .as_f64()
        .unwrap_or_else(|| panic!("no {key}: {line}"))
}

#[test]
fn a_request_is_a_line_with_all_there_is_to_know() {
    let origin = Origin::answering("hello");
    let (forwarder, place) = proxy(&[origin.address]);
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let mut client = Client::connect(place.address);
    let request = "POST /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test/1\r\n\
                   Referer: http://other/?x\r\nContent-Length: 3\r\n\r\nabc";
    client.send(request);
    let answer = client.answer();
    client.get("/second");
    let lines = log.lines(2);
    let first = &lines[0];
    let peer = client.stream.local_addr().unwrap();
    for (key, want) in [
        ("listener", "web".to_owned()),
        ("group", "g".to_owned()),
        ("target", origin.address.to_string()),
        ("client", "127.0.0.1".to_owned()),
        ("peer", peer.to_string()),
        ("proto", "HTTP/1.1".to_owned()),
        ("method", "POST".to_owned()),
        ("host", "example.com".to_owned()),
        ("path", "/a/b?c=d".to_owned()),
        ("user_agent", "test/1".to_owned()),
        ("referer", "http://other/?x".to_owned()),
        ("cause", "ok".to_owned()),
    ] {
        assert_eq!(first[key], want, "{key} of {first}");
    }
    assert_eq!(first["status"], 200);
    assert_eq!(first["attempts"], 1);
    assert_eq!(first["bytes_in"], request.len());
    assert_eq!(first["bytes_out"], answer.head.len() + answer.body.len());
    assert!(millis(first, "connect_ms") > 0.0 && first.get("reused").is_none());
    assert!(millis(first, "first_byte_ms") <= millis(first, "total_ms"));
    assert_eq!(first["request"].as_str().unwrap().len(), 32);
    let time = first["time"].as_str().unwrap();
    assert!(
        time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
        "{time}"
    );
    assert_eq!(
        (&lines[1]["path"], &lines[1]["reused"]),
        (&"/second".into(), &true.into())
    );
    assert!(lines[1].get("connect_ms").is_none(), "{}", lines[1]);
}

#[test]
fn the_first_byte_of_a_tunnel_is_that_of_its_answer_not_its_end() {
    let origin = Origin::start(|mut stream, _| {
        read_request(&mut stream, &mut Vec::new()).unwrap();
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        let _ = stream.read(&mut [0; 16]);
    });
    let (forwarder, place) = proxy(&[origin.address]);
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let mut client = Client::connect(place.address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 101);
    // How long the tunnel is open at least.
    thread::sleep(Duration::from_millis(200));
    drop(client);
    let line = &log.lines(1)[0];
    let open = millis(line, "total_ms") - millis(line, "first_byte_ms");
    assert!(open >= 100.0, "{line}");
}

#[test]
fn the_id_is_the_one_the_target_sees() {
    let (origin, notes) = noting();
    let (forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        listener.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let mut client = Client::connect(place.address);
    client.get("/");
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: my-7\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n",
    );
    client.answer();
    let lines = log.lines(2);
    let notes = notes.lock().unwrap();
    for (line, note) in lines.iter().zip(notes.iter()) {
        let id = line["request"].as_str().unwrap();
        assert!(
            note.head.contains(&format!("-Id: {id}\r\n")),
            "{id}: {}",
            note.head
        );
    }
    assert_eq!(lines[1]["request"], "my-7");
    assert_eq!(lines[1]["client"], "192.0.2.9");
}

#[test]
fn what_strangers_send_forges_no_line_and_no_field() {
    let origin = Origin::answering("a");
    let (forwarder, place) = proxy(&[origin.address]);
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let evil = b"GET /%0a\"},{\"status\":1 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    let mut agent =
        b"GET /\\\"x HTTP/1.1\r\nHost: a\r\nUser-Agent: \\\",\"status\":999,\"x\":\"\t".to_vec();
    agent.extend(b"\xff\xc2\x9b[31m\r\nReferer: \xe2\x80\xa8\r\n\r\n");
    for request in [evil, agent.clone()] {
        let mut client = Client::connect(place.address);
        client.send(&request);
        client.answer();
    }
    let lines = log.lines(2);
    assert!(
        lines
            .iter()
            .all(|line| line["status"] != 1 && line["status"] != 999),
        "{lines:?}"
    );
    let line = lines.iter().find(|line| line["path"] == "/\\\"x");
    let line = line.unwrap_or_else(|| panic!("not among {lines:#?}"));
    assert_eq!(line["status"], 200);
    assert_eq!(
        line["user_agent"],
        "\\\",\"status\":999,\"x\":\"\t\u{fffd}\u{9b}[31m"
    );
    assert_eq!(line["referer"], "\u{2028}");
    let logfmt = Log::begin(&forwarder, AccessLogFormat::Logfmt);
    let mut client = Client::connect(place.address);
    client.send(&agent);
    client.answer();
    let line = logfmt.texts(1).remove(0);
    assert!(line.starts_with("time="), "{line}");
    let want = r#" path="/\\\"x" user_agent="\\\",\"status\":999,\"x\":\"\u0009\ufffd\u009b[31m" referer="\u2028" "#;
    assert!(line.contains(want), "{line}");
    assert!(
        line.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{line}"
    );
}

#[test]
fn a_query_can_be_left_out() {
    let origin = Origin::answering("a");
    let (forwarder, place) = proxy(&[origin.address]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Log {
        path: path.clone(),
        _folder: folder,
    };
    forwarder.set_access_log(AccessLogSettings {
        without_query: true,
        ..settings(&path, AccessLogFormat::Json)
    });
    let mut client = Client::connect(place.address);
    client.send("GET /a?token=secret HTTP/1.1\r\nHost: a\r\nReferer: /b?token=secret\r\n\r\n");
    client.answer();
    let line = log.line();
    assert_eq!(
        (&line["path"], &line["referer"]),
        (&"/a".into(), &"/b".into())
    );
    assert!(!line.to_string().contains("secret"), "{line}");
}

/// Sends bytes to a forwarder with these targets until the connection ends; the line that is written.
fn line_of(targets: &[std::net::SocketAddr], request: &str) -> Value {
    let (forwarder, place) = proxy_with(targets, |listener, group| {
        listener.timeouts.header = Duration::from_millis(300);
        group.timeouts.first_byte = Duration::from_millis(300);
    });
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let mut client = Client::connect(place.address);
    client.send(request);
    let _ = client.rest(); // a reset is an end as well
    log.line()
}

#[test]
fn each_end_has_its_cause_and_status() {
    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let dead = dead_place();
    let silent =
        Origin::start(|mut stream, _| drop(std::io::copy(&mut stream, &mut std::io::sink())));
    let closing = Origin::start(|mut stream, _| drop(read_request(&mut stream, &mut Vec::new())));
    let cut = Origin::saying(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    let good = Origin::answering("a");
    let rows: [(&[std::net::SocketAddr], &str, u16, &str, u64); 8] = [
        (&[good.address], GET, 200, "ok", 1),
        (
            &[good.address],
            "GET / HTTP/1.1\r\n\r\n",
            400,
            "client-malformed@headers",
            0,
        ),
        (
            &[good.address],
            "GET / HT",
            408,
            "client-timeout@headers",
            0,
        ),
        (&[dead.address], GET, 502, "connect-refused@connect", 1),
        (&[dead.address, good.address], GET, 200, "ok", 1),
        (&[silent.address], GET, 504, "target-timeout@headers", 1),
        (&[closing.address], GET, 502, "target-reset@headers", 1),
        (&[cut.address], GET, 200, "target-reset@body", 1),
    ];
    for (targets, request, status, cause, attempts) in rows {
        let line = line_of(targets, request);
        assert_eq!(
            (&line["status"], &line["cause"]),
            (&status.into(), &cause.into()),
            "{line}"
        );
        if targets.len() == 1 {
            assert_eq!(line["attempts"].as_u64().unwrap_or(0), attempts, "{line}");
        }
        assert!(
            line["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{line}"
        );
    }
    let line = line_of(&[good.address], "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(line["detail"], "no host");
    let line = line_of(&[], GET);
    assert_eq!(
        (&line["status"], &line["cause"]),
        (&503.into(), &"target-down@pick".into())
    );
}

#[test]
fn rules_are_named_and_their_own_answers_are_lines_too() {
    let origin = Origin::answering("a");
    let place = place();
    let forwarder = forwarder();
    let rule = |name: &str, path: &str, action: RuleAction| RuleSettings {
        action,
        ..RuleSettings::new(name, vec![Condition::Path(vec![Glob::new(path)])], "")
    };
    let mut listener = http_listener(&place);
    listener.rules = vec![
        rule(
            "teapot",
            "/tea",
            RuleAction::Respond(FixedAnswer::plain(418)),
        ),
        rule("closed", "/close", RuleAction::Close),
        rule("there", "/there", RuleAction::Forward("g".into())),
    ];
    forwarder
        .apply(vec![listener], vec![group("g", &[origin.address])])
        .unwrap();
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let mut client = Client::connect(place.address);
    for path in ["/tea", "/there", "/else"] {
        client.get(path);
    }
    client.send("GET /close HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.rest().unwrap(), b"");
    let lines = log.lines(4);
    let row = |line: &Value| {
        let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
        format!(
            "{} {} {} {}",
            text("rule"),
            line["status"],
            text("group"),
            text("cause")
        )
    };
    let rows: Vec<String> = lines.iter().map(row).collect();
    assert_eq!(
        rows,
        [
            "teapot 418 - ok",
            "there 200 g ok",
            "- 200 g ok",
            "closed null - rule-close@headers"
        ]
    );
}

#[test]
fn a_tunnel_and_a_tcp_connection_are_lines_when_they_end() {
    let origin = Origin::start(|mut stream, _| {
        let mut early = Vec::new();
        read_request(&mut stream, &mut early).unwrap();
        let head =
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nwelcome";
        stream.write_all(head).unwrap();
        stream.write_all(&early).unwrap();
        let _ = std::io::copy(&mut stream.try_clone().unwrap(), &mut stream);
    });
    let (web, raw) = (place(), place());
    let forwarder = forwarder();
    let mut tcp = ListenerSettings::new("raw", Protocol::Tcp, vec![raw.address], "t");
    tcp.name = "raw".into();
    let groups: Vec<GroupSettings> =
        vec![group("g", &[origin.address]), group("t", &[origin.address])];
    forwarder
        .apply(vec![http_listener(&web), tcp], groups)
        .unwrap();
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let mut lengths = Vec::new();
    for place in [&web, &raw] {
        let mut client = Client::connect(place.address);
        client.send(request);
        client.send("ping");
        let head = client.head().unwrap().head;
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let rest = client.rest().unwrap();
        assert_eq!(rest, b"welcomeping");
        lengths.push(head.len() + rest.len());
        log.texts(lengths.len());
    }
    let lines = log.lines(2);
    assert_eq!(
        (&lines[0]["status"], &lines[1].get("status")),
        (&101.into(), &None)
    );
    assert_eq!(
        (&lines[1]["proto"], &lines[1]["listener"]),
        (&"tcp".into(), &"raw".into())
    );
    for (line, length) in lines.iter().zip(lengths) {
        assert_eq!(line["cause"], "ok", "{line}");
        assert_eq!(line["bytes_in"], request.len() + 4, "{line}");
        assert_eq!(line["bytes_out"], length, "{line}");
        assert_eq!(line["target"], origin.address.to_string());
    }
}

#[test]
fn a_full_disk_costs_lines_and_no_request() {
    let origin = Origin::answering("a");
    let (forwarder, place) = proxy(&[origin.address]);
    forwarder.set_access_log(settings(Path::new("/dev/full"), AccessLogFormat::Json));
    let (forwarder, stop) = (Arc::new(forwarder), Arc::new(AtomicBool::new(false)));
    let address = place.address;
    let load = |_| {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            let mut count = 0;
            let mut client = Client::connect(address);
            while !stop.load(SeqCst) {
                assert_eq!(client.get("/").status, 200);
                count += 1;
            }
            count
        })
    };
    let clients: Vec<_> = (0..4).map(load).collect();
    eventually("lines are lost", || forwarder.access_log().lost >= 500);
    let figures = forwarder.access_log();
    assert!(figures.why.contains("No space left"), "{figures:?}");
    assert!(!forwarder.ready().stalled);
    stop.store(true, SeqCst);
    let asked: u64 = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .sum();
    forwarder.drain(Duration::from_secs(5));
    let figures = forwarder.access_log();
    assert_eq!(
        (figures.written, figures.lost),
        (0, asked),
        "each is counted"
    );
}

#[test]
fn rotation_under_load_loses_no_line_and_draining_writes_the_last() {
    let origin = Origin::answering("a");
    let (forwarder, place) = proxy(&[origin.address]);
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let old = log.path.with_extension("1");
    let mut client = Client::connect(place.address);
    for number in 0..600 {
        client.get(&format!("/{number}"));
        if number == 300 {
            eventually("there are lines", || log.path.exists());
            std::fs::rename(&log.path, &old).unwrap();
            forwarder.reopen_access_log();
        }
    }
    drop(client);
    forwarder.drain(Duration::from_secs(5));
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let text = read(&old) + &read(&log.path);
    let paths: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["path"].to_string())
        .collect();
    let want: Vec<String> = (0..600).map(|number| format!("\"/{number}\"")).collect();
    assert_eq!(paths, want);
}

#[test]
fn a_line_says_what_became_of_a_clients_binding() {
    let origin = Origin::answering("x");
    let (forwarder, place) = proxy_with(&[origin.address], |_, group| {
        group.sticky = Some(balancer::StickySettings {
            cookie: "T".to_owned(),
            ttl: Duration::from_secs(60),
        });
    });
    let log = Log::begin(&forwarder, AccessLogFormat::Json);
    let mut client = Client::connect(place.address);
    let answer = client.get("/");
    let cookie = answer
        .field("Set-Cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n"
    ));
    assert_eq!(client.answer().status, 200);
    let words: Vec<_> = log
        .lines(2)
        .iter()
        .map(|line| line["sticky"].clone())
        .collect();
    assert_eq!(words, ["new", "hit"]);
}

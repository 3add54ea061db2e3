//! The PROXY protocol: from proxies before us, and to targets behind us.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use balancer::{
    AddressSet, Check, Condition, ListenerSettings, Protocol, RuleAction, RuleSettings, SendProxy,
};
use forwarder::{Forwarder, TargetStanding};

use crate::support::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(from: [u8; 4], port: u16) -> Vec<u8> {
    let addresses = [&from[..], &[192, 0, 2, 10], &port.to_be_bytes(), &[0, 80]].concat();
    [SIGNATURE, &[0x21, 0x11, 0, 12], &addresses].concat()
}

fn believing(listener: &mut ListenerSettings) {
    listener.accept_proxy = true;
    listener.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
}

/// Sends back everything once the client's direction has ended.
fn echo() -> Origin {
    Origin::start(|mut stream, _| {
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).is_ok() {
            let _ = stream.write_all(&all);
        }
    })
}

fn tcp_proxy(
    targets: &[SocketAddr],
    change: impl FnOnce(&mut ListenerSettings),
) -> (Forwarder, Place) {
    proxy_with(targets, |listener, _| {
        listener.protocol = Protocol::Tcp;
        change(listener);
    })
}

/// What comes back for these bytes, sent in pieces; `Err` for a reset.
fn answered(place: &Place, pieces: &[&[u8]]) -> std::io::Result<Vec<u8>> {
    let mut client = Client::connect(place.address);
    for piece in pieces {
        client.stream.write_all(piece)?;
        // Another segment each.
        std::thread::sleep(Duration::from_millis(5));
    }
    client.stream.shutdown(Shutdown::Write)?;
    client.rest()
}

#[test]
fn the_header_is_taken_away_and_nothing_else() {
    let origin = echo();
    let (forwarder, place) = tcp_proxy(&[origin.address], believing);
    let line = b"PROXY TCP4 198.51.100.7 192.0.2.10 41000 80\r\n";
    let binary = v2([198, 51, 100, 7], 41000);
    for header in [&line[..], &binary, b"PROXY UNKNOWN\r\n"] {
        let whole = [header, b"PROXY is next\r\n"].concat();
        assert_eq!(answered(&place, &[&whole]).unwrap(), b"PROXY is next\r\n");
        let pieces: Vec<&[u8]> = whole.chunks(7).collect();
        assert_eq!(answered(&place, &pieces).unwrap(), b"PROXY is next\r\n");
    }
    assert_eq!(forwarder.snapshot().listeners[0].causes, []);
}

#[test]
fn what_is_no_header_is_refused() {
    let origin = echo();
    let (forwarder, place) = tcp_proxy(&[origin.address], believing);
    let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
    let mut huge = v2([1, 2, 3, 4], 1);
    huge[14..16].copy_from_slice(&[0xff, 0xff]);
    let wrong: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.10 41000\r\n",
        &long,
        &huge,
        b"PROXY TCP4 198.51",
        b"",
    ];
    for bytes in wrong {
        assert!(answered(&place, &[bytes]).is_err(), "{bytes:?}");
    }
    assert_eq!(
        forwarder.snapshot().listeners[0].causes,
        [("client-malformed@proxy", wrong.len() as u64)]
    );
    assert_eq!(origin.connections(), 0);
    eventually("given back", || {
        forwarder.snapshot().listeners[0].connections == 0
    });
}

#[test]
fn who_is_not_trusted_is_a_client_like_any_other() {
    let origin = echo();
    let (_forwarder, place) = tcp_proxy(&[origin.address], |listener| {
        listener.accept_proxy = true;
        listener.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
    });
    let line = b"PROXY TCP4 198.51.100.7 192.0.2.10 41000 80\r\n";
    assert_eq!(answered(&place, &[line]).unwrap(), line);
}

#[test]
fn rules_and_limits_see_the_client_and_not_the_proxy() {
    let (origin, notes) = noting();
    let (forwarder, place) = proxy_with(&[origin.address], |listener, _| {
        believing(listener);
        listener.limits.per_ip = Some(1);
        let from = AddressSet::new(vec!["198.51.100.0/24".parse().unwrap()]);
        let mut rule = RuleSettings::new("blocked", vec![Condition::Source(from)], "g");
        rule.action = RuleAction::Close;
        listener.rules.push(rule);
    });
    let connect = |from| {
        let mut client = Client::connect(place.address);
        client.send(v2(from, 41000));
        client
    };
    let mut blocked = connect([198, 51, 100, 7]);
    blocked.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(blocked.try_answer().is_none());
    drop(blocked);

    let mut other = connect([203, 0, 113, 9]);
    assert_eq!(other.get("/").status, 200);
    let received = notes.lock().unwrap()[0].clone();
    assert!(
        received.has_line("X-Forwarded-For: 203.0.113.9"),
        "{received:?}"
    );
    // In one piece: what is sent after the refusal cannot be sent any more.
    let mut more = Client::connect(place.address);
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    more.send([&v2([203, 0, 113, 9], 41000), &request[..]].concat());
    assert!(more.try_answer().is_none(), "one connection for one client");
    assert_eq!(connect([203, 0, 113, 10]).get("/").status, 200);
    let causes = forwarder.snapshot().listeners[0].causes.clone();
    assert_eq!(causes, [("limit@client", 1)]);
}

/// Reads one header of version 1.
fn header_line(stream: &mut TcpStream) -> String {
    let line = read_until(stream, &mut Vec::new(), b"\r\n");
    String::from_utf8(line.unwrap_or_default()).unwrap()
}

#[test]
fn targets_are_told_whose_a_connection_is() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&heard);
    let origin = Origin::start(move |mut stream, _| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        noted.lock().unwrap().push(all);
    });
    for version in [SendProxy::V1, SendProxy::V2] {
        heard.lock().unwrap().clear();
        let (_forwarder, place) = proxy_with(&[origin.address], |listener, group| {
            listener.protocol = Protocol::Tcp;
            group.send_proxy = Some(version);
        });
        let mut client = Client::connect(place.address);
        let own = client.stream.local_addr().unwrap().port();
        client.send("hello");
        client.stream.shutdown(Shutdown::Write).unwrap();
        eventually("heard", || heard.lock().unwrap().len() == 1);
        let port = place.address.port();
        let want = match version {
            SendProxy::V1 => {
                format!("PROXY TCP4 127.0.0.1 127.0.0.1 {own} {port}\r\n").into_bytes()
            }
            SendProxy::V2 => {
                let ports = [own.to_be_bytes(), port.to_be_bytes()].concat();
                let addresses = [&[127, 0, 0, 1, 127, 0, 0, 1][..], &ports].concat();
                [SIGNATURE, &[0x21, 0x11, 0, 12], &addresses].concat()
            }
        };
        assert_eq!(heard.lock().unwrap()[0], [&want[..], b"hello"].concat());
    }
}

#[test]
fn a_connection_that_names_a_client_serves_no_other() {
    let lines = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&lines);
    let origin = Origin::start(move |mut stream, _| {
        let line = header_line_exactly(&mut stream);
        assert!(noted.lock().unwrap().insert(line.clone()), "told twice");
        let mut input = Vec::new();
        while read_request(&mut stream, &mut input).is_some() {
            let length = line.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{line}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let (_forwarder, place) = proxy_with(&[origin.address], |_, group| {
        group.send_proxy = Some(SendProxy::V1);
    });
    let mut clients: Vec<Client> = (0..6).map(|_| Client::connect(place.address)).collect();
    for _ in 0..3 {
        for client in &mut clients {
            let own = client.stream.local_addr().unwrap();
            let answer = client.get("/");
            let want = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} ", own.port());
            assert!(answer.text().starts_with(&want), "{}", answer.text());
        }
    }
    assert_eq!(origin.connections(), 6, "each client keeps its own");
}

/// The same, without a byte of what follows.
fn header_line_exactly(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

#[test]
fn checks_say_that_they_are_our_own() {
    let lines = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&lines);
    let origin = Origin::start(move |mut stream, _| {
        let line = header_line(&mut stream);
        noted.lock().unwrap().insert(line);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let (forwarder, _place) = proxy_with(&[origin.address], |_, group| {
        group.send_proxy = Some(SendProxy::V1);
        group.health.check = Check::http("/");
    });
    eventually("checked", || forwarder.ready().first_health_round_done);
    let lines = lines.lock().unwrap().clone();
    assert_eq!(lines, BTreeSet::from(["PROXY UNKNOWN\r\n".to_owned()]));
    let target = &forwarder.snapshot().groups[0].targets[0];
    assert_eq!(target.state, TargetStanding::Up);
}

//! What is open for long is listed, and ended one by one.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use balancer::Protocol;
use forwarder::{Forwarder, SessionQuery};

use crate::support::*;

/// Says back what it hears.
fn echo() -> Origin {
    Origin::start(|mut stream, _| {
        let mut piece = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            if stream.write_all(&piece[..count]).is_err() {
                return;
            }
        }
    })
}

fn proxy(origin: &Origin) -> (Forwarder, Place) {
    proxy_with(&[origin.address], |listener, _| {
        listener.protocol = Protocol::Tcp;
    })
}

/// A client whose first words have come back.
fn talking(place: SocketAddr, words: &str) -> Client {
    let mut client = Client::connect(place);
    client.send(words);
    client.stream.read_exact(&mut vec![0; words.len()]).unwrap();
    client
}

#[test]
fn connections_are_listed_and_just_the_one_that_is_named_is_ended() {
    let origin = echo();
    let (forwarder, place) = proxy(&origin);
    let everything = SessionQuery::default();
    assert_eq!(forwarder.sessions(&everything).total, 0);
    let mut one = talking(place.address, "hello");
    let mut other = talking(place.address, "good morning");
    let addresses = [&one, &other].map(|client| client.stream.local_addr().unwrap());

    let all = forwarder.sessions(&everything);
    assert_eq!((all.total, all.listed.len()), (2, 2), "{all:?}");
    let of = |address| {
        let found = all.listed.iter().find(|session| session.client == address);
        found.unwrap().clone()
    };
    let [first, second] = addresses.map(of);
    assert_eq!((first.bytes, second.bytes), ((5, 5), (12, 12)));
    assert_eq!(
        (first.listener.as_str(), first.group.as_str()),
        ("web", "g")
    );
    assert_eq!(first.target, origin.address.to_string());
    assert!(!first.tunnel && first.id != second.id);
    let again = forwarder.sessions(&everything);
    let ids = |sessions: &forwarder::Sessions| {
        let mut ids: Vec<_> = sessions.listed.iter().map(|session| session.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(
        ids(&again),
        ids(&all),
        "who is asked again has the same number"
    );
    for query in [
        SessionQuery {
            older: Duration::from_secs(3600),
            ..SessionQuery::default()
        },
        SessionQuery {
            target: Some("nobody".to_owned()),
            ..SessionQuery::default()
        },
        SessionQuery {
            group: Some("nobody".to_owned()),
            ..SessionQuery::default()
        },
        SessionQuery {
            listener: Some("nobody".to_owned()),
            ..SessionQuery::default()
        },
    ] {
        assert_eq!(forwarder.sessions(&query).total, 0, "{query:?}");
    }

    assert_eq!(forwarder.end_sessions(&[first.id]), [first.id]);
    let error = one.stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    other.send("still here");
    other.stream.read_exact(&mut [0; 10]).unwrap();
    assert_eq!(
        forwarder.end_sessions(&[first.id]),
        [],
        "it has ended already"
    );
    assert_eq!(ids(&forwarder.sessions(&everything)), [second.id]);
    eventually("counted", || {
        let listeners = forwarder.snapshot().listeners;
        listeners[0].causes.contains(&("ordered@tunnel", 1))
    });
}

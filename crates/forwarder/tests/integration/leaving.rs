//! Targets that are taken away, and addresses that go to the other node: what is served there goes on for a while, and then ends.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use balancer::{GroupSettings, Order, Protocol};

use crate::http2::*;
use crate::support::*;

const DRAIN: Duration = Duration::from_millis(300);

fn draining_group(targets: &[SocketAddr]) -> GroupSettings {
    GroupSettings {
        drain: DRAIN,
        ..group("g", targets)
    }
}

/// Begins an answer for `/begun`, is silent for all else.
fn slow() -> Origin {
    Origin::start(|mut stream, _| {
        let request = read_request(&mut stream, &mut Vec::new());
        if request.is_some_and(|request| request.head.contains(" /begun ")) {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
                .unwrap();
        }
        let _ = stream.read_to_end(&mut Vec::new());
    })
}

#[test]
fn requests_to_a_removed_target_end_when_its_time_is_over() {
    let origin = slow();
    let (forwarder, place) = proxy(&[]);
    forwarder
        .apply(
            vec![http_listener(&place)],
            vec![draining_group(&[origin.address])],
        )
        .unwrap();
    let mut waiting = Client::connect(place.address);
    waiting.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut begun = Client::connect(place.address);
    begun.send("GET /begun HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(begun.head().unwrap().status, 200);
    eventually("both in flight", || in_flight(&forwarder.snapshot()) == 2);

    let begin = Instant::now();
    forwarder
        .apply(vec![http_listener(&place)], vec![draining_group(&[])])
        .unwrap();
    let answer = waiting.answer();
    assert_eq!(
        (
            answer.status,
            answer.text().ends_with("drain-limit@target\n")
        ),
        (502, true)
    );
    assert_eq!(begun.rest().unwrap(), b"abc", "cut where it was");
    assert!(
        begin.elapsed() >= DRAIN && begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(
        forwarder.snapshot().listeners[0].causes,
        [("drain-limit@target", 2)]
    );
}

#[test]
fn a_tcp_connection_to_a_target_ordered_away_is_reset_when_its_time_is_over() {
    let origin = Origin::start(|mut stream, _| drop(stream.read_to_end(&mut Vec::new())));
    let place = place();
    let forwarder = forwarder();
    let mut listener = http_listener(&place);
    listener.protocol = Protocol::Tcp;
    forwarder
        .apply(vec![listener], vec![draining_group(&[origin.address])])
        .unwrap();
    let mut client = Client::connect(place.address);
    eventually("in flight", || in_flight(&forwarder.snapshot()) == 1);
    let name = origin.address.to_string();
    // Taken back in time: nothing happens.
    forwarder.order("g", &name, Order::Drain).unwrap();
    forwarder.order("g", &name, Order::Ready).unwrap();
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(1500)))
        .unwrap(); // the time and a look or two
    let error = client.rest().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");

    client.stream.set_read_timeout(Some(LIMIT)).unwrap();
    forwarder.order("g", &name, Order::Maint).unwrap();
    assert_eq!(
        client.rest().unwrap_err().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    eventually("given back", || in_flight(&forwarder.snapshot()) == 0);
}

/// Says nothing to `/never`, and answers all else.
fn choosy() -> Origin {
    Origin::start(|mut stream, _| {
        let mut input = Vec::new();
        while let Some(request) = read_request(&mut stream, &mut input) {
            if request.head.contains(" /never ") {
                let _ = stream.read_to_end(&mut Vec::new());
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    })
}

#[test]
fn clients_of_an_address_that_goes_are_asked_to_come_anew_before_they_are_cut() {
    let origin = choosy();
    let (forwarder, place) = h2c(&[origin.address]);
    let here = [place.address.ip()];
    let goes_on = |client: &mut Client| {
        let answer = client.get("/");
        assert_eq!(answer.status, 200);
        answer.field("connection") != Some("close")
    };
    let mut idle = Client::connect(place.address);
    assert!(goes_on(&mut idle));
    let mut waiting = Client::connect(place.address);
    waiting.send("GET /never HTTP/1.1\r\nHost: test\r\n\r\n");
    client(async {
        let (send, connection) = connect(place.address).await;
        assert_eq!(get(&send, "/").await.status(), 200);
        let (held, _up) = start(&send, request("GET", "/never"), true).await;
        soon(|| in_flight(&forwarder.snapshot()) == 2).await;

        let elsewhere: [IpAddr; 1] = [[127, 0, 0, 9].into()];
        forwarder.part(&elsewhere);
        forwarder.cut(&elsewhere);
        assert!(
            goes_on(&mut idle),
            "another address is nobody's business here"
        );
        assert_eq!(get(&send, "/").await.status(), 200);

        forwarder.part(&here);
        assert_eq!(
            idle.rest().unwrap(),
            b"",
            "an idle connection ends in order"
        );
        // Who comes now is served, and told the same.
        soon(|| !goes_on(&mut Client::connect(place.address))).await;
        // No streams but those it has: the client was told so.
        while let Ok(mut more) = send.clone().ready().await {
            match more.send_request(request("GET", "/"), true) {
                Ok((answer, _)) => drop(answer.await),
                Err(_) => break,
            }
        }
        assert_eq!(
            in_flight(&forwarder.snapshot()),
            2,
            "they are still waited for"
        );

        forwarder.cut(&here);
        let answer = waiting.answer();
        assert_eq!(answer.status, 502);
        assert!(
            answer.text().ends_with("failover@request\n"),
            "{}",
            answer.text()
        );
        let held = held.await.unwrap();
        assert_eq!(held.status(), 502);
        assert!(text(held).await.ends_with("failover@request\n"));
        drop(send);
        connection.await.unwrap().expect("a goodbye, not an error");
    });
    let mut late = Client::connect(place.address);
    assert!(
        goes_on(&mut late) && goes_on(&mut late),
        "who comes after it stays"
    );
    let causes = forwarder.snapshot().listeners[0].causes.clone();
    assert_eq!(causes, [("failover@request", 2)]);
}

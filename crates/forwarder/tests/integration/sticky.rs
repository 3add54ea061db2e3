//! Clients that stay where they are: with their target, with their group, and what their cookies look like.

use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use balancer::{Binding, ListenerSettings, Order, RuleAction, RuleSettings, StickySettings};
use forwarder::{CookieKey, Forwarder};

use crate::support::*;

fn sticky(cookie: &str) -> Option<StickySettings> {
    Some(StickySettings {
        cookie: cookie.to_owned(),
        ttl: Duration::from_secs(3600),
    })
}

/// Three targets that answer with their number, in a group that binds by the cookie `T`.
fn bound_proxy() -> (Forwarder, Place, Vec<Origin>) {
    let origins = Vec::from(["0", "1", "2"].map(Origin::answering));
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let (forwarder, place) = proxy_with(&addresses, |_, group| group.sticky = sticky("T"));
    (forwarder, place, origins)
}

/// `name=value` of the cookie an answer sets.
fn set_cookie(answer: &Answer) -> Option<String> {
    let value = answer.field("Set-Cookie")?;
    Some(value.split(';').next().unwrap().to_owned())
}

fn get_with(client: &mut Client, cookie: &str) -> Answer {
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n"
    ));
    client.answer()
}

/// new, hit, moved, none, refused of the group `g`; once as many requests as these are done.
fn counts(forwarder: &Forwarder, expected: [u64; 5]) {
    let look = || {
        let sticky = forwarder.snapshot().groups[0].sticky.clone().unwrap();
        let words: Vec<_> = sticky
            .requests
            .iter()
            .map(|(binding, _)| *binding)
            .collect();
        assert_eq!(words, Binding::ALL);
        let [new, hit, moved, none] = [0, 1, 2, 3].map(|at: usize| sticky.requests[at].1);
        [new, hit, moved, none, sticky.refused_total]
    };
    eventually(&format!("{expected:?}, last seen {:?}", look()), || {
        look() == expected
    });
}

#[test]
fn a_client_stays_with_its_target() {
    let (forwarder, place, _origins) = bound_proxy();
    let mut client = Client::connect(place.address);
    let first = client.get("/");
    let cookie = set_cookie(&first).unwrap();
    let whole = first.field("Set-Cookie").unwrap();
    assert_eq!(
        whole.strip_prefix(&cookie),
        Some("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"),
        "{whole}"
    );
    assert_eq!(first.field("Cache-Control"), Some("private"));
    for _ in 0..10 {
        let mut client = Client::connect(place.address);
        let next = get_with(&mut client, &format!("a=b; {cookie}"));
        assert_eq!(next.text(), first.text());
        assert_eq!(set_cookie(&next), None, "it has it already");
        assert_eq!(next.field("Cache-Control"), None);
    }
    // Others are spread as ever.
    let others: Vec<_> = (0..3).map(|_| client.get("/").text().to_owned()).collect();
    assert!(
        ["0", "1", "2"]
            .iter()
            .all(|one| others.iter().any(|other| other == one)),
        "{others:?}"
    );
    counts(&forwarder, [4, 10, 0, 0, 0]);
}

#[test]
fn the_target_never_sees_the_cookie() {
    let (origin, notes) = noting();
    let (_forwarder, place) = proxy_with(&[origin.address], |_, group| group.sticky = sticky("T"));
    let mut client = Client::connect(place.address);
    for cookie in ["a=1; T=forged; b=2", "T=forged", "b=3"] {
        get_with(&mut client, cookie);
    }
    let notes = notes.lock().unwrap();
    assert!(notes[0].has_line("Cookie: a=1; b=2"), "{}", notes[0].head);
    assert!(!notes[1].head.contains("Cookie"), "{}", notes[1].head);
    assert!(notes[2].has_line("Cookie: b=3"), "{}", notes[2].head);
}

#[test]
fn a_forged_cookie_is_none_and_counted() {
    let (forwarder, place, _origins) = bound_proxy();
    let mut client = Client::connect(place.address);
    let cookie = set_cookie(&client.get("/")).unwrap();
    let mut forged = cookie.clone().into_bytes();
    let at = forged.len() - 30;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    for value in [forged.as_str(), "T=", "T=1", "T"] {
        let answer = get_with(&mut client, value);
        assert!(set_cookie(&answer).is_some(), "{value:?} binds nobody");
    }
    // The right one is found behind wrong ones.
    assert_eq!(
        set_cookie(&get_with(
            &mut client,
            &format!("T=x; T={forged}; {cookie}")
        )),
        None
    );
    counts(&forwarder, [5, 1, 0, 0, 4]);
}

#[test]
fn a_draining_target_keeps_its_clients_and_one_in_maintenance_loses_them() {
    let (forwarder, place, origins) = bound_proxy();
    let mut client = Client::connect(place.address);
    let first = client.get("/");
    let cookie = set_cookie(&first).unwrap();
    let number: usize = first.text().parse().unwrap();
    let target = origins[number].address.to_string();
    forwarder.order("g", &target, Order::Drain).unwrap();
    assert_eq!(get_with(&mut client, &cookie).text(), first.text());
    assert!(
        (0..6).all(|_| client.get("/").text() != first.text()),
        "nobody new"
    );
    forwarder.order("g", &target, Order::Maint).unwrap();
    let moved = get_with(&mut client, &cookie);
    assert_ne!(moved.text(), first.text());
    let cookie = set_cookie(&moved).unwrap();
    forwarder.order("g", &target, Order::Ready).unwrap();
    let stays = get_with(&mut client, &cookie);
    assert_eq!(stays.text(), moved.text(), "it stays where it was moved to");
    counts(&forwarder, [7, 2, 1, 0, 0]);
}

#[test]
fn a_client_whose_target_died_is_moved_within_the_request() {
    let (dying, other) = (Origin::answering("x"), Origin::answering("other"));
    let (forwarder, place) = proxy_with(&[dying.address], |_, group| {
        group.sticky = sticky("T");
        group.targets[0].name = "a".to_owned();
    });
    let mut client = Client::connect(place.address);
    let cookie = set_cookie(&client.get("/")).unwrap();
    // The target of this name is now where nobody listens; no check has noticed.
    let dead = dead_place();
    let mut settings = group("g", &[dead.address, other.address]);
    settings.sticky = sticky("T");
    settings.targets[0].name = "a".to_owned();
    forwarder
        .apply(vec![http_listener(&place)], vec![settings])
        .unwrap();
    let moved = get_with(&mut client, &cookie);
    assert_eq!((moved.status, moved.text()), (200, "other"));
    let cookies = moved.head.matches("Set-Cookie").count();
    assert_eq!(
        cookies, 1,
        "of the target that answered, not of the first attempt: {}",
        moved.head
    );
    let cookie = set_cookie(&moved).unwrap();
    assert_eq!(set_cookie(&get_with(&mut client, &cookie)), None);
    counts(&forwarder, [1, 1, 1, 0, 0]);
}

#[test]
fn a_target_that_is_full_sends_its_client_elsewhere_this_once() {
    let (begun, begins) = mpsc::channel();
    let (end, ends) = mpsc::channel();
    let (begun, ends) = (Mutex::new(begun), Mutex::new(ends));
    let slow = Origin::http(move |request| {
        if request.head.starts_with("GET /slow") {
            begun.lock().unwrap().send(()).unwrap();
            ends.lock().unwrap().recv_timeout(LIMIT).unwrap();
        }
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ns".to_vec()
    });
    let other = Origin::answering("o");
    let (forwarder, place) = proxy_with(&[slow.address, other.address], |_, group| {
        group.sticky = sticky("T");
        group.limits.per_target = Some(1);
    });
    let mut client = Client::connect(place.address);
    let mut bound = client.get("/");
    while bound.text() != "s" {
        bound = client.get("/");
    }
    let cookie = set_cookie(&bound).unwrap();
    // An answer is there a moment before the place of its request is free.
    eventually("its place is free", || {
        in_flight(&forwarder.snapshot()) == 0
    });
    let mut busy = Client::connect(place.address);
    busy.send(format!(
        "GET /slow HTTP/1.1\r\nHost: test\r\nCookie: {cookie}\r\n\r\n"
    ));
    begins.recv_timeout(LIMIT).unwrap();
    let elsewhere = get_with(&mut client, &cookie);
    assert_eq!((elsewhere.text(), set_cookie(&elsewhere)), ("o", None));
    end.send(()).unwrap();
    assert_eq!(busy.answer().text(), "s");
    eventually("its place is free", || {
        in_flight(&forwarder.snapshot()) == 0
    });
    assert_eq!(get_with(&mut client, &cookie).text(), "s");
}

#[test]
fn nodes_that_share_a_key_honour_each_others_cookies() {
    let (one, place, origins) = bound_proxy();
    let addresses: Vec<SocketAddr> = origins.iter().map(|origin| origin.address).collect();
    let (two, other_place) = proxy_with(&addresses, |_, group| group.sticky = sticky("T"));
    let first = Client::connect(place.address).get("/");
    let cookie = set_cookie(&first).unwrap();
    let ask = || get_with(&mut Client::connect(other_place.address), &cookie);
    assert!(
        set_cookie(&ask()).is_some(),
        "without a common key it means nothing"
    );
    let key = [CookieKey([7; 32])];
    one.set_cookie_keys(&key);
    two.set_cookie_keys(&key);
    let first = Client::connect(place.address).get("/");
    let cookie = set_cookie(&first).unwrap();
    let other = get_with(&mut Client::connect(other_place.address), &cookie);
    assert_eq!((other.text(), set_cookie(&other)), (first.text(), None));
    // The key is changed on one node first: each still reads what the other makes.
    two.set_cookie_keys(&[CookieKey([8; 32]), CookieKey([7; 32])]);
    let other = get_with(&mut Client::connect(other_place.address), &cookie);
    assert_eq!((other.text(), set_cookie(&other)), (first.text(), None));
}

#[test]
fn behind_a_trusted_proxy_that_speaks_https_the_cookie_is_secure() {
    let origin = Origin::answering("x");
    let (_forwarder, place) = proxy_with(&[origin.address], |listener, group| {
        group.sticky = sticky("T");
        listener.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let mut client = Client::connect(place.address);
    let ask = |client: &mut Client, proto: &str| {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: {proto}\r\n\r\n"
        ));
        client
            .answer()
            .field("Set-Cookie")
            .unwrap()
            .ends_with("; Secure")
    };
    assert!(ask(&mut client, "https"));
    assert!(!ask(&mut client, "http"));
}

#[test]
fn an_answer_that_binds_is_not_for_caches() {
    let origin = Origin::http(|_| {
        b"HTTP/1.1 200 OK\r\nCache-Control: public, max-age=60\r\nContent-Length: 0\r\n\r\n"
            .to_vec()
    });
    let (_forwarder, place) = proxy_with(&[origin.address], |_, group| group.sticky = sticky("T"));
    let mut client = Client::connect(place.address);
    let first = client.get("/");
    let said: Vec<_> = first
        .head
        .lines()
        .filter(|line| line.starts_with("Cache-Control"))
        .collect();
    assert_eq!(
        said,
        ["Cache-Control: max-age=60", "Cache-Control: private"]
    );
    let next = get_with(&mut client, &set_cookie(&first).unwrap());
    assert_eq!(next.field("Cache-Control"), Some("public, max-age=60"));
}

#[test]
fn a_client_stays_with_its_group() {
    let origins = ["blue", "green"].map(Origin::answering);
    let place = place();
    let forwarder = forwarder();
    let split = |blue, green| {
        let shares = vec![("blue".to_owned(), blue), ("green".to_owned(), green)];
        let mut rule = RuleSettings::new("site", vec![], "blue");
        rule.action = RuleAction::Split(shares);
        rule.sticky = sticky("G");
        let listener = ListenerSettings {
            rules: vec![rule],
            ..http_listener(&place)
        };
        let mut groups = vec![group("g", &[origins[0].address])];
        for (name, origin) in ["blue", "green"].iter().zip(&origins) {
            let mut group = group(name, &[origin.address]);
            group.sticky = sticky("T");
            groups.push(group);
        }
        (vec![listener], groups)
    };
    let (listeners, groups) = split(0, 5);
    forwarder.apply(listeners, groups).unwrap();
    let mut client = Client::connect(place.address);
    let first = client.get("/");
    assert_eq!(first.text(), "green");
    let set: Vec<_> = first
        .head
        .lines()
        .filter_map(|line| {
            Some(
                line.strip_prefix("Set-Cookie: ")?
                    .split(';')
                    .next()?
                    .to_owned(),
            )
        })
        .collect();
    let [bound_to_group, bound_to_target] = &set[..] else {
        panic!("one cookie for the group and one for the target: {set:?}");
    };
    assert!(
        bound_to_group.starts_with("G=") && bound_to_target.starts_with("T="),
        "{set:?}"
    );
    // No weight any more, and still its group: who has begun there ends there.
    let (listeners, groups) = split(5, 0);
    forwarder.apply(listeners, groups).unwrap();
    assert_eq!(client.get("/").text(), "blue");
    let both = set.join("; ");
    let next = get_with(&mut client, &both);
    assert_eq!((next.text(), next.field("Set-Cookie")), ("green", None));
    // A group that cannot serve moves its clients.
    let green = origins[1].address.to_string();
    forwarder.order("green", &green, Order::Maint).unwrap();
    let moved = get_with(&mut client, &both);
    assert_eq!(
        (moved.text(), moved.head.matches("Set-Cookie").count()),
        ("blue", 2)
    );
    let rule = forwarder.rules().remove(0).sticky.unwrap();
    let totals: Vec<u64> = rule.requests.iter().map(|(_, total)| *total).collect();
    assert_eq!((totals, rule.refused_total), (vec![2, 1, 1, 0], 0));
}

//! Clients that stay with their target, whichever node serves them.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use common::{LIMIT, measured};
use netns_tests::{Address, Device as _, Host, Lab, PairConfig, Part, Tandem, wait_until};
use serde_json::Value;

const OLD: &str = "1 hex:202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\n";
const NEW: &str = "2 hex:404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f\n";

/// What a client was answered.
struct Answer {
    /// `backend1 via 10.0.0.2`: the target, and the node that asked it.
    target: String,
    node: String,
    /// `name=value` of the cookie that was set.
    cookie: Option<String>,
}

/// Asks the floating address once, with this cookie.
fn ask(lab: &Lab, config: &PairConfig, cookie: &str) -> Option<Answer> {
    let vip = SocketAddr::new(config.address(), Address::HTTP);
    let text = lab
        .net(Host::Client)
        .enter(|| exchange(vip, cookie))
        .unwrap()
        .ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (target, node) = body.trim().split_once(" via ")?;
    let set = head
        .lines()
        .find_map(|line| line.strip_prefix("Set-Cookie: "));
    Some(Answer {
        target: target.to_owned(),
        node: node.to_owned(),
        cookie: set.and_then(|set| Some(set.split(';').next()?.to_owned())),
    })
}

fn exchange(vip: SocketAddr, cookie: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&vip, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: app\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// A pair whose group binds its clients.
fn sticky_pair<'lab>(lab: &'lab Lab, config: &PairConfig) -> (Tandem<'lab>, Tandem<'lab>) {
    let node = |host| {
        let mut node = Tandem::new(lab, host, config).unwrap();
        node.write_keys(OLD).unwrap();
        let key = "key_file = \"vrrp.key\"\n[vrrp.main]\n";
        let text = config.tandem(host).replace("[vrrp.main]\n", key);
        node.write_config(&text).unwrap();
        node.start().unwrap();
        node
    };
    let (one, two) = (node(Host::Lb1), node(Host::Lb2));
    Tandem::wait_pair([&one, &two], config).unwrap();
    (one, two)
}

/// Requests of the group by what became of their binding, and cookies refused.
fn counted(node: &Tandem<'_>, what: &str) -> u64 {
    node.status().unwrap()["groups"][0]["sticky"][what]
        .as_u64()
        .unwrap()
}

#[test]
fn a_cookie_of_one_node_is_honoured_by_the_other() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = PairConfig {
            extra: "sticky = { cookie = \"T\", ttl = \"1h\" }\n".to_owned(),
            ..PairConfig::default()
        };
        let (one, two) = sticky_pair(&lab, &config);
        // Six visitors, some with each target.
        let visitors: Vec<Answer> = (0..6).map(|_| ask(&lab, &config, "a=b").unwrap()).collect();
        assert!(
            visitors
                .iter()
                .any(|visitor| visitor.target != visitors[0].target)
        );
        let come_back = |node: Host| {
            for visitor in &visitors {
                let again = ask(&lab, &config, visitor.cookie.as_deref().unwrap()).unwrap();
                assert_eq!((&again.target, again.cookie), (&visitor.target, None));
                assert_eq!(again.node, node.v4().to_string());
            }
        };
        come_back(Host::Lb1);
        wait_until("each is counted", LIMIT, || {
            (counted(&one, "new_total"), counted(&one, "hit_total")) == (6, 6)
        })
        .unwrap();

        // The key is changed in two steps, without anybody noticing: first each node learns to read what the new one makes.
        for (keys, node) in [
            (format!("{OLD}{NEW}"), &one),
            (format!("{OLD}{NEW}"), &two),
            (format!("{NEW}{OLD}"), &two),
        ] {
            node.write_keys(&keys).unwrap();
            let (code, out, err) = node.cli(&["--json", "reload"]).unwrap();
            assert_eq!(code, 0, "{out}{err}");
            let done: Value = serde_json::from_str(&out).unwrap();
            assert_eq!(done["outcome"], "applied", "{done:#}");
            assert_eq!(done["changes"][0], "pair: key (changed in place)");
        }
        one.kill(Part::All).unwrap();
        two.wait_state("active", LIMIT).unwrap();
        wait_until("lb2 serves", LIMIT, || ask(&lab, &config, "a=b").is_some()).unwrap();
        come_back(Host::Lb2);
        assert_eq!(counted(&two, "moved_total"), 0);
        assert_eq!(counted(&two, "refused_total"), 0);

        // A target that fails its check loses its clients, who are bound to the other from then on.
        let lost = &visitors[0];
        let host = if lost.target == "backend1" {
            Host::Backend1
        } else {
            Host::Backend2
        };
        lab.origin(host).unwrap().set_healthy(false);
        wait_until("the visitor is moved", LIMIT, || {
            let answer = ask(&lab, &config, lost.cookie.as_deref().unwrap()).unwrap();
            answer.target != lost.target && answer.cookie.is_some()
        })
        .unwrap();
        wait_until("that is counted", LIMIT, || {
            counted(&two, "moved_total") >= 1
        })
        .unwrap();
        let (code, out, err) = two.cli(&["targets", "app"]).unwrap();
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.contains("sticky T") && out.contains(" moved"), "{out}");
        let metrics = two.metrics().unwrap();
        let moved = "tandem_sticky_requests_total{group=\"app\",outcome=\"moved\"} ";
        let moved = metrics.lines().find_map(|line| line.strip_prefix(moved));
        assert!(moved.is_some_and(|count| count != "0"), "{metrics}");
    });
}

#[test]
fn a_request_is_explained_by_the_daemon_and_by_the_file() {
    let lab = Lab::new().unwrap();
    let config = PairConfig {
        extra: "sticky = { cookie = \"T\", ttl = \"1h\" }\n".to_owned(),
        ..PairConfig::default()
    };
    let (one, two) = sticky_pair(&lab, &config);
    let visitor = ask(&lab, &config, "a=b").unwrap();
    let cookie = format!("Cookie: {}", visitor.cookie.unwrap());
    let url = format!("http://{}/x", config.address());
    // The backup explains a cookie of the other node.
    for node in [&one, &two] {
        let (code, out, err) = node
            .cli(&["--json", "explain", "GET", &url, "-H", &cookie])
            .unwrap();
        assert_eq!(code, 0, "{out}{err}");
        let told: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&told["listener"], &told["live"]),
            (&"web".into(), &true.into())
        );
        let bound = told["groups"][0]["certain"].as_str().unwrap();
        let number = if visitor.target == "backend1" {
            Host::Backend1
        } else {
            Host::Backend2
        };
        assert_eq!(
            bound,
            format!("{}:{}", number.v4(), Address::ORIGIN),
            "{told:#}"
        );
    }
    let before = counted(&one, "hit_total");
    assert_eq!(before, 0, "nothing was counted");
    let (code, out, err) = one.cli(&["explain", "GET", &url]).unwrap();
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("candidate") && out.contains("healthy"),
        "{out}"
    );
    let file = one.config_path();
    let file = file.to_str().unwrap();
    let (code, out, err) = one
        .cli(&["explain", "GET", &url, "--config", file, "--node", "lb1"])
        .unwrap();
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("not checked yet"), "{out}");
    let (code, _, err) = one.cli(&["explain", "GET", "http://x.test:99/"]).unwrap();
    assert_eq!(code, 2, "nobody takes it: {err}");
    assert!(err.contains("no listener takes http on port 99"), "{err}");
    let (code, out, err) = one.cli(&["rules"]).unwrap();
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("web  http"), "{out}");
}

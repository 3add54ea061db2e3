//! The names and shapes on the wire, which outside tools rely on: recorded messages must be read, and written back the same.
#![allow(clippy::unwrap_used)]

use control::{
    ConfigText, ErrorAnswer, Event, EventKind, HandoverRequest, HandoverResult, HandoverRouter,
    OrderRequest, OverrideKind, OverrideStatus, Problem, Recording, ReloadOutcome, ReloadRequest,
    ReloadResult, Role, Severity, Status, TargetCondition, Timestamp, VrrpDetail, What,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const STATUS: &str = include_str!("recorded/status.json");
const VRRP: &str = include_str!("recorded/vrrp.json");
const EVENTS: &str = include_str!("recorded/events.json");
const OVERRIDES: &str = include_str!("recorded/overrides.json");
const WHY: &str = include_str!("recorded/why.json");

/// Reads JSON as `T` and writes it again: every field of the recording must be there, and no other.
fn there_and_back<T: Serialize + DeserializeOwned>(recorded: &str) -> T {
    let value: Value = serde_json::from_str(recorded).unwrap();
    let read: T = serde_json::from_str(recorded).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), value);
    read
}

#[test]
fn recordings_are_read_and_written_alike() {
    let status: Status = there_and_back(STATUS);
    assert_eq!(status.vrrp[0].effective_priority, 170);
    let vrrp: Vec<VrrpDetail> = there_and_back(VRRP);
    assert_eq!(vrrp[0].status.name, "main");
    let events: Vec<Event> = there_and_back(EVENTS);
    assert_eq!(events[1].kind, EventKind::Health);
    let overrides: Vec<OverrideStatus> = there_and_back(OVERRIDES);
    assert_eq!(overrides[2].kind, OverrideKind::Split);
    let why: Recording = there_and_back(WHY);
    assert_eq!(*why.facts[4].what, What::Claim);
}

#[test]
fn a_fact_of_tomorrow_is_passed_over() {
    let recorded = WHY.replace("\"claimed\"", "\"foreseen\"");
    let why: Recording = serde_json::from_str(&recorded).unwrap();
    assert_eq!(*why.facts[5].what, What::Other);
}

#[test]
fn orders_and_their_results() {
    let at = Timestamp::from_millis(1_772_600_767_089);
    let problem = Problem {
        code: "E012".to_owned(),
        severity: Severity::Error,
        line: 41,
        column: 1,
        message: "unknown key `algoritm` in [group.api]".to_owned(),
        remedy: Some("did you mean `algorithm`?".to_owned()),
    };
    let reload = ReloadResult {
        outcome: ReloadOutcome::Refused,
        at,
        path: "/etc/tandem/tandem.toml".to_owned(),
        hash: None,
        generation: 14,
        changes: vec![],
        problems: vec![problem],
        error: None,
    };
    let expected = json!({
        "outcome": "refused", "at": "2026-03-04T05:06:07.089Z", "path": "/etc/tandem/tandem.toml", "hash": null, "generation": 14,
        "changes": [], "error": null,
        "problems": [{"code": "E012", "severity": "error", "line": 41, "column": 1,
            "message": "unknown key `algoritm` in [group.api]", "remedy": "did you mean `algorithm`?"}],
    });
    assert_eq!(serde_json::to_value(&reload).unwrap(), expected);
    assert_eq!(
        serde_json::from_value::<ReloadResult>(expected).unwrap(),
        reload
    );

    let handover = HandoverResult {
        handed_over: true,
        took_ms: 31,
        to: Some("lb2".to_owned()),
        reason: None,
        routers: vec![HandoverRouter {
            name: "main".to_owned(),
            handed_over: true,
            to: Some("10.0.0.3".parse().unwrap()),
            took_ms: 31,
            reason: None,
        }],
    };
    let expected = json!({
        "handed_over": true, "took_ms": 31, "to": "lb2", "reason": null,
        "routers": [{"name": "main", "handed_over": true, "to": "10.0.0.3", "took_ms": 31, "reason": null}],
    });
    assert_eq!(serde_json::to_value(&handover).unwrap(), expected);
    assert_eq!(
        serde_json::from_value::<HandoverResult>(expected).unwrap(),
        handover
    );
}

#[test]
fn orders_that_stand() {
    let drain = OrderRequest::Drain {
        target: "app/a".to_owned(),
        for_s: Some(7200),
        why: Some("disk".to_owned()),
    };
    let expected = json!({"order": "drain", "target": "app/a", "for_s": 7200, "why": "disk"});
    assert_eq!(serde_json::to_value(&drain).unwrap(), expected);
    for (body, expected) in [
        (
            json!({"order": "ready", "target": "app/a"}),
            OrderRequest::Ready {
                target: "app/a".to_owned(),
            },
        ),
        (
            json!({"order": "weight", "target": "app/a", "weight": 5}),
            OrderRequest::Weight {
                target: "app/a".to_owned(),
                weight: 5,
                for_s: None,
                why: None,
            },
        ),
        (
            json!({"order": "split", "rule": "site", "weights": {"v2": 25}}),
            OrderRequest::Split {
                rule: "site".to_owned(),
                weights: [("v2".to_owned(), 25)].into(),
                for_s: None,
                why: None,
            },
        ),
        (
            json!({"order": "canary", "rule": "site", "group": "v2", "percent": 25}),
            OrderRequest::Canary {
                rule: "site".to_owned(),
                group: "v2".to_owned(),
                percent: 25,
                for_s: None,
                why: None,
            },
        ),
        (
            json!({"order": "clear"}),
            OrderRequest::Clear { subject: None },
        ),
    ] {
        assert_eq!(
            serde_json::from_value::<OrderRequest>(body).unwrap(),
            expected
        );
    }
    let tomorrow = OVERRIDES.replace("\"split\"", "\"mirror\"");
    let read: Vec<OverrideStatus> = serde_json::from_str(&tomorrow).unwrap();
    assert_eq!(read[2].kind, OverrideKind::Unknown);
}

#[test]
fn short_bodies_mean_their_defaults() {
    assert_eq!(
        serde_json::from_str::<ReloadRequest>("{}").unwrap(),
        ReloadRequest::default()
    );
    assert_eq!(
        serde_json::from_str::<HandoverRequest>("{}").unwrap(),
        HandoverRequest { name: None }
    );
    assert_eq!(
        serde_json::from_str::<ErrorAnswer>(r#"{"error": "x"}"#).unwrap(),
        ErrorAnswer {
            error: "x".to_owned(),
            remedy: None
        }
    );
    let text = r#"{"path": "/t", "hash": "8f3a17c0ffee", "text": ""}"#;
    assert_eq!(serde_json::from_str::<ConfigText>(text).unwrap().path, "/t");
}

#[test]
fn reader_skips_fields_and_words_it_does_not_know() {
    let mut value: Value = serde_json::from_str(STATUS).unwrap();
    value["of_tomorrow"] = json!({"a": [1, 2]});
    value["vrrp"][0]["colour"] = json!("blue");
    value["pair"]["nodes"][1]["role"] = json!("witness");
    value["groups"][0]["targets"][0]["state"] = json!("on_holiday");
    let status: Status = serde_json::from_value(value).unwrap();
    assert_eq!(status.pair.unwrap().nodes[1].role, Role::Unknown);
    assert_eq!(status.groups[0].targets[0].state, TargetCondition::Unknown);

    let mut value: Value = serde_json::from_str(VRRP).unwrap();
    value[0]["of_tomorrow"] = json!(1);
    assert!(serde_json::from_value::<Vec<VrrpDetail>>(value).is_ok());
    let mut value: Value = serde_json::from_str(EVENTS).unwrap();
    value[0]["kind"] = json!("miracle");
    let events: Vec<Event> = serde_json::from_value(value).unwrap();
    assert_eq!(events[0].kind, EventKind::Other);
}

#[test]
fn words_on_screen_are_the_words_on_the_wire() {
    use control::{
        CheckState, ChecksumForm, Family, ForwarderState, Order, PassiveState, VrrpState,
    };
    fn same<T: Serialize + Copy>(all: &[T], word: impl Fn(T) -> &'static str) {
        for value in all {
            assert_eq!(serde_json::to_value(value).unwrap(), word(*value));
        }
    }
    use TargetCondition as Target;
    let all = [
        Target::Up,
        Target::Down,
        Target::Ejected,
        Target::Probing,
        Target::Starting,
        Target::Drain,
        Target::Maint,
        Target::Unknown,
    ];
    same(&all, Target::as_str);
    same(
        &[
            CheckState::Off,
            CheckState::Up,
            CheckState::Down,
            CheckState::Unknown,
        ],
        CheckState::as_str,
    );
    let all = [
        PassiveState::Off,
        PassiveState::Ok,
        PassiveState::Ejected,
        PassiveState::Unknown,
    ];
    same(&all, PassiveState::as_str);
    same(
        &[Order::Ready, Order::Drain, Order::Maint, Order::Unknown],
        Order::as_str,
    );
    same(
        &[
            Role::Active,
            Role::Backup,
            Role::Mixed,
            Role::Fault,
            Role::Unknown,
        ],
        Role::as_str,
    );
    use ForwarderState as Forwarder;
    let all = [
        Forwarder::Running,
        Forwarder::Starting,
        Forwarder::Down,
        Forwarder::Off,
        Forwarder::Unknown,
    ];
    same(&all, Forwarder::as_str);
    let all = [
        VrrpState::Initialize,
        VrrpState::Backup,
        VrrpState::Active,
        VrrpState::Fault,
    ];
    same(&all, VrrpState::as_str);
    same(
        &[ChecksumForm::Rfc5798, ChecksumForm::Rfc9568],
        ChecksumForm::as_str,
    );
    same(&[Family::Ipv4, Family::Ipv6], Family::as_str);
    use control::OverrideKind as Kind;
    let all = [
        Kind::Node,
        Kind::Drain,
        Kind::Maint,
        Kind::Weight,
        Kind::Split,
        Kind::Unknown,
    ];
    same(&all, Kind::as_str);
}

//! Whole screens, as they must look at one moment.
#![allow(clippy::unwrap_used)]

mod routers;

use std::collections::BTreeMap;

use control::{
    AnswerTotals, ContributionStatus, Event, Family, ForwarderState, GroupTimes, HandoverResult,
    HandoverRouter, OrderResult, Overall, OverrideStatus, Problem, ReloadOutcome, ReloadResult,
    Role, Severity, ShareStatus, Status, TargetCondition, Times, Timestamp, VrrpDetail, VrrpState,
};

use super::WIDTH;

const STATUS: &str = include_str!("../../../control/tests/recorded/status.json");
const VRRP: &str = include_str!("../../../control/tests/recorded/vrrp.json");
const OVERRIDES: &str = include_str!("../../../control/tests/recorded/overrides.json");
const EVENTS: &str = include_str!("../../../control/tests/recorded/events.json");

fn now() -> Timestamp {
    "2026-03-04T05:06:07.000Z".parse().unwrap()
}

fn recorded_status() -> Status {
    serde_json::from_str(STATUS).unwrap()
}

fn recorded_vrrp() -> VrrpDetail {
    serde_json::from_str::<Vec<VrrpDetail>>(VRRP)
        .unwrap()
        .remove(0)
}

/// Compares line by line, and holds every line to the width of a screen.
fn assert_screen(screen: &str, expected: &str) {
    assert_eq!(screen, expected, "got:\n{screen}");
    assert_narrow(screen);
}

fn assert_narrow(screen: &str) {
    for line in screen.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn status_of_a_pair() {
    let expected = "\
pair    lb1* ACTIVE 4d02h  lb2 BACKUP -
config  8f3a17c0ffee  generation 3  loaded 2h00m ago  /etc/tandem/tandem.toml
vrrp    main  ACTIVE 4d02h  vrid 51  eth0  priority 170 of 200  192.0.2.10/24
              2001:db8::10/64  last change 4d02h: no advertisement for 361 ms
now     DEGRADED  conns 3,899  1,191 req/s  5xx 0.02%  forwarder running 4d02h
        tandemd 0.1.0 up 4d02h

LISTENER  BIND               CONNS  REQ/S    5XX  ACTION
web       192.0.2.10:80      3,870  1,190  0.02%  app
          [2001:db8::10]:80
db        192.0.2.10:5432       29    0.4      -  db

GROUP  ALGO          UP  REQ/S  ERR  NOTE
app    round-robin  1/2  1,190    6  10.0.0.22:8080 down: connect refused
db     round-robin  1/1    0.4    3

! group app: 1 of 2 targets is down: 10.0.0.22:8080 (connect refused)
";
    assert_screen(&super::status(&recorded_status(), now()), expected);
}

#[test]
fn status_of_a_lone_balancer() {
    let mut status = recorded_status();
    status.pair = None;
    status.vrrp.clear();
    status.problems.clear();
    status.state = Overall::Good;
    status.groups.truncate(1);
    status.groups[0].targets.truncate(1);
    status.listeners.truncate(1);
    status.forwarder.restarts = 2;
    status.forwarder.uptime_s = Some(12);
    let expected = "\
node    lb1*
config  8f3a17c0ffee  generation 3  loaded 2h00m ago  /etc/tandem/tandem.toml
now     good  conns 3,870  1,190 req/s  5xx 0.02%  forwarder running 12s
        restarts 2  tandemd 0.1.0 up 4d02h

LISTENER  BIND               CONNS  REQ/S    5XX  ACTION
web       192.0.2.10:80      3,870  1,190  0.02%  app
          [2001:db8::10]:80

GROUP  ALGO          UP  REQ/S  ERR  NOTE
app    round-robin  1/2  1,190    3
";
    assert_screen(&super::status(&status, now()), expected);
}

#[test]
fn times_are_shown_once_there_are_some() {
    let mut status = recorded_status();
    let mut counts = vec![0; 16];
    (counts[3], counts[8]) = (98, 2);
    let times = Times { counts, sum_us: 0 };
    status.listeners[0].request_times = [("2xx".to_owned(), times.clone())].into();
    status.groups[0].times = Some(GroupTimes {
        first_byte: times,
        ..GroupTimes::default()
    });
    status.groups[0].targets[0].answers = Some(AnswerTotals {
        first_bytes: 100,
        first_byte_sum_us: 420_000,
        first_byte_counts: status.groups[0]
            .times
            .as_ref()
            .unwrap()
            .first_byte
            .counts
            .clone(),
        ..AnswerTotals::default()
    });
    let screen = super::status(&status, now());
    let expected = "\
LISTENER  BIND               CONNS  REQ/S    P50    P99    5XX  ACTION
web       192.0.2.10:80      3,870  1,190  3.8ms  175ms  0.02%  app
          [2001:db8::10]:80
db        192.0.2.10:5432       29    0.4      -      -      -  db

GROUP  ALGO          UP  REQ/S    P50    P99  ERR  NOTE
app    round-robin  1/2  1,190  3.8ms  175ms    6  10.0.0.22:8080 down: connect
                                                   refused
db     round-robin  1/1    0.4      -      -    3
";
    assert!(screen.contains(expected), "got:\n{screen}");
    assert_narrow(&screen);
    let expected = "\
app  round-robin  1/2 usable  answers begin p50 3.8ms p99 175ms
  TARGET          STATE  WEIGHT  INFLIGHT  REQ/S    P50    P99  ERR  SINCE
  10.0.0.21:8080  up          1        12  1,190  3.8ms  175ms    3      -
  10.0.0.22:8080  down        1         0      0      -      -    3      -
    connect refused
";
    let screen = super::targets(&status.groups[..1], now());
    assert_screen(&screen, expected);
}

#[test]
fn status_of_listeners_with_tls_http2_and_tunnels() {
    let mut status = recorded_status();
    let listener = |name: &str, protocol: &str| {
        let mut one = status.listeners[0].clone();
        (one.name, one.protocol) = (name.to_owned(), protocol.to_owned());
        one
    };
    let fresh = listener("fresh", "https");
    let mut secure = listener("secure", "https");
    (secure.handshakes_total, secure.resumed_total) = (120_431, 74_667);
    (secure.tls12_total, secure.tls12_resumed_total) = (1, 0);
    secure.causes = BTreeMap::from([
        ("client-malformed@handshake".to_owned(), 200),
        ("client-timeout@handshake".to_owned(), 10),
        ("target-reset@headers".to_owned(), 7),
    ]);
    (secure.http2_connections, secure.http2_connections_total) = (310, 9_000);
    secure.http2_streams = 1_022;
    (secure.tunnels, secure.tunnels_total) = (8, 100);
    let mut clear = listener("clear", "http");
    clear.http2_connections_total = 1;
    let mut by_name = listener("mail", "tls");
    by_name.causes = BTreeMap::from([("client-malformed@handshake".to_owned(), 3)]);
    status.listeners = vec![status.listeners[0].clone(), clear, fresh, by_name, secure];
    let screen = super::status(&status, now());
    let expected = "
LISTENER  HANDSHAKES  RESUMED  TLS 1.3  FAILED  OPEN NOW
clear              -        -        -       -  0 h2, 0 streams
fresh              0        -        -       0  -
mail               0        -        -       3  -
secure       120,431      61%      99%     210  310 h2, 1,022 streams, 8 tunnels

GROUP ";
    assert!(screen.contains(expected), "got:\n{screen}");
    assert_narrow(&screen);
}

#[test]
fn status_of_a_lone_vrrp_router_in_trouble() {
    let mut status = recorded_status();
    let pair = status.pair.as_mut().unwrap();
    pair.nodes[0].role = Role::Fault;
    pair.nodes[0].since = Some(now());
    pair.nodes[1].role = Role::Active;
    pair.nodes[1].heard_ms = Some(40);
    pair.nodes[1].config_hash = Some("0123456789ab".to_owned());
    status.vrrp.truncate(1);
    status.vrrp[0].state = VrrpState::Fault;
    status.vrrp[0].since = now();
    status.vrrp[0].effective_priority = 200;
    status.vrrp[0].last_transition = None;
    status.listeners.clear();
    status.groups.clear();
    status.forwarder.state = ForwarderState::Off;
    status.state = Overall::NoService;
    status.config.last_reload.as_mut().unwrap().outcome = ReloadOutcome::Refused;
    let reason =
        "vrrp main: interface eth0 has no carrier, so the address cannot be held by this node";
    status.problems = vec![reason.to_owned(), "short".to_owned()];
    let expected = "\
pair    lb1* FAULT 0s  lb2 ACTIVE - heard 40ms ago  config DIFFERS: 0123456789ab
config  8f3a17c0ffee  generation 3  loaded 2h00m ago  /etc/tandem/tandem.toml
        last reload REFUSED 2h00m ago
vrrp    main  FAULT 0s  vrid 51  eth0  192.0.2.10/24  last change -
now     NO SERVICE  tandemd 0.1.0 up 4d02h

! vrrp main: interface eth0 has no carrier, so the address cannot be held by
  this node
! short
";
    assert_screen(&super::status(&status, now()), expected);
}

#[test]
fn long_names_and_addresses_still_fit() {
    let mut status = recorded_status();
    status.vrrp[0].vips = (1..6)
        .map(|n| format!("2001:db8:1111:2222:3333:4444:5555:{n}/64"))
        .collect();
    status.vrrp[0].interface = "enp129s0f1np1".to_owned();
    status.listeners[0].name = "public-website".to_owned();
    status.listeners[0].bind = vec!["[2001:db8::6666]:44300".parse().unwrap()];
    status.listeners[0].action = "7 rules, else a-long-group-name".to_owned();
    status.groups[0].name = "a-long-group-name".to_owned();
    status.groups[0].targets[1].why =
        Some("http 503 (want 200-399) three times in a row".to_owned());
    assert_narrow(&super::status(&status, now()));
    assert_narrow(&super::targets(&status.groups, now()));
}

#[test]
fn note_names_the_first_target_in_trouble_and_counts_the_rest() {
    let mut status = recorded_status();
    let group = &mut status.groups[0];
    let mut drained = group.targets[0].clone();
    drained.state = TargetCondition::Drain;
    group.targets.push(drained);
    let screen = super::status(&status, now());
    assert!(
        screen.contains("10.0.0.22:8080 down: connect refused; 1\n"),
        "{screen}"
    );
}

#[test]
fn targets_of_all_groups() {
    let expected = "\
app  round-robin  1/2 usable
  TARGET          STATE  WEIGHT  INFLIGHT  REQ/S  ERR  SINCE  WHY
  10.0.0.21:8080  up          1        12  1,190    3      -  -
  10.0.0.22:8080  down        1         0      0    3      -  connect refused

db  round-robin  1/1 usable
  TARGET          STATE      WEIGHT  INFLIGHT  REQ/S  ERR  SINCE  WHY
  db1             unknown         1        29    0.4    3      -  -
  10.0.0.31:5432  check off
";
    assert_screen(&super::targets(&recorded_status().groups, now()), expected);
    assert_eq!(super::targets(&[], now()), "no groups\n");
}

fn recorded_overrides() -> Vec<OverrideStatus> {
    serde_json::from_str(OVERRIDES).unwrap()
}

#[test]
fn a_target_that_drains_shows_its_time_and_its_author() {
    let mut groups = recorded_status().groups;
    let target = &mut groups[0].targets[0];
    target.state = TargetCondition::Drain;
    target.order = control::Order::Drain;
    target.leaves_in_ms = Some(252_900);
    target.weight_in_file = Some(3);
    target.since = Some(Timestamp::from_millis(now().as_millis() - 47_100));
    target.why = Some("by alice: disk swap".to_owned());
    groups[0].targets[1].since = Some(Timestamp::from_millis(now().as_millis() - 356_400_000));
    groups[0].queued = 3;
    groups.truncate(1);
    let expected = "\
app  round-robin  1/2 usable  3 waiting for a place
  TARGET          STATE        WEIGHT  INFLIGHT  REQ/S  ERR  SINCE  WHY
  10.0.0.21:8080  drain 4m12s   1 (3)        12  1,190    3    47s  by alice:
                                                                    disk swap
  10.0.0.22:8080  down              1         0      0    3  4d03h  connect
                                                                    refused
";
    assert_screen(&super::targets(&groups, now()), expected);
    groups[0].targets[0].leaves_in_ms = None;
    groups[0].fails_open = true;
    let screen = super::targets(&groups, now());
    assert!(
        screen.starts_with("app  round-robin  1/2 usable  fail-open: all are tried"),
        "{screen}"
    );
    assert!(!screen.contains("4m12s"), "the time is over: {screen}");
}

#[test]
fn what_stands_ordered() {
    let expected = "\
SUBJECT             ORDER      BY         SINCE      ENDS  WHY
app/10.0.0.21:8080  drain      alice     12m00s  in 1h48m  disk swap
app/10.0.0.9:80     weight 0   uid 1000   9d00h         -  (matches nothing)
web/site            web-v2=25  bob        2d03h         -  canary of the new
                                                           checkout
kept across reload and restart, until cleared (--clear [SUBJECT])
";
    assert_screen(&super::overrides(&recorded_overrides(), now()), expected);
    assert_eq!(
        super::overrides(&[], now()),
        "nothing is ordered: all is as in the file\n"
    );
    let mut status = recorded_status();
    status.overrides = recorded_overrides();
    let screen = super::status(&status, now());
    assert_narrow(&screen);
    let line = "\
orders  app/10.0.0.21:8080 drain  app/10.0.0.9:80 weight 0  web/site web-v2=25
";
    assert!(screen.contains(line), "{screen}");
    status.overrides.extend(recorded_overrides());
    let screen = super::status(&status, now());
    assert!(screen.contains("3 more: tandem overrides"), "{screen}");
}

#[test]
fn what_became_of_an_order() {
    let [drain, _, split] = <[OverrideStatus; 3]>::try_from(recorded_overrides()).unwrap();
    let result = OrderResult {
        set: Some(drain.clone()),
        kept: true,
        applied: true,
        notes: vec!["this node only: lb2 has orders of its own".to_owned()],
        ..OrderResult::default()
    };
    let expected = "\
app/10.0.0.21:8080: drain for 1h48m: disk swap
this node only: lb2 has orders of its own
kept across reload and restart, until cleared (tandem overrides)
";
    assert_screen(&super::ordered(&result, now()), expected);
    let share = |group: &str, weight| ShareStatus {
        group: group.to_owned(),
        weight,
    };
    let result = OrderResult {
        set: Some(split.clone()),
        shares: vec![share("web-v1", 95), share("web-v2", 25)],
        kept: false,
        notes: vec!["not on disk, a restart would lose it: No space left on device".to_owned()],
        ..OrderResult::default()
    };
    let expected = "\
web/site: web-v2=25: canary of the new checkout
  web-v1 95 (79 %)  web-v2 25 (21 %)
not on disk, a restart would lose it: No space left on device
";
    assert_screen(&super::ordered(&result, now()), expected);
    let result = OrderResult {
        cleared: vec![drain],
        kept: true,
        ..OrderResult::default()
    };
    let expected = "app/10.0.0.21:8080: drain is cleared, ordered by alice 12m00s ago\n";
    assert_screen(&super::ordered(&result, now()), expected);
}

#[test]
fn rules_with_what_they_counted() {
    let mut listeners = recorded_status().listeners;
    listeners.truncate(1);
    let listener = &mut listeners[0];
    listener.name = "web".to_owned();
    listener.protocol = "http".to_owned();
    listener.action = "2 rules, else app".to_owned();
    listener.requests_total = 1_234_567;
    let rule = |name: &str, action: &str, requests_total| control::RuleStatus {
        name: name.to_owned(),
        action: action.to_owned(),
        requests_total,
        sticky: None,
    };
    listener.rules = vec![
        rule("api", "api", 1_200_000),
        rule("site", "web-v1 95, web-v2 5", 0),
    ];
    listener.rules[1].sticky = Some(control::StickyStatus {
        cookie: "G".to_owned(),
        new_total: 2500,
        hit_total: 12_000,
        moved_total: 34,
        none_total: 0,
        refused_total: 0,
    });
    let expected = "\
web  http  2 rules, else app  1,234,567 requests
  RULE   REQUESTS  ACTION
  api   1,200,000  api
  site          0  web-v1 95, web-v2 5
                   sticky G: 34 moved, 2,500 new, 12,000 stayed
";
    assert_screen(&super::rules(&listeners), expected);
    assert_eq!(super::rules(&[]), "no listeners\n");
}

#[test]
fn an_explanation_step_by_step() {
    let question = config::Question {
        method: "GET".to_owned(),
        scheme: "https".to_owned(),
        host: "app.example.com".to_owned(),
        path: "/a/../api/x?q=1".to_owned(),
        headers: Vec::new(),
        from: "198.51.100.7".parse().unwrap(),
        listener: None,
    };
    let rule = |rule: &str, matches, because: &str| config::RuleVerdict {
        rule: rule.to_owned(),
        matches,
        because: because.to_owned(),
        action: "app".to_owned(),
    };
    let target = |target: &str, chance: &str, why: &str| config::TargetVerdict {
        target: target.to_owned(),
        chance: chance.to_owned(),
        why: why.to_owned(),
        weight: 1,
        in_flight: 1200,
    };
    let explanation = config::Explanation {
        listener: "https".to_owned(),
        live: true,
        tls: Some(
            "TLS 1.2 or newer, certificates app; clients have to show a certificate".to_owned(),
        ),
        path: "/api/x".to_owned(),
        rules_left_out: 0,
        rules: vec![
            rule("status page", false, "path /lb-status"),
            rule("api", true, "host app.example.com, path /api/*"),
        ],
        rule: Some("api".to_owned()),
        action: "app".to_owned(),
        answered: true,
        answer: None,
        shares: Vec::new(),
        sticky: None,
        groups: vec![config::GroupVerdict {
            group: "app".to_owned(),
            algorithm: "round-robin".to_owned(),
            speech: Some("HTTP/2 in TLS to web.internal".to_owned()),
            sticky: Some("no cookie T: one is set".to_owned()),
            certain: None,
            targets: vec![
                target("10.0.0.21:8080", "candidate", "healthy"),
                target("10.0.0.22:8080", "later", "connect refused 3/3"),
            ],
        }],
        sent: vec![
            "GET /a/../api/x?q=1 HTTP/1.1".to_owned(),
            "set X-Edge: 1".to_owned(),
        ],
        answer_changes: vec!["remove Server".to_owned()],
    };
    let screen = super::explanation(&question, &explanation);
    assert_narrow(&screen);
    for line in [
        "listener https  by the daemon",
        "  TLS 1.2 or newer, certificates app; clients have to show a certificate",
        "  rules see the path /api/x",
        "  status page  no   not path /lb-status",
        "  api          yes  host app.example.com, path /api/*",
        "rule api decides  app",
        "group app  round-robin  HTTP/2 in TLS to web.internal",
        "  10.0.0.21:8080  candidate       1     1,200  healthy",
        "  10.0.0.22:8080  later           1     1,200  connect refused 3/3",
        "sent to the target",
        "changed in the answer",
    ] {
        let found = screen.lines().any(|shown| shown.trim() == line.trim());
        assert!(found, "{line:?} is missing:\n{screen}");
    }
}

#[test]
fn targets_of_a_group_that_binds_its_clients() {
    let mut groups = recorded_status().groups;
    groups.truncate(1);
    groups[0].targets.truncate(1);
    let sticky = |hit_total, moved_total| control::StickyStatus {
        cookie: "TANDEM".to_owned(),
        new_total: 2500,
        hit_total,
        moved_total,
        none_total: 1,
        refused_total: 2,
    };
    groups[0].sticky = Some(sticky(12_000, 34));
    let second = |groups: &[control::GroupStatus]| {
        let screen = super::targets(groups, now());
        screen.lines().nth(1).unwrap().to_owned()
    };
    assert_eq!(
        second(&groups),
        "  sticky TANDEM  99% of 12,034 bound requests stayed  34 moved  2,500 new"
    );
    groups[0].speech = Some("TLS to web.internal".to_owned());
    let screen = super::targets(&groups, now());
    let head = "app  round-robin  1/2 usable  TLS to web.internal\n";
    assert!(screen.starts_with(head), "{screen}");
    groups[0].sticky = Some(sticky(0, 0));
    assert!(second(&groups).contains("no bound request yet"));
    assert_narrow(&super::targets(&groups, now()));
}

#[test]
fn events_are_lines() {
    let events: Vec<Event> = serde_json::from_str(EVENTS).unwrap();
    let screen: String = events.iter().map(super::event).collect();
    let expected = "\
2026-03-04T04:06:07.000Z  lb1  vrrp main  backup -> active  no advertisement for 333 ms
2026-03-04T05:05:50.250Z  lb1  target app/10.0.0.22:8080  up -> down  connect refused, 3 of 3
2026-03-04T05:05:55.000Z  lb1  config  reloaded, generation 3
";
    assert_eq!(screen, expected);
    let mut event = events[0].clone();
    event.from = None;
    event.reason = "two\nlines".to_owned();
    assert_eq!(
        super::event(&event),
        "2026-03-04T04:06:07.000Z  lb1  vrrp main  -> active  two lines\n"
    );
    (event.from, event.to) = (Some("up".to_owned()), None);
    assert_eq!(
        super::event(&event),
        "2026-03-04T04:06:07.000Z  lb1  vrrp main  up ->  two lines\n"
    );
}

fn reload_result(outcome: ReloadOutcome) -> ReloadResult {
    ReloadResult {
        outcome,
        at: now(),
        path: "/etc/tandem/tandem.toml".to_owned(),
        hash: Some("8f3a17c0ffee".to_owned()),
        generation: 14,
        changes: vec![],
        problems: vec![],
        error: None,
    }
}

fn problem(severity: Severity, line: u32, column: u32, remedy: Option<&str>) -> Problem {
    Problem {
        code: "E012".to_owned(),
        severity,
        line,
        column,
        message: "unknown key `algoritm`".to_owned(),
        remedy: remedy.map(ToOwned::to_owned),
    }
}

#[test]
fn reload_in_its_four_outcomes() {
    let mut result = reload_result(ReloadOutcome::Applied);
    result.changes = vec![
        "group app: target b added".to_owned(),
        "listener web: removed".to_owned(),
    ];
    result.problems = vec![problem(Severity::Warning, 3, 1, None)];
    let expected = "\
/etc/tandem/tandem.toml:3:1: warning[E012]: unknown key `algoritm`
reloaded /etc/tandem/tandem.toml: generation 14, 8f3a17c0ffee
  group app: target b added
  listener web: removed
";
    assert_eq!(super::reload(&result), expected);

    let result = reload_result(ReloadOutcome::Unchanged);
    assert_eq!(
        super::reload(&result),
        "nothing to change: generation 14, 8f3a17c0ffee\n"
    );

    let mut result = reload_result(ReloadOutcome::Refused);
    result.problems = vec![
        problem(Severity::Error, 41, 7, Some("did you mean `algorithm`?")),
        problem(Severity::Warning, 42, 0, None),
        problem(Severity::Error, 0, 0, None),
    ];
    let expected = "\
/etc/tandem/tandem.toml:41:7: error[E012]: unknown key `algoritm`; did you mean `algorithm`?
/etc/tandem/tandem.toml:42: warning[E012]: unknown key `algoritm`
/etc/tandem/tandem.toml: error[E012]: unknown key `algoritm`
2 errors, 1 warning. The running configuration (generation 14) was not changed.
";
    assert_eq!(super::reload(&result), expected);

    let mut result = reload_result(ReloadOutcome::Failed);
    result.error = Some("listener web: cannot bind 10.0.0.10:80: address in use".to_owned());
    let expected = "\
could not be put to work: listener web: cannot bind 10.0.0.10:80: address in use
The running configuration (generation 14) was not changed.
";
    assert_eq!(super::reload(&result), expected);
}

#[test]
fn handover_done_and_not_done() {
    let router = HandoverRouter {
        name: "main".to_owned(),
        handed_over: true,
        to: Some("10.0.0.3".parse().unwrap()),
        took_ms: 31,
        reason: None,
    };
    let mut result = HandoverResult {
        handed_over: true,
        took_ms: 31,
        to: Some("lb2".to_owned()),
        reason: None,
        routers: vec![router],
    };
    let expected =
        "handed over to lb2 in 31ms\n  main: 10.0.0.3 is active since 31ms after the order\n";
    assert_eq!(super::handover(&result), expected);

    result.handed_over = false;
    result.took_ms = 2100;
    result.reason = Some("nobody took over".to_owned());
    result.routers[0].handed_over = false;
    result.routers[0].reason = Some("no advertisement of another router in 2100 ms".to_owned());
    let expected = "\
not handed over after 2.1s: nobody took over
  main: still here after 31ms: no advertisement of another router in 2100 ms
";
    assert_eq!(super::handover(&result), expected);
}

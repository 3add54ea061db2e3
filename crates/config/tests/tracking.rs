//! `[vrrp.NAME.track]`: what is read, what is refused, and what programs may be run.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use config::{
    Effect, Facts, FileExpectation, Outcome, Probe, ProcessName, Track, TrackedCheck, TrackedGroup,
    Watch, load,
};

const ROUTER: &str =
    "[vrrp.main]\ninterface = \"eth0\"\nvrid = 51\nvips = [\"10.0.0.10/24\"]\n[vrrp.main.track]\n";

fn read(track: &str, file_access: bool) -> Outcome {
    let facts = Facts {
        host_name: "lb1".to_owned(),
        file_access,
        ..Facts::default()
    };
    load(Path::new("t.toml"), &format!("{ROUTER}{track}"), &facts)
}

fn tracked(track: &str) -> Track {
    let outcome = read(track, false);
    let config = outcome
        .config
        .unwrap_or_else(|| panic!("{:?}", outcome.report.problems));
    config.vrrp[0].track.clone()
}

/// Code and place of each problem.
fn problems(track: &str) -> Vec<String> {
    let problems = read(track, false).report.problems;
    let words = problems.iter().map(|problem| {
        let key = problem.key.trim_start_matches("vrrp.main.track.");
        format!("{} {key}: {}", problem.code, problem.message)
    });
    words.collect()
}

fn check(
    name: &str,
    probe: Probe,
    times: (u64, u64),
    counts: (u32, u32),
    effect: Effect,
) -> TrackedCheck {
    TrackedCheck {
        name: name.to_owned(),
        watch: Watch {
            probe,
            every: Duration::from_millis(times.0),
            timeout: Duration::from_millis(times.1),
        },
        rise: counts.0,
        fall: counts.1,
        effect,
    }
}

#[test]
fn scripts_files_and_processes_with_their_usual_values() {
    let track = tracked(
        r#"
scripts = { disk = { run = ["/bin/disk", "-v"] }, all = { run = ["/bin/all"], every = "1s", timeout = "900ms", rise = 3, fall = 4, weight = -20 } }
files = { manual = { path = "/w" }, stop = { path = "/stop", expect = "absent" }, half = { path = "/h", weight = -2 }, on = { path = "/on", expect = "present", weight = 7 } }
processes = { time = { name = "chronyd", weight = -10 }, two = { command = "/usr/bin/x -a", min = 2, max = 3 }, one = { pid_file = "/run/x.pid", every = "200ms" } }
"#,
    );
    let run = |words: &[&str]| Probe::Script {
        run: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let file = |path: &str, expect| Probe::File {
        path: path.into(),
        expect,
    };
    let process = |which, min, max| Probe::Process { which, min, max };
    let name = ProcessName::Name("chronyd".to_owned());
    let command = ProcessName::Command("/usr/bin/x -a".to_owned());
    let pid_file = ProcessName::PidFile("/run/x.pid".into());
    let (second, half) = (1000, 500);
    assert_eq!(
        track.checks,
        [
            check(
                "disk",
                run(&["/bin/disk", "-v"]),
                (5000, 2000),
                (1, 2),
                Effect::Fault
            ),
            check(
                "all",
                run(&["/bin/all"]),
                (second, 900),
                (3, 4),
                Effect::Weight(-20)
            ),
            check(
                "manual",
                file("/w", FileExpectation::Number),
                (second, half),
                (1, 1),
                Effect::Number(1)
            ),
            check(
                "stop",
                file("/stop", FileExpectation::Absent),
                (second, half),
                (1, 1),
                Effect::Fault
            ),
            check(
                "half",
                file("/h", FileExpectation::Number),
                (second, half),
                (1, 1),
                Effect::Number(-2)
            ),
            check(
                "on",
                file("/on", FileExpectation::Present),
                (second, half),
                (1, 1),
                Effect::Weight(7)
            ),
            check(
                "time",
                process(name, 1, None),
                (second, half),
                (1, 2),
                Effect::Weight(-10)
            ),
            check(
                "two",
                process(command, 2, Some(3)),
                (second, half),
                (1, 2),
                Effect::Fault
            ),
            check(
                "one",
                process(pid_file, 1, None),
                (200, 160),
                (1, 2),
                Effect::Fault
            ),
        ]
    );
}

#[test]
fn probes_of_every_kind() {
    let track = tracked(
        r#"
[vrrp.main.track.probes]
gateway = { ping = "10.0.0.1", weight = -40 }
far = { ping = "fe80::1" }
near = { ping = "10.0.0.1", interface = "eth9" }
switch = { arp = "10.0.0.4" }
port = { tcp = "[2001:db8::1]:443" }
site = { http = "http://10.0.0.5", host = "site.internal", status = [200, "204-206"] }
page = { http = "http://10.0.0.5:8080/up?x=1" }
names = { dns = "10.0.0.53" }
name = { dns = "10.0.0.53:5353", name = "example.com" }
"#,
    );
    let shown: Vec<String> = track
        .checks
        .iter()
        .map(|check| format!("{}: {}", check.label(), check.watch.probe))
        .collect();
    assert_eq!(
        shown,
        [
            "probe gateway: ping 10.0.0.1",
            "probe far: ping fe80::1 on eth0",
            "probe near: ping 10.0.0.1 on eth9",
            "probe switch: arp 10.0.0.4 on eth0",
            "probe port: tcp [2001:db8::1]:443",
            "probe site: http 10.0.0.5:80/ as site.internal, status 200-200 204-206",
            "probe page: http 10.0.0.5:8080/up?x=1 as 10.0.0.5:8080, status 200-399",
            "probe names: dns 10.0.0.53:53 for .",
            "probe name: dns 10.0.0.53:5353 for example.com",
        ]
    );
    let gateway = &track.checks[0];
    assert_eq!(
        (gateway.rise, gateway.fall, gateway.effect),
        (2, 3, Effect::Weight(-40))
    );
}

#[test]
fn groups_with_what_they_need() {
    let text = r#"
groups = { web = { min_usable = 2, weight = -50 }, db = {} }
[listener.web]
bind = "10.0.0.10:80"
forward = "web"
[group.web]
targets = ["10.0.0.21:80", "10.0.0.22:80"]
[group.db]
targets = ["10.0.0.23:80"]
"#;
    let group = |name: &str, min_usable, weight| TrackedGroup {
        name: name.to_owned(),
        min_usable,
        weight,
    };
    let track = tracked(text);
    assert_eq!(
        track.groups,
        [group("web", 2, Some(-50)), group("db", 1, None)]
    );
    assert!(track.forwarder);
    assert_eq!(
        problems(&text.replace("min_usable = 2", "min_usable = 3")),
        ["E014 groups.web: group `web` has 2 targets, so 3 of them are never usable"]
    );
}

#[test]
fn what_makes_no_sense_is_refused_at_its_place() {
    let cases = [
        (
            r#"scripts = { x = {} }"#,
            "E013 scripts.x: missing key `run` in [vrrp.main.track.scripts.x]",
        ),
        (
            r#"scripts = { x = { run = [] } }"#,
            "E013 scripts.x.run: the list is empty",
        ),
        (
            r#"scripts = { x = { run = ["disk"] } }"#,
            r#"E014 scripts.x.run: "disk" is not an absolute path"#,
        ),
        (
            r#"scripts = { x = { run = ["/x"], every = "1s", timeout = "1s" } }"#,
            "E014 scripts.x.timeout: `timeout` must be shorter than `every`, got 1s and 1s",
        ),
        (
            r#"scripts = { x = { run = ["/x"], weight = 0 } }"#,
            "E014 scripts.x.weight: a `weight` of 0 changes nothing",
        ),
        (
            r#"scripts = { x = { run = ["/x"], weight = 255 } }"#,
            "E014 scripts.x.weight: `weight` must be from -254 to 254, got 255",
        ),
        (
            r#"scripts = { x = { run = ["/x"], interval = "1s" } }"#,
            "E012 scripts.x.interval: unknown key `interval` in [vrrp.main.track.scripts.x]",
        ),
        (
            r#"files = { x = { path = "weight" } }"#,
            r#"E014 files.x.path: "weight" is not an absolute path"#,
        ),
        (
            r#"files = { x = { path = "/w", expect = "there" } }"#,
            r#"E011 files.x.expect: `expect` must be one of "number", "present", "absent", got "there""#,
        ),
        (
            r#"processes = { x = { min = 1 } }"#,
            "E013 processes.x: [vrrp.main.track.processes.x] needs one of `name`, `command` and `pid_file`",
        ),
        (
            r#"processes = { x = { name = "a", pid_file = "/b" } }"#,
            "E022 processes.x.pid_file: more than one of `name`, `command` and `pid_file`",
        ),
        (
            r#"processes = { x = { name = "a", min = 3, max = 2 } }"#,
            "E014 processes.x.max: `max` must not be below `min`, got 2 and 3",
        ),
        (
            r#"probes = { x = { ping = "gateway" } }"#,
            r#"E010 probes.x.ping: expected an address like "10.0.0.1", got "gateway""#,
        ),
        (
            r#"probes = { x = { arp = "fe80::1" } }"#,
            "E026 probes.x.arp: ARP is for IPv4",
        ),
        (
            r#"probes = { x = { tcp = "10.0.0.1" } }"#,
            r#"E010 probes.x.tcp: expected an address and port like "10.0.0.1:443", got "10.0.0.1""#,
        ),
        (
            r#"probes = { x = { tcp = "10.0.0.1:1", interface = "eth1" } }"#,
            "E050 probes.x.interface: `interface` is for probes by `ping` and `arp`",
        ),
        (
            r#"probes = { x = { http = "https://10.0.0.1/" } }"#,
            r#"E010 probes.x.http: expected an address like "http://10.0.0.1:8080/healthz", got "https://10.0.0.1/""#,
        ),
        (
            r#"probes = { x = { dns = "10.0.0.1", name = "a..b" } }"#,
            r#"E010 probes.x.name: expected a name like "example.com", got "a..b""#,
        ),
        (
            r#"probes = { x = {} }"#,
            "E013 probes.x: [vrrp.main.track.probes.x] needs one of `ping`, `arp`, `tcp`, `http` and `dns`",
        ),
        (
            r#"probes = { x = { ping = "10.0.0.1", tcp = "10.0.0.1:1" } }"#,
            "E022 probes.x.tcp: more than one of `ping`, `arp`, `tcp`, `http` and `dns`",
        ),
    ];
    for (text, problem) in cases {
        assert_eq!(problems(text), [problem], "{text}");
    }
}

#[test]
fn there_are_no_more_checks_than_can_be_made() {
    let probes = |count: usize| {
        let lines = (1..=count).map(|port| format!("p{port} = {{ tcp = \"10.0.0.1:{port}\" }}\n"));
        format!("[vrrp.main.track.probes]\n{}", lines.collect::<String>())
    };
    assert_eq!(problems(&probes(256)), Vec::<String>::new());
    assert_eq!(
        problems(&probes(257)),
        [
            "E014 probes.p257: 257 different scripts, files, processes and probes are tracked, at most 256 are possible"
        ]
    );
}

#[test]
fn a_program_that_others_may_change_is_refused_and_a_missing_one_warned_of() {
    let folder = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let path = folder.path().join("check");
    let text = format!("scripts = {{ x = {{ run = [\"{}\"] }} }}", path.display());
    let said = || {
        let problems = read(&text, true).report.problems;
        let words = problems.iter().map(|problem| {
            let words = format!(
                "{:?} {} {}",
                problem.severity, problem.code, problem.message
            );
            words.replace(&format!("{}", folder.path().display()), "DIR")
        });
        words.collect::<Vec<_>>()
    };
    assert_eq!(
        said(),
        ["Warning E040 DIR/check cannot be run: No such file or directory (os error 2)"]
    );
    std::fs::write(&path, "#!/bin/sh\n").unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
    };
    mode(&path, 0o644);
    assert_eq!(said(), ["Warning E040 DIR/check is not executable"]);
    mode(&path, 0o755);
    assert_eq!(said(), Vec::<String>::new());
    mode(&path, 0o757);
    assert_eq!(
        said(),
        ["Error E040 DIR/check is not run, because others than root may change DIR/check"]
    );
    mode(&path, 0o755);
    mode(folder.path(), 0o777);
    assert_eq!(
        said(),
        ["Error E040 DIR/check is not run, because others than root may change DIR"]
    );
}

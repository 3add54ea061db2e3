//! Hooks and the FIFO: what they are told, in which order, and that nothing of the protocol waits for them.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::{LIMIT, assert_heard, measured};
use netns_tests::{Address, Device as _, Host, Lab, Observer, PairConfig, Tandem, wait_until};
use serde_json::Value;

/// A folder of the lab with a program that everybody may run and a file that everybody may write.
fn hook(lab: &Lab, script: &str) -> (PathBuf, PathBuf) {
    let folder = lab.folder().join("hooks");
    std::fs::create_dir_all(&folder).unwrap();
    let (program, said) = (folder.join("hook"), folder.join("said"));
    let script = script.replace("SAID", &said.display().to_string());
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::write(&said, "").unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
    };
    mode(lab.folder(), 0o755);
    mode(&folder, 0o755);
    mode(&program, 0o755);
    mode(&said, 0o666);
    (program, said)
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn of_lb1(said: &Path) -> Vec<String> {
    let all = lines(said).into_iter();
    all.filter(|line| line.starts_with("lb1")).collect()
}

/// What lb1's hooks have said when all of them have run up to that it is active.
fn settled(one: &Tandem<'_>, said: &Path) -> Vec<String> {
    wait_until("the first hooks have run", LIMIT, || {
        let shown = hooks(one);
        shown["last"]["to"] == "active" && shown["running"].is_null()
    })
    .unwrap();
    of_lb1(said)
}

fn hooks(node: &Tandem<'_>) -> Value {
    let (_, out, _) = node.cli(&["--json", "vrrp"]).unwrap();
    let routers: Value = serde_json::from_str(&out).unwrap();
    routers[0]["hooks"].clone()
}

#[test]
fn hooks_are_told_each_change_in_order_and_the_fifo_as_keepalived_tells_it() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let (program, said) = hook(
            &lab,
            "echo \"$TANDEM_NODE $* $(id -un) $TANDEM_VIPS\" >> SAID\n[ $5 != fault ] || { echo no way >&2; exit 3; }",
        );
        let config = PairConfig {
            extra: format!(
                "\n[vrrp.main.hooks]\ntransition = [\"{path}\", \"any\"]\nactive = [\"{path}\", \"act\"]\n",
                path = program.display()
            ),
            ..PairConfig::default()
        };
        let (mut one, two) = Tandem::pair(&lab, &config).unwrap();
        let before = settled(&one, &said).len();
        let fifo = lab.folder().join("notify.fifo");
        let text = config.tandem(Host::Lb1);
        let fifo_key = format!("[global]\nnotify_fifo = \"{}\"\n", fifo.display());
        one.write_config(&text.replace("[global]\n", &fifo_key))
            .unwrap();
        let (code, out, err) = one.cli(&["reload"]).unwrap();
        assert_eq!(code, 0, "{out}{err}");
        wait_until("the fifo is there", LIMIT, || fifo.exists()).unwrap();
        // Both ends, so that opening does not wait for the writer.
        let both = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&fifo);
        let mut told = BufReader::new(both.unwrap());
        let mut told = || {
            let mut line = String::new();
            told.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };

        lab.cut_cable(Host::Lb1).unwrap();
        one.wait_state("fault", LIMIT).unwrap();
        two.wait_state("active", LIMIT).unwrap();
        assert_eq!(told(), "INSTANCE \"main\" FAULT 200");
        wait_until("the hook has failed", LIMIT, || {
            hooks(&one)["last"]["to"] == "fault"
        })
        .unwrap();
        let (_, shown, _) = one.cli(&["vrrp"]).unwrap();
        assert!(shown.contains("code 3: no way"), "{shown}");
        let (_, status, _) = one.cli(&["status"]).unwrap();
        assert!(status.contains("! hook of main failed"), "{status}");
        lab.mend_cable(Host::Lb1).unwrap();
        one.wait_state("active", LIMIT).unwrap();
        assert_eq!(told(), "INSTANCE \"main\" BACKUP 200");
        assert_eq!(told(), "INSTANCE \"main\" MASTER 200");
        one.stop(LIMIT).unwrap();
        assert_eq!(told(), "INSTANCE \"main\" STOP 200");

        let user = "nobody";
        let vips = "10.0.0.10/24";
        let expected: Vec<String> = [
            "any main active fault fault",
            "any main fault backup recovered",
            "act main backup active preempting",
            "any main backup active preempting",
            "any main active initialize shutdown",
        ]
        .iter()
        .map(|words| format!("lb1 {words} {user} {vips}"))
        .collect();
        assert_eq!(
            of_lb1(&said)[before..],
            expected,
            "in order, to the last word"
        );
        let events = std::fs::read_to_string(one.state_dir().join("journal.jsonl")).unwrap();
        let ran = events
            .lines()
            .filter(|line| line.contains("\"kind\":\"hook\""));
        assert!(
            ran.count() >= before + expected.len() - 1,
            "outcomes are in the journal:\n{events}"
        );
    });
}

#[test]
fn a_hook_that_hangs_delays_nothing_and_the_newest_state_is_told_in_the_end() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let (program, said) = hook(
            &lab,
            "while [ $TANDEM_NODE = lb1 ] && [ -e SAID.hang ]; do sleep 0.1; done\necho \"$TANDEM_NODE $3\" >> SAID",
        );
        let config = PairConfig {
            extra: format!(
                "\n[vrrp.main.hooks]\ntransition = [\"{}\"]\ntimeout = \"60s\"\n",
                program.display()
            ),
            ..PairConfig::default()
        };
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let before = settled(&one, &said).len();
        std::fs::write(said.with_extension("hang"), "").unwrap();
        let observer = Observer::start(&lab).unwrap();
        // Three changes of lb1 each time. One hook hangs, 16 wait, the oldest of the others are dropped.
        for _ in 0..7 {
            lab.cut_cable(Host::Lb1).unwrap();
            one.wait_state("fault", LIMIT).unwrap();
            two.wait_state("active", LIMIT).unwrap();
            lab.mend_cable(Host::Lb1).unwrap();
            one.wait_state("active", LIMIT).unwrap();
        }
        let shown = hooks(&one);
        assert_eq!([&shown["waiting"], &shown["dropped"]], [16, 4], "{shown}");
        let calm = Instant::now();
        wait_until("some advertisements", LIMIT, || {
            observer.adverts(Host::Lb1.v4(), calm).len() > 20
        })
        .unwrap();
        assert_heard(&observer, Host::Lb1, &config, calm);
        std::fs::remove_file(said.with_extension("hang")).unwrap();
        wait_until("what waited has run", LIMIT, || {
            hooks(&one)["waiting"] == 0 && hooks(&one)["running"].is_null()
        })
        .unwrap();
        let told = of_lb1(&said);
        assert_eq!(told.last().unwrap(), "lb1 active", "the newest state");
        assert_eq!(told.len(), before + 1 + 16, "what was dropped was not run");
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
    });
}

#[test]
fn a_program_that_belongs_to_somebody_else_is_refused() {
    let lab = Lab::new().unwrap();
    let (program, _) = hook(&lab, "true");
    let config = PairConfig {
        extra: format!(
            "\n[vrrp.main.hooks]\ntransition = [\"{}\"]\n",
            program.display()
        ),
        ..PairConfig::default()
    };
    let node = Tandem::new(&lab, Host::Lb1, &config).unwrap();
    let path = node.config_path();
    let check = || {
        let words = ["check", "--node", "lb1", path.to_str().unwrap()];
        node.cli(&words).unwrap()
    };
    let (code, out, err) = check();
    assert_eq!(code, 0, "{out}{err}");
    std::os::unix::fs::chown(&program, Some(4711), None).unwrap();
    let (code, out, err) = check();
    assert_eq!(code, 78, "{out}{err}");
    let words = "belongs to user 4711, not to root or `tandem`";
    assert!(format!("{out}{err}").contains(words), "{out}{err}");
}

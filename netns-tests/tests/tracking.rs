//! What is tracked moves the address: scripts, files, processes, probes, groups; and what hangs moves nothing.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use common::{LIMIT, assert_heard, measured};
use netns_tests::{
    Address, Device as _, Host, Lab, Observer, PairConfig, Part, Tandem, wait_until,
};
use serde_json::Value;

/// A folder of the lab that the user of the runner can look into.
fn folder(lab: &Lab) -> PathBuf {
    let folder = lab.folder().join("tracked");
    std::fs::create_dir_all(&folder).unwrap();
    for path in [lab.folder(), &folder] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn config(track: &str) -> PairConfig {
    PairConfig {
        extra: format!("\n[vrrp.main.track]\n{track}\n"),
        ..PairConfig::default()
    }
}

/// Asserts that the address is on lb2 and that lb1 shows why, makes `repair`, and waits until lb1 has it again.
fn moved_and_back(lab: &Lab, [one, two]: [&Tandem<'_>; 2], why: &str, repair: impl FnOnce()) {
    two.wait_state("active", LIMIT).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT).unwrap();
    // On a busy machine something else that is tracked may be down for a moment, too.
    let mut shown = String::new();
    wait_until(&format!("lb1 says: {why}"), LIMIT, || {
        shown = one.cli(&["vrrp"]).unwrap().1;
        shown.contains(why)
    })
    .unwrap_or_else(|error| panic!("{error}:\n{shown}"));
    repair();
    one.wait_state("active", LIMIT).unwrap();
    lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
}

fn transitions(node: &Tandem<'_>) -> Value {
    let (_, out, _) = node.cli(&["--json", "vrrp"]).unwrap();
    let routers: Value = serde_json::from_str(&out).unwrap();
    routers[0]["transitions"].clone()
}

/// State and last words of something tracked.
fn tracked(node: &Tandem<'_>, what: &str) -> (String, String) {
    let (_, out, _) = node.cli(&["--json", "vrrp"]).unwrap();
    let routers: Value = serde_json::from_str(&out).unwrap();
    let all = routers[0]["tracked"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let one = all.iter().find(|one| one["what"] == what);
    let one = one.unwrap_or_else(|| panic!("{what} is not among {all:?}"));
    let word = |key: &str| one[key].as_str().unwrap().to_owned();
    (word("state"), word("why"))
}

#[test]
fn a_script_that_fails_moves_the_address_by_its_weight() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let full = folder(&lab).join("full");
        // The file is the same for both nodes, so the script asks where it is.
        let script = format!(
            "[ $TANDEM_NODE = lb2 ] || [ ! -e {} ] || {{ echo no room; exit 2; }}",
            full.display()
        );
        let config = config(&format!(
            "scripts = {{ disk = {{ run = [\"/bin/sh\", \"-c\", \"{script}\"], every = \"200ms\", timeout = \"150ms\", weight = -150 }} }}"
        ));
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        std::fs::write(&full, "").unwrap();
        let why = "200 - 150 script disk: exit code 2: no room = 50";
        moved_and_back(&lab, [&one, &two], why, || {
            std::fs::remove_file(&full).unwrap()
        });
        let (_, events, _) = one.cli(&["events"]).unwrap();
        assert!(events.contains("script disk"), "{events}");
    });
}

#[test]
fn scripts_that_hang_flood_and_fork_delay_nothing_and_count_as_failed() {
    measured(|| {
        let lab = Lab::new().unwrap();
        // A length that no other process sleeps for.
        let own = format!("1000.{}", std::process::id());
        let started = folder(&lab).join("started");
        std::fs::write(&started, "").unwrap();
        std::fs::set_permissions(&started, std::fs::Permissions::from_mode(0o666)).unwrap();
        let script = |name: &str, words: &str| {
            format!(
                "{name} = {{ run = [\"/bin/sh\", \"-c\", \"{words}\"], every = \"300ms\", timeout = \"200ms\", weight = -10 }}\n"
            )
        };
        let hang = format!(
            "trap '' TERM; echo run >> {}; sleep {own}1 & sleep {own}2; sleep {own}3",
            started.display()
        );
        let config = config(&format!(
            "[vrrp.main.track.scripts]\n{}{}{}",
            script("hangs", &hang),
            script("floods", "exec yes"),
            script(
                "forks",
                &format!("for i in 4 5 6 7 8 9; do sleep {own}$i & done")
            ),
        ));
        let (mut one, mut two) = Tandem::pair(&lab, &config).unwrap();
        let observer = Observer::start(&lab).unwrap();
        for (name, state) in [("hangs", "down"), ("floods", "down"), ("forks", "up")] {
            let what = format!("script {name}");
            wait_until(&what, LIMIT, || tracked(&one, &what).0 == state).unwrap();
        }
        let before = [transitions(&one), transitions(&two)];
        let began = Instant::now();
        let runs = || std::fs::read_to_string(&started).unwrap().lines().count();
        let more = runs() + 6;
        wait_until("it has hung some more times", LIMIT, || runs() >= more).unwrap();
        assert_heard(&observer, Host::Lb1, &config, began);
        assert_eq!([transitions(&one), transitions(&two)], before);
        // 200 - 10 - 10 stays above the 100 - 20 of the other node.
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        wait_until("one of them sleeps", LIMIT, || {
            (1..=9).any(|last| lives(&["sleep", &format!("{own}{last}")]))
        })
        .unwrap();
        one.stop(LIMIT).unwrap();
        two.stop(LIMIT).unwrap();
        for last in 1..=9 {
            let length = format!("{own}{last}");
            let gone = || !lives(&["sleep", &length]);
            wait_until("nothing of the scripts is left", LIMIT, gone).unwrap();
        }
    });
}

/// Whether a process with just these words runs.
fn lives(words: &[&str]) -> bool {
    let wanted: Vec<u8> = words
        .iter()
        .flat_map(|word| [word.as_bytes(), &[0]].concat())
        .collect();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| line == wanted)
}

#[test]
fn numbers_in_files_processes_and_probes_move_it_too() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let folder = folder(&lab);
        let (weight, pid) = (folder.join("weight"), folder.join("pid"));
        let config = config(&format!(
            r#"files = {{ manual = {{ path = "{}", every = "200ms" }}, stop = {{ path = "/nonexistent/stop", expect = "absent" }} }}
processes = {{ helper = {{ pid_file = "{}", every = "200ms", weight = 60 }} }}
[vrrp.main.track.probes]
client = {{ ping = "{}", every = "200ms", timeout = "150ms", rise = 1, weight = -30 }}
origin = {{ arp = "{}", every = "200ms", timeout = "150ms", rise = 1, weight = -30 }}
page = {{ http = "http://{}:{}/healthz", every = "200ms", timeout = "150ms", rise = 1, weight = -30 }}
"#,
            weight.display(),
            pid.display(),
            Host::Client.v4(),
            Host::Backend1.v4(),
            Host::Backend1.v4(),
            Address::ORIGIN,
        ));
        // What lb1 alone tracks would be the same file on one machine: so the nodes' files differ.
        let mut two = Tandem::new(&lab, Host::Lb2, &PairConfig::default()).unwrap();
        let mut one = Tandem::new(&lab, Host::Lb1, &config).unwrap();
        one.start().unwrap();
        two.start().unwrap();
        one.wait_state("active", LIMIT).unwrap();
        two.wait_state("backup", LIMIT).unwrap();
        for what in ["file stop", "probe client", "probe origin", "probe page"] {
            wait_until(what, LIMIT, || tracked(&one, what).0 == "up").unwrap();
        }
        let nodes = [&one, &two];

        std::fs::write(&weight, "-120\n").unwrap();
        let why = "200 - 120 file manual: it holds -120 = 80";
        moved_and_back(&lab, nodes, why, || {
            // A process that lives makes up for what the file takes away.
            std::fs::write(&pid, std::process::id().to_string()).unwrap();
        });
        std::fs::remove_file(&weight).unwrap();
        std::fs::remove_file(&pid).unwrap();
        wait_until("the file counts for nothing", LIMIT, || {
            one.status().unwrap()["vrrp"][0]["effective_priority"] == 200
        })
        .unwrap();

        lab.net(Host::Client).ip("link set eth0 down").unwrap();
        lab.net(Host::Backend1).ip("link set eth0 down").unwrap();
        wait_until("all three probes fail", LIMIT, || {
            one.status().unwrap()["vrrp"][0]["effective_priority"] == 110
        })
        .unwrap();
        for what in ["probe client", "probe origin", "probe page"] {
            let (state, why) = tracked(&one, what);
            assert_eq!(state, "down", "{what}");
            let words = ["no answer in 150 ms", "no way there"];
            assert!(words.iter().any(|word| why.contains(word)), "{what}: {why}");
        }
        assert_eq!(one.state(), "active", "110 is more than 100");
    });
}

#[test]
fn a_group_without_usable_targets_is_a_fault_where_the_other_node_has_some() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = config("groups = { app = { min_usable = 2 } }");
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        wait_until("the group is up", LIMIT, || {
            tracked(&one, "group app").0 == "up"
        })
        .unwrap();
        // lb1 alone loses the way to one of its origins.
        let origin = Host::Backend1.v4();
        let route = format!("route add unreachable {origin}/32");
        lab.net(Host::Lb1).ip(&route).unwrap();
        let why = "group app has 1 usable targets, 2 wanted";
        moved_and_back(&lab, [&one, &two], why, || {
            lab.net(Host::Lb1).ip(&route.replace("add", "del")).unwrap();
        });
    });
}

#[test]
fn a_runner_that_dies_moves_nothing_and_comes_back() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let stop = folder(&lab).join("stop");
        let config = config(&format!(
            "files = {{ stop = {{ path = \"{}\", expect = \"absent\", every = \"200ms\" }} }}",
            stop.display()
        ));
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        wait_until("the file is looked at", LIMIT, || {
            tracked(&one, "file stop").0 == "up"
        })
        .unwrap();
        let before = [transitions(&one), transitions(&two)];
        one.kill(Part::Runner).unwrap();
        wait_until("another runner runs", LIMIT, || {
            let (_, events, _) = one.cli(&["events"]).unwrap_or_default();
            events.matches("runs as process").count() >= 3
        })
        .unwrap();
        assert_eq!([transitions(&one), transitions(&two)], before);
        // Both nodes see the file: both are in fault, and both come back.
        std::fs::write(&stop, "").unwrap();
        one.wait_state("fault", LIMIT).unwrap();
        two.wait_state("fault", LIMIT).unwrap();
        std::fs::remove_file(&stop).unwrap();
        one.wait_state("active", LIMIT).unwrap();
    });
}

//! No text makes the reader panic, and what it reports can always be printed.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use config::{Facts, MAX_PROBLEMS, Outcome, Severity, diff, load};
use proptest::prelude::*;

fn full() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/full.toml"))
        .unwrap()
}

/// Loads, prints in every form, and checks what holds for every outcome.
fn exercise(text: &str) -> Outcome {
    let outcome = exercise_undrawn(text);
    for colour in [false, true] {
        let drawn = outcome.report.render(text, Path::new("t.toml"), colour);
        assert!(drawn.ends_with(&format!("{}\n", outcome.report.summary())));
    }
    outcome
}

/// The same without drawings, which cost far more than the rest.
fn exercise_undrawn(text: &str) -> Outcome {
    let path = Path::new("t.toml");
    let facts = Facts {
        host_name: "lb1".to_owned(),
        ..Facts::default()
    };
    let outcome = load(path, text, &facts);
    let report = &outcome.report;
    assert_eq!(
        outcome.config.is_some(),
        report.is_usable(),
        "a configuration iff there are no errors"
    );
    assert!(report.problems.len() <= MAX_PROBLEMS);
    assert!(
        report
            .problems
            .is_sorted_by_key(|problem| problem.span.start),
        "in the order of the file"
    );
    for problem in &report.problems {
        assert!(
            problem.line >= 1
                && problem.column >= 1
                && problem.line <= text.lines().count().max(1) + 1
        );
        assert!(
            text.get(problem.span.clone()).is_some(),
            "a span is text: {problem:?}"
        );
        assert!(
            !problem
                .one_line(path)
                .contains(['\n', '\r', '\u{1b}', '\u{202e}']),
            "one clean line: {problem:?}"
        );
    }
    assert_eq!(report.lines(path).lines().count(), report.problems.len());
    if let Some(config) = &outcome.config {
        assert_eq!(diff(config, config), []);
        let plan = balancer::Plan::build(config.listeners.clone(), config.groups.clone(), None);
        assert!(
            plan.is_ok(),
            "what was checked can be run: {:?}",
            plan.err()
        );
    }
    outcome
}

#[test]
fn every_truncation_of_the_full_file_is_read() {
    let text = full();
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        if end % 64 == 0 {
            exercise(&text[..end])
        } else {
            exercise_undrawn(&text[..end])
        };
    }
}

#[test]
fn every_line_of_the_full_file_can_be_missing() {
    let text = full();
    let lines: Vec<&str> = text.lines().collect();
    for skipped in 0..lines.len() {
        let mut rest = lines.clone();
        rest.remove(skipped);
        exercise(&rest.join("\n"));
    }
}

#[test]
fn awkward_texts_are_read() {
    for text in [
        "\u{feff}[pair]\r\nnodes = { lb1 = \"10.0.0.2\" }\r\n",
        "vrrp = 5\nlistener = []\ngroup = \"x\"\ndefaults = true\npair = 1.5\nglobal = 1979-05-27\n",
        "[vrrp.\"\"]\n[vrrp.\"a b\"]\n[listener.\"ü\"]\n[group.\"\\u0000\"]\n",
        "[vrrp.a]\nvips = [[[[[[[[]]]]]]]]\nunicast = {}\npriority = {}\ninterface = {}\n",
        "[[vrrp.a]]\n[[listener]]\n[[group.x.targets]]\n",
        "[listener.a]\nbind = \"ü:80\"\nforward = {}\nrule = [{ when = { not = { not = {} } } }]\n",
        "\"a\\nb\\u001b[31m\" = 1\n[group.\"x\\ny\"]\n",
        "[listener.a]\nbind = \"0.0.0.0:1\"\nforward = \"a\\r\\n\\u202eb\"\n",
        "a = \"\u{202e}\u{0000}\"",
        "x = \"\\uD800\"",
        "[listener.a.rule]\nwhen = 1\n",
        "[group.a]\ndrain = \"99999999999999999999d\"\nhealth = { every = \"18446744073709551615d\" }\n",
        "[group.a]\ndrain = \"0.0000000000000000000000000001s\"\n",
        "[group.a]\ntargets = [\"1.1.1.1:0\", \"[::]:1\", \":\", \"\", \"*\", \"%\"]\n",
    ] {
        exercise(text);
    }
}

#[test]
fn a_report_is_cut_after_fifty_problems_and_says_so() {
    let text: String = (0..70).map(|i| format!("unknown{i} = 1\n")).collect();
    let outcome = exercise(&text);
    assert_eq!(outcome.report.problems.len(), 50);
    // 70 unknown keys, and nothing to do.
    assert_eq!(outcome.report.omitted, 21);
    assert_eq!(
        outcome.report.summary(),
        "50 errors, 0 warnings, 21 more not listed."
    );
}

#[test]
fn an_error_is_never_cut_in_favour_of_a_warning() {
    let unused: String = (0..60)
        .map(|i| format!("[group.g{i}]\ntargets = [\"10.0.1.{i}:80\"]\n"))
        .collect();
    let text =
        format!("[listener.a]\nbind = \"0.0.0.0:99\"\nrespond = \"close\"\n{unused}zzz = 1\n");
    let report = exercise(&text).report;
    let errors: Vec<usize> = report
        .problems
        .iter()
        .filter(|p| p.severity == Severity::Error)
        .map(|p| p.line)
        .collect();
    assert_eq!(errors, [124]);
    assert_eq!((report.problems.len(), report.omitted), (50, 11));
}

#[test]
fn a_text_beyond_all_measure_is_refused_at_once() {
    let report = exercise(&"a = 1\n".repeat(1_500_000)).report;
    assert_eq!(
        report.lines(Path::new("t")),
        "t:1:1: error[E001]: the file is larger than 8 MiB\n"
    );
}

/// The example files that can be used, with every value in place of every other of the same file.
#[test]
fn a_difference_is_named_iff_there_is_one() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut usable = 0;
    for name in [
        "pair.toml",
        "loadbalancer.toml",
        "vrrp-only.toml",
        "keepalived-v2-peer.toml",
    ] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let facts = Facts {
            host_name: if name.starts_with("vrrp") {
                "gw1"
            } else {
                "lb1"
            }
            .to_owned(),
            ..Facts::default()
        };
        let original = load(Path::new("t"), &text, &facts).config.unwrap();
        for line in 0..lines.len() {
            for digit in '1'..='9' {
                for at in
                    (0..lines[line].len()).filter(|at| lines[line].as_bytes()[*at].is_ascii_digit())
                {
                    let mut changed: Vec<String> =
                        lines.iter().map(|line| (*line).to_owned()).collect();
                    changed[line].replace_range(at..=at, &digit.to_string());
                    let Some(mut config) = load(Path::new("t"), &changed.join("\n"), &facts).config
                    else {
                        continue;
                    };
                    config.hash.clone_from(&original.hash);
                    let same = config == original;
                    assert_eq!(
                        diff(&original, &config).is_empty(),
                        same,
                        "{name}: {}",
                        changed[line]
                    );
                    usable += usize::from(!same);
                }
            }
        }
    }
    assert!(usable > 500, "{usable} files differed and were usable");
}

/// Pieces that make syntactically plausible files.
fn piece() -> impl Strategy<Value = String> {
    let keys = "(vrrp|listener|group|pair|global|defaults|nodes|vips|bind|targets|health|rule|when|forward|tls|udp)";
    let values = prop_oneof![
        Just("\"10.0.0.1:80\"".to_owned()),
        Just("\"10.0.0.1/24\"".to_owned()),
        Just("\"5s\"".to_owned()),
        "-?[0-9]{1,20}",
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        "\"[a-z0-9.:/*#{}é-]{0,12}\"",
        "\\[\"[a-z0-9.:/]{0,9}\", [0-9]{1,3}\\]",
        "\\{ [a-z_]{1,9} = \"[a-z0-9:/]{0,9}\" \\}",
    ];
    prop_oneof![
        keys.prop_map(|key| format!("[{key}]\n")),
        (keys, "[a-z]{1,3}").prop_map(|(key, name)| format!("[{key}.{name}]\n")),
        (keys, "[a-z]", keys).prop_map(|(key, name, inner)| format!("[[{key}.{name}.{inner}]]\n")),
        (keys, values).prop_map(|(key, value)| format!("{key} = {value}\n")),
        ".{0,10}\n",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read(text in "\\PC{0,200}") {
        exercise(&text);
    }

    #[test]
    fn any_bytes_that_are_text_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        exercise(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_plausible_file_is_read(pieces in proptest::collection::vec(piece(), 0..25)) {
        exercise(&pieces.concat());
    }

    #[test]
    fn any_damage_to_the_full_file_is_read(at in 0usize..7000, len in 0usize..40, with in "\\PC{0,8}") {
        let text = full();
        let floor = |at: usize| (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let (from, to) = (floor(at), floor(at + len));
        exercise(&format!("{}{with}{}", &text[..from], &text[to..]));
    }

    #[test]
    fn any_value_in_place_of_another_is_read(line in 0usize..160, value in prop_oneof![
        Just("5"), Just("-1"), Just("\"\""), Just("[]"), Just("{}"), Just("true"), Just("1.5"), Just("\"ü\""),
        Just("[[1]]"), Just("{ a = { b = 1 } }"), Just("99999999999999999999"), Just("1979-05-27"),
    ]) {
        let text = full();
        let lines = text.lines().enumerate().map(|(index, old)| match old.split_once('=') {
            Some((key, _)) if index == line => format!("{key}= {value}\n"),
            _ => format!("{old}\n"),
        });
        exercise(&lines.collect::<String>());
    }
}

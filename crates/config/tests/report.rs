//! The forms in which a report is printed.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use config::{Facts, Report, load};

const TEXT: &str = r#"[listener.web]
bind = "0.0.0.0:80"
forward = "apii"    # é
[group.api]
targets = ["10.0.0.21:80"]
algoritm = "round_robin"
[group.old]
targets = ["10.0.0.22:80"]
"#;

fn report() -> Report {
    load(Path::new("t.toml"), TEXT, &Facts::default()).report
}

#[test]
fn lines_are_stable_and_easy_to_search() {
    let lines = report().lines(Path::new("/etc/tandem/tandem.toml"));
    assert_eq!(
        lines,
        "/etc/tandem/tandem.toml:3:11: error[E021]: listener `web` forwards to group `apii`, which does not exist; \
         closest: `api` (line 4)\n\
         /etc/tandem/tandem.toml:6:1: error[E012]: unknown key `algoritm` in [group.api]; did you mean `algorithm`?\n\
         /etc/tandem/tandem.toml:7:1: warning[E051]: group `old` is used by no listener; forward to it, or remove it\n"
    );
}

#[test]
fn drawings_point_into_the_text() {
    let drawn = report().render(TEXT, Path::new("t.toml"), false);
    let expected = "\
error[E021]: listener `web` forwards to group `apii`, which does not exist
 --> t.toml:3:11
  |
3 | forward = \"apii\"    # é
  |           ^^^^^^
  |
  = help: closest: `api` (line 4)
";
    assert!(drawn.starts_with(expected), "{drawn}");
    assert!(drawn.ends_with("\n2 errors, 1 warning.\n"), "{drawn}");
    assert!(!drawn.contains('\u{1b}'));
    assert!(
        report()
            .render(TEXT, Path::new("t.toml"), true)
            .contains("\u{1b}[")
    );
}

#[test]
fn columns_count_characters_not_bytes() {
    let text = "[listener.a]\nbind = \"0.0.0.0:99\"\nrespond = { status = 200, body = \"äöü\", boody = 1 }\n";
    let report = load(Path::new("t"), text, &Facts::default()).report;
    let place = report
        .problems
        .iter()
        .find(|p| p.key.ends_with("boody"))
        .map(|p| (p.line, p.column));
    assert_eq!(place, Some((3, 41)));
}

#[test]
fn a_clean_file_has_nothing_to_say() {
    let report = Report::default();
    assert!(report.is_usable());
    assert_eq!(
        (report.lines(Path::new("t")), report.summary()),
        (String::new(), "0 errors, 0 warnings.".to_owned())
    );
}

#[test]
fn warnings_do_not_keep_a_file_from_being_used() {
    let text = TEXT.replace("apii", "api").replace("algoritm", "algorithm");
    let outcome = load(Path::new("t"), &text, &Facts::default());
    assert_eq!(outcome.report.summary(), "0 errors, 1 warning.");
    assert!(outcome.config.is_some());
}

#[test]
fn the_machine_form_has_every_part() {
    let json = serde_json::to_value(report()).unwrap();
    assert_eq!(
        json["problems"][1],
        serde_json::json!({
            "code": "E012",
            "severity": "error",
            "line": 6,
            "column": 1,
            "key": "group.api.algoritm",
            "message": "unknown key `algoritm` in [group.api]",
            "remedy": "did you mean `algorithm`?",
            "span": { "start": 99, "end": 107 },
        })
    );
    assert_eq!(
        (&json["omitted"], &json["problems"][2]["severity"]),
        (&0.into(), &"warning".into())
    );
}

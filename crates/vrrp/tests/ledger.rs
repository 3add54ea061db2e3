//! The conformance ledger `docs/rfc9568.md` names every requirement, and only tests that exist.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names of functions marked `#[test]` below a folder.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                if line == "#[test]" {
                    marked = true;
                } else if let Some(rest) = line.strip_prefix("fn ")
                    && std::mem::take(&mut marked)
                {
                    names.insert(rest.split('(').next().unwrap().to_owned());
                }
            }
        }
    }
}

fn ledger() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rfc9568.md")).unwrap()
}

#[test]
fn every_test_named_in_the_ledger_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut names = BTreeSet::new();
    for folder in ["crates", "netns-tests"] {
        tests_below(&root.join(folder), &mut names);
    }
    let ledger = ledger();
    // Words in code marks with three underscores or more are tests; settings and paths have fewer.
    let named: BTreeSet<&str> = ledger
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() >= 3)
        .collect();
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !names.contains(**name))
        .collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
    assert!(named.len() > 60, "only {} tests are named", named.len());
}

#[test]
fn every_requirement_has_its_line() {
    let ledger = ledger();
    for number in 1..=50 {
        assert_eq!(
            ledger.matches(&format!("\n| C{number} |")).count(),
            1,
            "C{number}"
        );
    }
}

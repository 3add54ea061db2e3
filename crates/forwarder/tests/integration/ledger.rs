//! `docs/http.md` says what each awkward message gets, and names tests that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names of the test functions in the files below a folder.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let functions = text.split("#[test]").skip(1).filter_map(|after| {
                let name = after.split_once("fn ")?.1;
                Some(name.split('(').next()?.to_owned())
            });
            names.extend(functions);
        }
    }
}

#[test]
fn every_row_of_the_ledger_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = BTreeSet::new();
    for folder in ["src", "tests"] {
        tests_below(&root.join(folder), &mut names);
    }
    let ledger = fs::read_to_string(root.join("../../docs/http.md")).unwrap();
    let is_row = |line: &&str| line.starts_with("| ") && !line.contains("---");
    let mut rows = 0;
    for line in ledger.lines().filter(is_row) {
        let last = line
            .trim_end_matches([' ', '|'])
            .rsplit('|')
            .next()
            .unwrap();
        if last.trim() == "tests" {
            continue;
        }
        let tests: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {line}");
        for test in tests {
            assert!(names.contains(test), "no such test `{test}`: {line}");
        }
        rows += 1;
    }
    assert!(rows >= 85, "only {rows} rows");
}

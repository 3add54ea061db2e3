//! The rules of the workspace: which crate may use what, licences, names at the top, and the size of files.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// A crate, the crates of ours it may use, and what must be nowhere below it.
const LAYERS: [(&str, &[&str], &[&str]); 9] = [
    (
        "vrrp",
        &[],
        &[
            "tokio", "socket2", "nix", "rustix", "rand", "tracing", "log",
        ],
    ),
    (
        "balancer",
        &[],
        &[
            "tokio", "hyper", "socket2", "nix", "rustix", "rand", "tracing", "log",
        ],
    ),
    ("linux", &[], &["hyper", "toml", "httparse"]),
    (
        "forwarder",
        &["balancer"],
        &["netlink-sys", "rtnetlink", "toml", "pnet", "hyper"],
    ),
    (
        "config",
        &["vrrp", "balancer"],
        &["tokio", "socket2", "nix", "hyper"],
    ),
    ("control", &[], &["toml", "pnet", "netlink-sys", "hyper"]),
    (
        "cli",
        &["control", "config"],
        &["netlink-sys", "rtnetlink", "hyper", "httparse"],
    ),
    (
        "daemon",
        &[
            "balancer",
            "config",
            "control",
            "forwarder",
            "linux",
            "vrrp",
        ],
        &["openssl", "native-tls", "async-std"],
    ),
    ("netns-tests", &[], &["tokio"]),
];

/// The crate that alone may hold `unsafe`.
const UNSAFE_ALLOWED: &str = "linux";

const LICENCES: [&str; 13] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "CC0-1.0",
    "Unlicense",
];

const TOP: [&str; 8] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "crates",
    "netns-tests",
    "config",
    "scripts",
    "docs",
];

/// Longer files must say why in their module documentation, in a sentence that begins so.
const LONG_FILE: usize = 800;
const REASON: &str = "Long because";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options([
            "--filter-platform".into(),
            "x86_64-unknown-linux-gnu".into(),
            "--locked".into(),
        ])
        .exec()
        .unwrap()
}

/// Everything that is linked into a crate: normal dependencies, all the way down.
fn below(metadata: &Metadata, of: &Package) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let nodes: BTreeMap<&PackageId, _> =
        resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut seen: BTreeSet<&PackageId> = BTreeSet::new();
    let mut next = vec![&of.id];
    while let Some(id) = next.pop() {
        let normal = nodes[id].deps.iter().filter(|dep| {
            dep.dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal)
        });
        next.extend(normal.map(|dep| &dep.pkg).filter(|pkg| seen.insert(pkg)));
    }
    seen.iter()
        .map(|id| metadata[id].name.to_string())
        .collect()
}

#[test]
fn every_crate_uses_only_what_its_place_allows() {
    let metadata = metadata();
    let ours: BTreeSet<String> = metadata
        .workspace_packages()
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let listed: BTreeSet<String> = LAYERS
        .iter()
        .map(|(name, _, _)| (*name).to_owned())
        .collect();
    assert_eq!(
        ours, listed,
        "a crate without a place, or a place without a crate"
    );
    let mut wrong = Vec::new();
    for (name, may, must_not) in LAYERS {
        let package = metadata
            .workspace_packages()
            .into_iter()
            .find(|package| package.name == name)
            .unwrap();
        let direct = package
            .dependencies
            .iter()
            .filter(|dep| dep.kind == DependencyKind::Normal);
        for dep in direct.filter(|dep| ours.contains(&dep.name)) {
            if !may.contains(&dep.name.as_str()) {
                wrong.push(format!("{name} uses {}", dep.name));
            }
        }
        let below = below(&metadata, package);
        wrong.extend(
            must_not
                .iter()
                .filter(|bad| below.contains(**bad))
                .map(|bad| format!("{name} has {bad} below it")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn unsafe_code_is_forbidden_but_in_one_crate() {
    for package in metadata().workspace_packages() {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        let inherits = manifest.contains("[lints]\nworkspace = true");
        let may = package.name == UNSAFE_ALLOWED;
        assert!(
            inherits || may,
            "{} does not take the workspace's lints",
            package.name
        );
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""));
}

#[test]
fn every_dependency_has_a_permissive_licence() {
    let metadata = metadata();
    let used: BTreeSet<&PackageId> = metadata
        .resolve
        .as_ref()
        .unwrap()
        .nodes
        .iter()
        .map(|node| &node.id)
        .collect();
    let bad: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| used.contains(&package.id))
        .filter(|package| !package.license.as_deref().is_some_and(permissive))
        .map(|package| {
            format!(
                "{} {}: {:?}",
                package.name, package.version, package.license
            )
        })
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert!(used.len() > 50, "the whole tree was looked at");
}

/// Is one of the choices of an SPDX expression in the list? `AND` needs both sides.
fn permissive(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    parse_or(
        &mut expression
            .replace('(', " ( ")
            .replace(')', " ) ")
            .split_whitespace()
            .peekable(),
    )
}

type Words<'a, 'b> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'b>>;

fn parse_or(words: Words<'_, '_>) -> bool {
    let mut good = parse_and(words);
    while words.next_if_eq(&"OR").is_some() {
        good |= parse_and(words);
    }
    good
}

fn parse_and(words: Words<'_, '_>) -> bool {
    let mut good = parse_one(words);
    while words.next_if_eq(&"AND").is_some() {
        good &= parse_one(words);
    }
    good
}

fn parse_one(words: Words<'_, '_>) -> bool {
    let Some(word) = words.next() else {
        return false;
    };
    if word == "(" {
        let good = parse_or(words);
        return words.next() == Some(")") && good;
    }
    let mut licence = word.to_owned();
    if words.next_if_eq(&"WITH").is_some() {
        licence += " WITH ";
        licence += words.next().unwrap_or_default();
    }
    LICENCES.contains(&licence.as_str())
}

#[test]
fn licence_expressions_are_read_right() {
    assert!(permissive("MIT OR Apache-2.0"));
    assert!(permissive("MIT/Apache-2.0"));
    assert!(permissive("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(permissive("Apache-2.0 WITH LLVM-exception OR GPL-2.0"));
    assert!(!permissive("MIT AND GPL-3.0"));
    assert!(!permissive("(MIT OR ISC) AND (GPL-3.0 OR LGPL-3.0)"));
    assert!(!permissive("MIT AND (ISC"));
    assert!(!permissive(""));
}

#[test]
fn the_top_level_holds_what_the_design_names_and_no_more() {
    let found: BTreeSet<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && name != "target")
        .collect();
    assert_eq!(found, TOP.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn long_files_say_why() {
    let mut files = Vec::new();
    for folder in ["crates", "netns-tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    assert!(files.len() > 40, "only {} files found", files.len());
    let without_reason: Vec<_> = files
        .into_iter()
        .filter(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            let says_why = text
                .lines()
                .take_while(|line| line.starts_with("//!"))
                .any(|line| line.contains(REASON));
            text.lines().count() > LONG_FILE && !says_why
        })
        .collect();
    assert!(
        without_reason.is_empty(),
        "over {LONG_FILE} lines: {without_reason:#?}"
    );
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn the_tests_that_pages_name_exist() {
    let mut files = Vec::new();
    for folder in ["crates", "netns-tests"] {
        rust_files(&root().join(folder), &mut files);
    }
    let code: String = (files.iter())
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let pages = ["docs/features.md", "docs/http.md"];
    let pages = pages.map(|page| std::fs::read_to_string(root().join(page)).unwrap());
    // The last cell of each row of a table.
    let cells = pages
        .iter()
        .flat_map(|page| page.lines())
        .filter_map(|line| {
            let row = line.strip_prefix('|')?.strip_suffix('|')?;
            row.rsplit_once('|').map(|(_, last)| last)
        });
    let named: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(named.len() > 250, "only {} are named", named.len());
    let missing: Vec<_> = (named.into_iter())
        .filter(|name| !code.contains(&format!("fn {name}(")))
        .collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
}

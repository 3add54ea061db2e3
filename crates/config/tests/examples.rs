//! Every example file in `config/` is what it claims to be.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use config::{Facts, Outcome, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config")
}

fn load_example(name: &str, node: &str) -> Outcome {
    let text = fs::read_to_string(folder().join(name)).unwrap();
    let facts = Facts {
        host_name: node.to_owned(),
        ..Facts::default()
    };
    load(Path::new(name), &text, &facts)
}

#[test]
fn every_example_but_the_full_one_is_clean_on_every_node() {
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.ends_with(".toml") || name == "full.toml" {
            continue;
        }
        let nodes = if name == "vrrp-only.toml" {
            ["gw1", "gw2"]
        } else {
            ["lb1", "lb2"]
        };
        for node in nodes {
            let outcome = load_example(&name, node);
            assert_eq!(
                outcome.report.lines(Path::new(&name)),
                "",
                "{name} on {node}"
            );
            let config = outcome.config.unwrap();
            assert_eq!(config.node.as_deref(), Some(node));
        }
        seen += 1;
    }
    assert_eq!(seen, 4, "an example was added or lost");
}

#[test]
fn the_full_file_is_the_whole_shape() {
    let outcome = load_example("full.toml", "lb2");
    let lines = outcome.report.lines(Path::new("full.toml"));
    assert_eq!(lines, "");
    assert!(outcome.config.is_some());
}

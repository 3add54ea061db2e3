//! How a node finds itself in the file.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use config::{Facts, load};

const TEXT: &str = r#"
[pair]
nodes = { lb1 = "10.0.0.2", lb2 = "10.0.0.3" }
[vrrp.main]
interface = "eth0"
vrid = 51
vips = ["10.0.0.10/24"]
"#;

/// The node found, or the line that says why there is none.
fn found(
    text: &str,
    node_override: Option<&str>,
    host_name: &str,
    addresses: &[&str],
) -> Result<String, String> {
    let facts = Facts {
        node_override: node_override.map(str::to_owned),
        host_name: host_name.to_owned(),
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        file_access: false,
        ..Facts::default()
    };
    let outcome = load(Path::new("t"), text, &facts);
    outcome
        .config
        .and_then(|config| config.node)
        .ok_or_else(|| outcome.report.lines(Path::new("t")))
}

#[test]
fn by_the_name_given_then_by_host_name_then_by_address() {
    assert_eq!(
        found(TEXT, Some("lb2"), "lb1", &["10.0.0.2"]).unwrap(),
        "lb2"
    );
    assert_eq!(found(TEXT, None, "lb1", &["10.0.0.3"]).unwrap(), "lb1");
    assert_eq!(
        found(TEXT, None, "other", &["127.0.0.1", "10.0.0.3"]).unwrap(),
        "lb2"
    );
}

#[test]
fn with_or_without_the_domain() {
    assert_eq!(found(TEXT, None, "lb2.example.com", &[]).unwrap(), "lb2");
    let full = TEXT.replace("lb1 =", "\"lb1.example.com\" =");
    assert_eq!(found(&full, None, "lb1", &[]).unwrap(), "lb1.example.com");
    let twice = TEXT
        .replace("lb1 =", "\"lb.a.example\" =")
        .replace("lb2 =", "\"lb.b.example\" =");
    assert!(
        found(&twice, None, "lb", &[]).unwrap_err().contains("E020"),
        "two of that name: no guess"
    );
}

#[test]
fn a_stranger_is_told_who_is_expected() {
    assert_eq!(
        found(TEXT, None, "web7", &["10.0.0.9"]).unwrap_err(),
        "t:3:9: error[E020]: this host, `web7`, is no node in pair.nodes (lb1, lb2); write its host name there, or \
         choose one with `--node`\n"
    );
    assert_eq!(
        found(TEXT, Some("lb3"), "lb1", &[]).unwrap_err(),
        "t:3:9: error[E020]: there is no node `lb3` in pair.nodes (lb1, lb2); give one of these names with `--node`\n"
    );
}

#[test]
fn without_a_pair_the_name_given_or_the_host_name() {
    let alone = &TEXT[TEXT.find("[vrrp").unwrap()..];
    assert_eq!(found(alone, Some("a"), "b", &[]).unwrap(), "a");
    assert_eq!(found(alone, None, "b", &[]).unwrap(), "b");
    let each = alone.replace("\"eth0\"", "{ a = \"eth0\", b = \"eth1\" }");
    assert_eq!(found(&each, None, "b", &[]).unwrap(), "b");
    assert_eq!(
        found(&each, None, "c", &[]).unwrap_err(),
        "t:2:15: error[E020]: `interface` has no value for this node, `c`, and there is no [pair]; give every node a \
         value, or one value for all\n"
    );
}

#[test]
fn a_listener_may_bind_what_its_host_has_whoever_reads_the_file() {
    use config::Binds;
    let text = format!("{TEXT}[listener.x]\nbind = \"10.0.7.7:99\"\nrespond = \"close\"\n");
    let said = |addresses: &[&str], binds: Binds| {
        let facts = Facts {
            node_override: Some("lb1".to_owned()),
            addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
            binds,
            ..Facts::default()
        };
        load(Path::new("t"), &text, &facts)
            .report
            .lines(Path::new("t"))
    };
    let strange = "10.0.7.7 is neither a VIP nor an address of this node";
    assert!(said(&["10.0.0.2"], Binds::Own).contains(strange));
    assert!(said(&[], Binds::Own).contains(strange));
    // The daemon knows its host.
    assert_eq!(said(&["10.0.0.2", "10.0.7.7"], Binds::Own), "");
    // A command reads it on some host.
    let here = |address: &str| Binds::Also(vec![address.parse().unwrap()]);
    assert_eq!(said(&[], here("10.0.7.7")), "");
    assert!(said(&[], here("10.0.7.8")).contains(strange));
    // The forwarder reads what the director has judged.
    assert_eq!(said(&[], Binds::Any), "");
}

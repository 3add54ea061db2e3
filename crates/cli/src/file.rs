//! `tandem check` and `tandem diff`: what can be said of a configuration file, mostly without a daemon.

use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use config::{Change, Config, Facts, Report};
use control::client::{Client, ClientError};
use control::{ConfigText, Status, path};
use serde_json::json;

use crate::commands::Call;
use crate::exit::{Code, Failure};

/// A configuration text and where it comes from.
struct Source {
    path: PathBuf,
    text: String,
}

impl Call {
    /// Prints every problem of a file; drawn into the text for a terminal, else a line each.
    pub(crate) async fn check(
        mut self,
        file: &Path,
        node: Option<String>,
        Strictness { strict, peer }: Strictness,
    ) -> Result<Code, Failure> {
        let source = Source::read(file)?;
        let outcome = config::load(&source.path, &source.text, &facts(node));
        let differs = match (&outcome.config, peer) {
            (Some(config), true) => peer_differs(&self.client, config).await?,
            _ => None,
        };
        if self.json {
            let mut json = report_json(&source, &outcome.report, outcome.config.as_ref());
            if peer {
                json["peer"] = json!(differs);
            }
            self.output.json(&json)?;
        } else {
            self.report(&source, &outcome.report)?;
            if let Some(words) = &differs {
                let path = source.path.display();
                let line = format!("{path}: warning[E061]: {words}\n");
                self.output.screen(&line)?;
            }
            if let Some(config) = &outcome.config {
                self.output.screen(&verdict(&source, config))?;
            }
        }
        let warned = differs.is_some() || !outcome.report.problems.is_empty();
        Ok(match outcome.config.is_some() {
            true if strict && warned => Code::Fault,
            true => Code::Good,
            false => Code::Configuration,
        })
    }

    /// Prints what a file would change, against another file or against what the daemon runs.
    pub(crate) async fn diff(
        mut self,
        file: &Path,
        against: Option<&Path>,
        node: Option<String>,
    ) -> Result<Code, Failure> {
        let new = Source::read(file)?;
        let (old, facts) = match against {
            Some(other) => (Source::read(other)?, facts(node)),
            None => running(&self.client, node).await?,
        };
        let outcome = config::load(&new.path, &new.text, &facts);
        let Some(new_config) = outcome.config else {
            if self.json {
                self.output
                    .json(&report_json(&new, &outcome.report, None))?;
            } else {
                self.report(&new, &outcome.report)?;
            }
            return Ok(Code::Configuration);
        };
        let old_config = config::load(&old.path, &old.text, &facts)
            .config
            .ok_or_else(|| not_readable(&old, against))?;
        let changes = config::diff(&old_config, &new_config);
        if self.json {
            self.output.json(&json!(changes))?;
        } else {
            self.output.screen(&lines(&changes))?;
        }
        Ok(Code::Good)
    }

    fn report(&mut self, source: &Source, report: &Report) -> Result<(), Failure> {
        if report.problems.is_empty() {
            return Ok(());
        }
        if io::stdout().is_terminal() {
            let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            let drawn = report.render(&source.text, &source.path, colour);
            // Colours are control characters, so a coloured drawing goes out as it is; whose file it is, is who looks at it.
            return if colour {
                self.output.raw(drawn.as_bytes())
            } else {
                self.output.screen(&drawn)
            };
        }
        self.output.screen(&format!(
            "{}{}\n",
            report.lines(&source.path),
            report.summary()
        ))
    }
}

impl Source {
    fn read(file: &Path) -> Result<Self, Failure> {
        match std::fs::read_to_string(file) {
            Ok(text) => Ok(Self {
                path: file.to_owned(),
                text,
            }),
            Err(source) => Err(Failure::File {
                path: file.display().to_string(),
                source,
            }),
        }
    }
}

/// What more a check looks at, and how it judges.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strictness {
    /// Whether warnings count.
    pub(crate) strict: bool,
    /// Whether the file of the other node is compared.
    pub(crate) peer: bool,
}

/// Why the other node does not run this file, as the daemon here knows it; `None` if it does.
async fn peer_differs(client: &Client, config: &Config) -> Result<Option<String>, Failure> {
    let status: Status = client.get(path::STATUS).await?;
    let nodes = status.pair.map_or_else(Vec::new, |pair| pair.nodes);
    let Some(peer) = nodes.into_iter().find(|node| !node.this) else {
        return Ok(Some("this node is not one of a pair".to_owned()));
    };
    let name = peer.name;
    Ok(match peer.config_hash {
        Some(hash) if hash == config.hash => None,
        Some(hash) => Some(format!(
            "{name} runs {hash}, this file is {}; copy it there and `tandem reload` on both",
            config.hash
        )),
        None => Some(format!(
            "what {name} runs is not known; heartbeat under [pair] would tell"
        )),
    })
}

/// What the daemon runs, and the facts it reads a file with as far as they can be told from outside.
async fn running(client: &Client, node: Option<String>) -> Result<(Source, Facts), Failure> {
    let config: ConfigText = client.get(path::CONFIG).await.map_err(suggest_against)?;
    let status: Status = client.get(path::STATUS).await?;
    let its_node = status.pair.is_some().then_some(status.node);
    Ok((
        Source {
            path: config.path.into(),
            text: config.text,
        },
        facts(node.or(its_node)),
    ))
}

/// Without a daemon there is another way.
fn suggest_against(error: ClientError) -> Failure {
    match error {
        ClientError::Unreachable { .. } => Failure::NothingToCompare(error),
        other => Failure::Client(other),
    }
}

fn not_readable(old: &Source, against: Option<&Path>) -> Failure {
    let (message, remedy) = match against {
        Some(_) => (
            format!(
                "{} has errors, so there is nothing to compare with",
                old.path.display()
            ),
            "tandem check it first",
        ),
        None => (
            "the configuration that runs cannot be read by this program".to_owned(),
            "is `tandem` of the version of `tandemd`, and `--node` the one it was started with?",
        ),
    };
    Failure::Configuration {
        message,
        remedy: remedy.to_owned(),
    }
}

/// The configuration of a file that has no errors.
pub(crate) fn load(file: &Path, node: Option<String>) -> Result<Config, Failure> {
    let source = Source::read(file)?;
    let outcome = config::load(&source.path, &source.text, &facts(node));
    let errors = outcome.report.errors();
    outcome.config.ok_or_else(|| Failure::Configuration {
        message: format!("{} has {errors} errors", file.display()),
        remedy: format!("tandem check {}", file.display()),
    })
}

/// How this program finds its node: by name only. Limits of this machine play no part and its addresses are only an excuse, for a listener
/// that binds one of them, so that a file can be checked anywhere; `tandemd --check` judges them where it will run.
fn facts(node: Option<String>) -> Facts {
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Facts {
        node_override: node,
        host_name: host_name.trim().to_owned(),
        file_access: true,
        binds: config::Binds::Also(own_addresses()),
        now: Some(std::time::SystemTime::now()),
        ..Facts::default()
    }
}

/// The addresses of this machine; none if the kernel does not tell.
fn own_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let addresses = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    });
    addresses.collect()
}

fn report_json(source: &Source, report: &Report, config: Option<&Config>) -> serde_json::Value {
    json!({
        "path": source.path.display().to_string(),
        "usable": config.is_some(),
        "hash": config.map(|config| &config.hash),
        "node": config.and_then(|config| config.node.as_ref()),
        "problems": report.problems,
        "omitted": report.omitted,
    })
}

/// `tandem.toml: good (8f3a17c0ffee, read as lb1): 1 vrrp, 2 listeners, 1 group`
fn verdict(source: &Source, config: &Config) -> String {
    let counted =
        |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let node = config
        .node
        .as_ref()
        .map_or(String::new(), |node| format!(", read as {node}"));
    format!(
        "{}: good ({}{node}): {}, {}, {}\n",
        source.path.display(),
        config.hash,
        counted(config.vrrp.len(), "virtual router"),
        counted(config.listeners.len(), "listener"),
        counted(config.groups.len(), "group"),
    )
}

fn lines(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "nothing would change\n".to_owned();
    }
    changes.iter().map(|change| format!("{change}\n")).collect()
}

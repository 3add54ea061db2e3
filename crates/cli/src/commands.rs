//! The commands that ask the daemon: fetch, print, judge. How it looks is in [`crate::screen`].

mod explain;
mod metrics;
pub(crate) mod orders;
mod pair;
mod reload;
mod sessions;
mod top;
mod why;

use std::time::{Duration, SystemTime};

use clap::CommandFactory;
use clap_complete::Shell;
use control::client::Client;
use control::{
    Event, HandoverRequest, HandoverResult, Overall, Status, Timestamp, VrrpDetail, path,
};
use serde_json::Value;

use crate::args::{Args, Since};
use crate::exit::{Code, Failure};
use crate::output::Output;
use crate::screen;

pub(crate) use reload::InForce;

/// A handover waits up to two advertisement intervals of at most 41 s each.
const HANDOVER_LIMIT: Duration = Duration::from_secs(120);

/// One call of the program: whom to ask, where and how to print.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) client: Client,
    pub(crate) output: Output,
    pub(crate) json: bool,
}

impl Call {
    pub(crate) fn new(args: &Args, output: Output) -> Self {
        Self {
            client: Client::new(&args.socket),
            output,
            json: args.json,
        }
    }

    pub(crate) async fn status(mut self) -> Result<Code, Failure> {
        let (status, raw): (Status, Value) = self.get(path::STATUS).await?;
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output.screen(&screen::status(&status, now()))?;
        }
        Ok(match status.state {
            Overall::Good => Code::Good,
            Overall::Degraded => Code::Degraded,
            Overall::NoService => Code::NoService,
        })
    }

    pub(crate) async fn vrrp(mut self, name: Option<&str>) -> Result<Code, Failure> {
        let (mut routers, mut raw): (Vec<VrrpDetail>, Value) = self.get(path::VRRP).await?;
        if let Some(name) = name {
            let known = routers.iter().map(|router| router.status.name.as_str());
            must_be_known("virtual router", name, known)?;
            routers.retain(|router| router.status.name == name);
            retain(&mut raw, name);
        }
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output.screen(&screen::vrrp(&routers, now()))?;
        }
        Ok(Code::Good)
    }

    pub(crate) async fn targets(mut self, group: Option<&str>) -> Result<Code, Failure> {
        let (mut status, mut raw): (Status, Value) = self.get(path::STATUS).await?;
        let mut raw = raw["groups"].take();
        if let Some(name) = group {
            must_be_known(
                "group",
                name,
                status.groups.iter().map(|group| group.name.as_str()),
            )?;
            status.groups.retain(|group| group.name == name);
            retain(&mut raw, name);
        }
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output
                .screen(&screen::targets(&status.groups, now()))?;
        }
        Ok(Code::Good)
    }

    pub(crate) async fn certificates(mut self) -> Result<Code, Failure> {
        let (status, mut raw): (Status, Value) = self.get(path::STATUS).await?;
        if self.json {
            // A node without certificates does not list them.
            let list = raw["certificates"].take();
            self.output.json(&if list.is_null() {
                Value::Array(Vec::new())
            } else {
                list
            })?;
        } else {
            let screen = screen::certificates(&status.certificates, now());
            self.output.screen(&screen)?;
        }
        Ok(Code::Good)
    }

    pub(crate) async fn rules(mut self, listener: Option<&str>) -> Result<Code, Failure> {
        let (mut status, mut raw): (Status, Value) = self.get(path::STATUS).await?;
        let mut raw = raw["listeners"].take();
        if let Some(name) = listener {
            let known = status.listeners.iter();
            let known = known.map(|listener| listener.name.as_str());
            must_be_known("listener", name, known)?;
            status.listeners.retain(|listener| listener.name == name);
            retain(&mut raw, name);
        }
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output.screen(&screen::rules(&status.listeners))?;
        }
        Ok(Code::Good)
    }

    pub(crate) async fn events(
        mut self,
        follow: bool,
        since: Option<Since>,
    ) -> Result<Code, Failure> {
        let (number, earliest) = match since {
            None => (0, None),
            Some(Since::Number(number)) => (number, None),
            Some(Since::Time(time)) => (0, Some(time)),
            Some(Since::Age(age)) => (0, Some(before(now(), age))),
        };
        let wanted = |event: &Event| earliest.is_none_or(|earliest| event.at >= earliest);
        if follow {
            return self
                .follow(&format!("{}?since={number}&follow=1", path::EVENTS), wanted)
                .await;
        }
        let (events, raw): (Vec<Event>, Value) = self
            .get(&format!("{}?since={number}", path::EVENTS))
            .await?;
        if self.json {
            let raw = raw.as_array().into_iter().flatten();
            let kept = raw
                .zip(&events)
                .filter(|(_, event)| wanted(event))
                .map(|(raw, _)| raw.clone());
            self.output.json(&kept.collect())?;
        } else {
            let lines: String = events
                .iter()
                .filter(|event| wanted(event))
                .map(screen::event)
                .collect();
            self.output.screen(&lines)?;
        }
        Ok(Code::Good)
    }

    /// Prints events as they come; ends only with a failure.
    async fn follow(
        mut self,
        path: &str,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Code, Failure> {
        let mut lines = self.client.stream::<Value>(path).await?;
        while let Some(raw) = lines.next().await? {
            let event: Event = self.client.read(&raw)?;
            if !wanted(&event) {
                continue;
            }
            if self.json {
                self.output.json_line(&raw)?;
            } else {
                self.output.screen(&screen::event(&event))?;
            }
        }
        Err(Failure::StreamEnded)
    }

    pub(crate) async fn handover(mut self, name: Option<String>) -> Result<Code, Failure> {
        let client = self.client.clone().answer_within(HANDOVER_LIMIT);
        let raw: Value = client
            .post(path::HANDOVER, &HandoverRequest { name })
            .await?;
        let result: HandoverResult = client.read(&raw)?;
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output.screen(&screen::handover(&result))?;
        }
        Ok(if result.handed_over {
            Code::Good
        } else {
            Code::Fault
        })
    }

    pub(crate) fn completion(mut self, shell: Shell) -> Result<Code, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Args::command(), "tandem", &mut script);
        self.output.raw(&script)?;
        Ok(Code::Good)
    }

    /// The answer as its type and as it came: `--json` shows fields this program does not know, too.
    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<(T, Value), Failure> {
        let raw: Value = self.client.get(path).await?;
        Ok((self.client.read(&raw)?, raw))
    }
}

/// Keeps of a JSON list the objects of one name.
fn retain(list: &mut Value, name: &str) {
    if let Value::Array(entries) = list {
        entries.retain(|entry| entry["name"] == name);
    }
}

fn must_be_known<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a str>,
) -> Result<(), Failure> {
    let mut known: Vec<&str> = known.collect();
    known.dedup();
    if known.contains(&name) {
        return Ok(());
    }
    let list = if known.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there is: {}", known.join(", "))
    };
    Err(Failure::Usage(format!("no {what} `{name}`; {list}")))
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    let millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}

//! `tandem why`: the story of a change of state, or what became of a target.

use control::{Event, Recording, RecordingSummary, Status, path};
use serde_json::{Value, json};

use super::{Call, must_be_known, now};
use crate::exit::{Code, Failure};
use crate::screen;

impl Call {
    /// Tells the story of one change, the last one unless named.
    pub(crate) async fn why(mut self, which: Option<&str>, all: bool) -> Result<Code, Failure> {
        let path = match which {
            None | Some("master" | "active") => path::WHY.to_owned(),
            Some(which) if which.parse::<u64>().is_ok() => format!("{}?seq={which}", path::WHY),
            Some(name) => {
                let known = self.get::<Vec<RecordingSummary>>(path::RECORDINGS).await?.0;
                let names = known.iter().rev().map(|summary| summary.name.as_str());
                must_be_known("recording of", name, names)?;
                let seq = known
                    .iter()
                    .rev()
                    .find(|summary| summary.name == name)
                    .map_or(0, |summary| summary.seq);
                format!("{}?seq={seq}", path::WHY)
            }
        };
        let (recording, raw): (Recording, Value) = self.get(&path).await?;
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output.screen(&screen::why(&recording, all, now()))?;
        }
        Ok(Code::Good)
    }

    /// Lists the stories there are.
    pub(crate) async fn recordings(mut self) -> Result<Code, Failure> {
        let (list, raw): (Vec<RecordingSummary>, Value) = self.get(path::RECORDINGS).await?;
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output.screen(&screen::recordings(&list, now()))?;
        }
        Ok(Code::Good)
    }

    /// Tells how a target stands, and what happened to it.
    pub(crate) async fn why_target(mut self, named: &str) -> Result<Code, Failure> {
        let (status, raw): (Status, Value) = self.get(path::STATUS).await?;
        let place = (status.groups.iter().enumerate()).find_map(|(group, known)| {
            let target = named.strip_prefix(&known.name)?.strip_prefix('/')?;
            let index = known.targets.iter().position(|one| one.name == target)?;
            Some((group, index))
        });
        let Some((group, index)) = place else {
            let known: Vec<String> = (status.groups.iter())
                .flat_map(|group| {
                    let name =
                        |target: &control::TargetStatus| format!("{}/{}", group.name, target.name);
                    group.targets.iter().map(name)
                })
                .collect();
            must_be_known("target", named, known.iter().map(String::as_str))?;
            return Ok(Code::Usage);
        };
        let subject = format!("target {named}");
        let (events, raw_events): (Vec<Event>, Value) = self.get(path::EVENTS).await?;
        if self.json {
            let all = raw_events.as_array().into_iter().flatten();
            let own: Vec<&Value> = all.filter(|event| event["subject"] == *subject).collect();
            let target = &raw["groups"][group]["targets"][index];
            self.output
                .json(&json!({"target": target, "events": own}))?;
        } else {
            let own: Vec<Event> = (events.into_iter())
                .filter(|event| event.subject == subject)
                .collect();
            let target = &status.groups[group].targets[index];
            let screen = screen::why_target(named, target, &own, now());
            self.output.screen(&screen)?;
        }
        Ok(Code::Good)
    }
}

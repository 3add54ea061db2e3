//! `tandem reload`: the order, and with `--wait` the look at what the forwarder serves by it.

use std::time::{Duration, Instant};

use control::{ForwarderState, ReloadOutcome, ReloadRequest, ReloadResult, Status, path};
use serde_json::{Value, json};

use super::Call;
use crate::exit::{Code, Failure};
use crate::screen;

/// A reload may bind sockets and read certificates, and wait for the one before it: longer than the daemon itself waits.
const RELOAD_LIMIT: Duration = Duration::from_secs(45);
/// How long a forwarder that is being started may take until it serves.
const IN_FORCE_LIMIT: Duration = Duration::from_secs(60);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);

/// What was found of the forwarder after a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InForce {
    /// Whether what was ordered is what clients meet.
    pub(crate) yes: bool,
    /// How long it was waited for.
    pub(crate) took: Duration,
    /// What serves, or why it does not.
    pub(crate) words: String,
}

impl Call {
    /// Has the file read again. With `wait` it goes on until the forwarder serves what is in it.
    pub(crate) async fn reload(mut self, wait: bool) -> Result<Code, Failure> {
        let client = self.client.clone().answer_within(RELOAD_LIMIT);
        let mut raw: Value = client.post(path::RELOAD, &ReloadRequest {}).await?;
        let result: ReloadResult = client.read(&raw)?;
        let code = match result.outcome {
            ReloadOutcome::Applied | ReloadOutcome::Unchanged => Code::Good,
            ReloadOutcome::Refused => Code::Configuration,
            ReloadOutcome::Failed => Code::Fault,
        };
        let in_force = match (wait, code) {
            (true, Code::Good) => Some(self.in_force(result.generation).await?),
            _ => None,
        };
        if self.json {
            if let Some(in_force) = &in_force {
                raw["in_force"] = json!(in_force.yes);
                raw["in_force_ms"] = json!(in_force.took.as_millis() as u64);
                raw["forwarder"] = json!(in_force.words);
            }
            self.output.json(&raw)?;
        } else {
            let mut text = screen::reload(&result);
            if let Some(in_force) = &in_force {
                text.push_str(&screen::in_force(in_force));
            }
            self.output.screen(&text)?;
        }
        Ok(match in_force {
            Some(InForce { yes: false, .. }) => Code::Fault,
            Some(_) | None => code,
        })
    }

    /// Waits until the forwarder serves this generation, or the one after it.
    async fn in_force(&self, generation: u64) -> Result<InForce, Failure> {
        let began = Instant::now();
        loop {
            let status = self.get::<Status>(path::STATUS).await?.0;
            let (yes, words) = serves(&status, generation);
            let took = began.elapsed();
            if yes || took >= IN_FORCE_LIMIT {
                return Ok(InForce { yes, took, words });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Whether the forwarder serves a generation, and what there is to say of it.
fn serves(status: &Status, generation: u64) -> (bool, String) {
    let forwarder = &status.forwarder;
    let state = forwarder.state.as_str();
    match (forwarder.state, forwarder.generation) {
        (ForwarderState::Off, _) => (true, "no listener is configured".to_owned()),
        (ForwarderState::Running, Some(serves)) if serves >= generation => {
            let (usable, total) = (status.groups.iter()).fold((0, 0), |(usable, total), group| {
                (usable + group.usable, total + group.total)
            });
            let listeners = counted(status.listeners.len(), "listener");
            let words = format!(
                "the forwarder serves generation {serves}: {listeners}, {usable} of {total} targets usable"
            );
            (true, words)
        }
        (_, Some(serves)) => {
            let words = format!("the forwarder is {state} and serves generation {serves}");
            (false, words)
        }
        (_, None) => {
            // The first is the worst: why it does not.
            let why = status.problems.first();
            let why = why.map_or(String::new(), |problem| format!(": {problem}"));
            let words = format!("the forwarder is {state} and serves nothing yet{why}");
            (false, words)
        }
    }
}

/// `1 listener`, `2 listeners`
fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_in_force_when_the_forwarder_serves_it() {
        let text = include_str!("../../../control/tests/recorded/status.json");
        let mut status: Status = serde_json::from_str(text).unwrap();
        let mut judged = |state, generation| {
            (status.forwarder.state, status.forwarder.generation) = (state, generation);
            serves(&status, 3)
        };
        let running = ForwarderState::Running;
        assert_eq!(
            judged(running, Some(3)),
            (
                true,
                "the forwarder serves generation 3: 2 listeners, 2 of 3 targets usable".to_owned()
            )
        );
        assert!(judged(running, Some(4)).0, "somebody has reloaded since");
        assert!(!judged(running, Some(2)).0);
        assert!(judged(ForwarderState::Off, None).0);
        let (yes, words) = judged(ForwarderState::Starting, Some(3));
        let expected = "the forwarder is starting and serves generation 3";
        assert_eq!((yes, words.as_str()), (false, expected));
        let (yes, words) = judged(ForwarderState::Down, None);
        assert!(!yes);
        let why = words.strip_prefix("the forwarder is down and serves nothing yet: ");
        assert_eq!(why, status.problems.first().map(String::as_str));
    }
}

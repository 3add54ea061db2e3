//! Questions for the forwarder that somebody waits for: passed on and forgotten, answered when the answer comes.
//!
//! The director never waits. Whoever asked stops listening after a while; its place is then given to the next.

use std::collections::BTreeMap;

use control::ErrorAnswer;
use control::internal::ToForwarder;
use serde_json::Value;
use tokio::sync::oneshot;

use super::Director;

/// Questions under way at once.
const LIMIT: usize = 32;

/// Where an answer goes.
pub(super) type Answer = oneshot::Sender<Result<Value, NoAnswer>>;

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// There is nobody to ask.
    Nobody(ErrorAnswer),
    /// The question makes no sense.
    Senseless(ErrorAnswer),
}

/// Questions that were passed on.
#[derive(Default)]
pub(super) struct Questions {
    asked: u64,
    waiting: BTreeMap<u64, Answer>,
}

impl Director {
    /// Passes a question on. `remedy`: what to do while there is nobody to answer it.
    pub(super) fn on_question(
        &mut self,
        question: impl FnOnce(u64) -> ToForwarder,
        answer: Answer,
        remedy: &'static str,
    ) {
        let questions = &mut self.questions;
        questions.waiting.retain(|_, answer| !answer.is_closed());
        let refusal = if questions.waiting.len() >= LIMIT {
            ("too many questions at once", "ask again in a moment")
        } else {
            questions.asked += 1;
            let id = questions.asked;
            if self.plane.ask(question(id)) {
                questions.waiting.insert(id, answer);
                return;
            }
            ("no forwarder runs", remedy)
        };
        let (error, remedy) = refusal;
        // Whoever asked may have gone.
        drop(answer.send(Err(NoAnswer::Nobody(ErrorAnswer {
            error: error.to_owned(),
            remedy: Some(remedy.to_owned()),
        }))));
    }

    /// The forwarder has answered.
    pub(super) fn on_answered(&mut self, id: u64, result: Result<Value, ErrorAnswer>) {
        if let Some(answer) = self.questions.waiting.remove(&id) {
            drop(answer.send(result.map_err(NoAnswer::Senseless)));
        }
    }
}

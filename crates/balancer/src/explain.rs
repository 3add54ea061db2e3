//! Why a request goes where it goes: what rules and groups would decide, told without deciding anything.
//!
//! Nothing here counts, takes a turn or a place. Live traffic goes by [`Listener::route`] and [`crate::Group::try_pick`]; these
//! words are made of the same conditions and the same standings.

use std::sync::Arc;

use crate::listener::{Listener, Rule};
use crate::normal::{Ambiguous, Reading, normalise};
use crate::rule::{Condition, RequestView};
use crate::target::Target;

/// What a rule says about a request.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'l> {
    /// The rule.
    pub rule: &'l Arc<Rule>,
    /// The first of its conditions that does not hold; `None` if all do.
    pub fails: Option<&'l Condition>,
}

/// What a group says about one of its targets at a moment.
#[derive(Clone, Debug)]
pub struct Candidate<'g> {
    /// The target.
    pub target: &'g Arc<Target>,
    /// Whether it can be chosen.
    pub chance: Chance,
    /// Why, in words: `healthy`, `check fails`, `ordered to drain`.
    pub why: &'static str,
}

/// Whether a target can be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chance {
    /// It can, by the group's algorithm.
    Candidate,
    /// It could, but has as much to do as it may have.
    Full,
    /// Only when those who are better have failed for the request, or are gone.
    Later,
    /// Only by clients that are bound to it.
    BoundOnly,
    /// It cannot.
    Never,
}

impl Chance {
    /// The word used on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Candidate => "candidate",
            Self::Full => "full",
            Self::Later => "later",
            Self::BoundOnly => "bound only",
            Self::Never => "no",
        }
    }
}

impl Listener {
    /// What each rule says, in their order, up to and with the first that the request meets.
    ///
    /// # Errors
    /// If the path can be understood in two ways.
    pub fn judge(&self, view: &RequestView<'_>) -> Result<Vec<Judged<'_>>, Ambiguous> {
        let mut room = String::new();
        let path = normalise(view.path, Reading::STRICT, &mut room)?;
        let view = RequestView { path, ..*view };
        let mut judged = Vec::new();
        for rule in self.rules() {
            let mut when = rule.settings().when.iter();
            let fails = when.find(|condition| !condition.holds(&view));
            judged.push(Judged { rule, fails });
            if fails.is_none() {
                break;
            }
        }
        Ok(judged)
    }
}

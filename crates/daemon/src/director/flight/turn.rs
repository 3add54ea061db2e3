//! From what goes into the core of a virtual router, and what comes out, to facts worth keeping.

use std::time::Instant;

use control::What;
use vrrp::{Action, Event, Timer};

use crate::director::seat::Seat;

use super::lane::{Lane, micros, millis};
use crate::director::tracking::Verdict;

impl Lane {
    /// Tracking has come to another verdict; a fault is told by its event.
    pub(in crate::director) fn verdict(&mut self, now: Instant, old: &Verdict, new: &Verdict) {
        if old.contributions == new.contributions {
            return;
        }
        let terms: Vec<String> = new
            .contributions
            .iter()
            .map(|term| match term.cap {
                Some(cap) => format!("{} (at most {cap})", term.what),
                None => format!("{} ({:+})", term.what, term.delta),
            })
            .collect();
        let words = if terms.is_empty() {
            "tracking: nothing moves the priority any more".to_owned()
        } else {
            format!("tracking: {}", terms.join(", "))
        };
        self.note(now, What::Happened { words });
    }

    /// An event is about to be handled. A timer that ran out is told by [`Lane::actions`], if anything comes of it.
    pub(in crate::director) fn event(&mut self, now: Instant, event: &Event) {
        let words = match event {
            Event::Timer => return,
            Event::Advertisement {
                source, accepted, ..
            } => {
                let interval = accepted.interval().as_duration();
                return self.heard(now, *source, accepted.priority().value(), interval);
            }
            Event::Claimed => return self.note(now, What::Claimed),
            Event::Startup => "told to start".to_owned(),
            Event::Resume => "told to go on where the process before left off".to_owned(),
            Event::Pause(Some(interval)) => format!("told to announce a pause: {interval}"),
            Event::Pause(None) => "told that there is no pause".to_owned(),
            Event::Shutdown => "told to stop".to_owned(),
            Event::Handover => "told to hand over".to_owned(),
            Event::PriorityChanged(priority) => format!("priority after tracking is {priority}"),
            Event::SourceChanged {
                family,
                source: Some(source),
            } => format!("advertises over {family} from {source}"),
            Event::SourceChanged {
                family,
                source: None,
            } => format!("has no address to advertise from over {family}"),
            Event::Fault(reason) => format!("fault: {reason}"),
            Event::FaultCleared => "no fault any more".to_owned(),
            Event::ClaimFailed(why) => format!("the kernel did not take the addresses: {why}"),
            Event::AddressLost(why) => format!("an address is lost: {why}"),
            Event::SendFailed(why) => why.clone(),
            Event::Reconfigure(_) => "a reload changed its settings".to_owned(),
        };
        self.note(now, What::Happened { words });
    }

    /// An event has been handled by `router`; `due` is the timer that ran out, if that was the event.
    pub(in crate::director) fn actions(
        &mut self,
        now: Instant,
        due: Option<Timer>,
        actions: &[&Action],
        router: &Seat,
    ) {
        let routine = actions
            .iter()
            .all(|action| matches!(action, Action::Send(_)));
        if let Some(timer) = due.filter(|timer| !routine && timer.at <= now) {
            self.note(
                now,
                What::Timer {
                    name: timer.name.to_owned(),
                    late_us: micros(now - timer.at),
                },
            );
        }
        for action in actions {
            self.action(now, action, router);
        }
    }

    fn action(&mut self, now: Instant, action: &Action, router: &Seat) {
        let what = match action {
            Action::Send(advertisement) => {
                return self.sent(
                    now,
                    advertisement.family,
                    advertisement.priority.value(),
                    advertisement.interval.as_duration(),
                );
            }
            Action::Claim => {
                self.note(now, decision(router));
                What::Claim
            }
            Action::Release => What::Release,
            Action::Announce(why) => What::Announce {
                why: why.as_str().to_owned(),
            },
            Action::Transition(transition) => {
                self.divide(now);
                What::Transition {
                    from: transition.from.as_str().to_owned(),
                    to: transition.to.as_str().to_owned(),
                    reason: transition.reason.to_string(),
                }
            }
            Action::Alarm(alarm) => What::Alarm {
                words: alarm.words.clone(),
            },
            Action::HandedOver => What::Happened {
                words: "handed over".to_owned(),
            },
            Action::HandoverFailed(why) => What::Happened {
                words: format!("not handed over: {why}"),
            },
            Action::StopAnnouncing | Action::Stopped => return,
        };
        self.note(now, what);
    }
}

/// What the core knows at the moment it decides.
fn decision(router: &Seat) -> What {
    let status = router.status();
    What::Decision {
        why: status.why,
        priority: status.effective_priority.value(),
        interval_ms: millis(status.advert_interval.as_duration()),
        learned_interval_ms: status
            .learned_interval
            .map(|interval| millis(interval.as_duration())),
        down_interval_us: micros(status.down_interval),
        skew_us: micros(status.skew),
    }
}

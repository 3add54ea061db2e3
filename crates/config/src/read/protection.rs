//! `outlier`, `retry`, `slow_start` and `limits` of a group or of `[defaults.group]`.

use std::time::Duration;

use balancer::{GroupSettings, OutlierSettings, RetrySettings, TargetLimits};

use crate::Code;
use crate::tree::{Item, Place, Section};

/// The keys that were written; what is missing comes from the defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct ProtectionDraft {
    outlier: OutlierDraft,
    retry: RetryDraft,
    /// Zero for off.
    slow_start: Option<Duration>,
    limits: LimitsDraft,
}

#[derive(Clone, Copy, Debug, Default)]
struct OutlierDraft {
    on: Option<bool>,
    consecutive_errors: Option<u32>,
    count_5xx: Option<bool>,
    eject: Option<Duration>,
    max_ejected: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RetryDraft {
    tries: Option<u32>,
    budget: Option<u8>,
}

#[derive(Clone, Debug, Default)]
struct LimitsDraft {
    /// 0 for none.
    per_target: Option<u32>,
    queue: Option<u32>,
    queue_for: Option<Duration>,
    /// Where the queue is written.
    queue_place: Option<Place>,
}

impl ProtectionDraft {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let outlier = section.get("outlier").map(|item| outlier(&item));
        let retry = section.get("retry").map(|item| retry(&item));
        let limits = section.get("limits").map(|item| limits(&item));
        let longest = Duration::from_secs(3600);
        let slow_start = section.get("slow_start").and_then(|item| {
            if item.is_off() {
                return Some(Duration::ZERO);
            }
            item.duration_in(Duration::ZERO..=longest)
        });
        Self {
            outlier: outlier.unwrap_or_default(),
            retry: retry.unwrap_or_default(),
            slow_start,
            limits: limits.unwrap_or_default(),
        }
    }

    /// What this says, completed by `defaults`.
    pub(super) fn over(self, defaults: &ProtectionDraft) -> Self {
        let (outlier, retry, limits) = (self.outlier, self.retry, self.limits);
        let usual = defaults.clone();
        Self {
            outlier: OutlierDraft {
                on: outlier.on.or(usual.outlier.on),
                consecutive_errors: outlier
                    .consecutive_errors
                    .or(usual.outlier.consecutive_errors),
                count_5xx: outlier.count_5xx.or(usual.outlier.count_5xx),
                eject: outlier.eject.or(usual.outlier.eject),
                max_ejected: outlier.max_ejected.or(usual.outlier.max_ejected),
            },
            retry: RetryDraft {
                tries: retry.tries.or(usual.retry.tries),
                budget: retry.budget.or(usual.retry.budget),
            },
            slow_start: self.slow_start.or(usual.slow_start),
            limits: LimitsDraft {
                per_target: limits.per_target.or(usual.limits.per_target),
                queue: limits.queue.or(usual.limits.queue),
                queue_for: limits.queue_for.or(usual.limits.queue_for),
                queue_place: limits.queue_place,
            },
        }
    }

    /// Warns of a queue for which there is no limit.
    pub(super) fn check(&self, section: &Section<'_>) {
        if let (None | Some(0), Some(place)) = (self.limits.per_target, &self.limits.queue_place) {
            let message = "nobody ever waits, because `per_target` is not given";
            let remedy = "add per_target = 500, or remove the line".to_owned();
            section
                .found()
                .warning(Code::Unused, place, message, remedy);
        }
    }

    /// Writes into the settings what was written, and leaves the rest at its default.
    pub(super) fn apply(&self, settings: &mut GroupSettings) {
        let usual = OutlierSettings::default();
        let outlier = &self.outlier;
        settings.outlier = outlier.on.unwrap_or(true).then(|| OutlierSettings {
            consecutive_errors: outlier
                .consecutive_errors
                .unwrap_or(usual.consecutive_errors),
            count_5xx: outlier.count_5xx.unwrap_or(usual.count_5xx),
            eject: outlier.eject.unwrap_or(usual.eject),
            max_ejected: outlier.max_ejected.unwrap_or(usual.max_ejected),
        });
        let usual = RetrySettings::default();
        settings.retry = RetrySettings {
            tries: self.retry.tries.unwrap_or(usual.tries),
            budget: self.retry.budget.unwrap_or(usual.budget),
        };
        settings.slow_start = self.slow_start.filter(|length| !length.is_zero());
        let usual = TargetLimits::default();
        let limits = &self.limits;
        settings.limits = TargetLimits {
            per_target: limits.per_target.filter(|limit| *limit > 0),
            queue: limits.queue.unwrap_or(usual.queue),
            queue_for: limits.queue_for.unwrap_or(usual.queue_for),
        };
    }
}

fn outlier(item: &Item<'_>) -> OutlierDraft {
    if item.is_off() {
        return OutlierDraft {
            on: Some(false),
            ..OutlierDraft::default()
        };
    }
    let form = "\"off\" or a table like { consecutive_errors = 5 }";
    let Some(section) = item.section_or(form) else {
        return OutlierDraft::default();
    };
    let errors = section.get("consecutive_errors");
    let eject = section.get("eject");
    let lengths = Duration::from_secs(1)..=Duration::from_secs(86_400);
    let draft = OutlierDraft {
        on: Some(true),
        consecutive_errors: errors.and_then(|item| item.number(1..=10_000)),
        count_5xx: section.get("count_5xx").and_then(|item| item.boolean()),
        eject: eject.and_then(|item| item.duration_in(lengths)),
        max_ejected: section.get("max_ejected").and_then(|item| item.percent()),
    };
    section.finish();
    draft
}

fn retry(item: &Item<'_>) -> RetryDraft {
    if item.is_off() {
        return RetryDraft {
            tries: Some(0),
            budget: None,
        };
    }
    let Some(section) = item.section_or("\"off\" or a table like { tries = 1 }") else {
        return RetryDraft::default();
    };
    let draft = RetryDraft {
        tries: section.get("tries").and_then(|item| item.number(0..=10)),
        budget: section.get("budget").and_then(|item| item.percent()),
    };
    section.finish();
    draft
}

fn limits(item: &Item<'_>) -> LimitsDraft {
    if item.is_off() {
        return LimitsDraft {
            per_target: Some(0),
            ..LimitsDraft::default()
        };
    }
    let form = "\"off\" or a table like { per_target = 500 }";
    let Some(section) = item.section_or(form) else {
        return LimitsDraft::default();
    };
    let per_target = section.get("per_target");
    let (queue, queue_for) = (section.get("queue"), section.get("queue_for"));
    let times = Duration::from_millis(1)..=Duration::from_secs(3600);
    let queue_place = queue.as_ref().or(queue_for.as_ref()).map(Item::key_place);
    let draft = LimitsDraft {
        per_target: per_target.and_then(|item| item.number(1..=1_000_000)),
        queue: queue.and_then(|item| item.number(0..=1_000_000)),
        queue_for: queue_for.and_then(|item| item.duration_in(times)),
        queue_place,
    };
    section.finish();
    draft
}

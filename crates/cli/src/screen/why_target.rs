//! `tandem why target`: how a target stands, and the chain of what happened to it.

use control::{Event, TargetStatus, Timestamp};

use super::targets::state_words;
use super::words::{age, flow, sentence};

/// Events shown, the latest ones.
const SHOWN: usize = 20;

/// The screen of `tandem why target`.
pub(crate) fn why_target(
    name: &str,
    target: &TargetStatus,
    events: &[Event],
    now: Timestamp,
) -> String {
    let since = target
        .since
        .map_or(String::new(), |since| format!(" {}", age(since, now)));
    let mut out = flow(
        name,
        2,
        &[
            format!("  {}{since}", state_words(target)),
            format!("check {}", target.check.as_str()),
            format!("traffic {}", target.passive.as_str()),
            format!("order {}", target.order.as_str()),
            format!("weight {}", target.weight),
        ],
    );
    if let Some(why) = &target.why {
        out.push_str(&sentence("  ", 4, why));
    }
    out.push('\n');
    if events.is_empty() {
        out.push_str("nothing has happened to it that the journal remembers\n");
    }
    let left_out = events.len().saturating_sub(SHOWN);
    if left_out > 0 {
        out.push_str(&format!("{left_out} earlier ones: tandem events\n"));
    }
    for event in &events[left_out..] {
        let change = match (&event.from, &event.to) {
            (Some(from), Some(to)) => format!("{from} -> {to}: "),
            (None, Some(to)) => format!("-> {to}: "),
            (Some(_) | None, None) => String::new(),
        };
        let head = format!("{:>6} ago  ", age(event.at, now));
        let reason = event.reason.replace('\n', " ");
        out.push_str(&sentence(&head, 12, &format!("{change}{reason}")));
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use control::EventKind;

    #[test]
    fn a_target_is_told_with_what_happened_to_it() {
        let text = include_str!("../../../control/tests/recorded/status.json");
        let mut status: control::Status = serde_json::from_str(text).unwrap();
        let now = Timestamp::from_millis(1_000_000);
        let mut target = status.groups[0].targets.remove(1);
        target.since = Some(Timestamp::from_millis(877_000));
        let event = |at, from: Option<&str>, to: Option<&str>, reason: &str| Event {
            seq: 1,
            at: Timestamp::from_millis(at),
            node: "lb1".to_owned(),
            subject: "target app/10.0.0.22:8080".to_owned(),
            from: from.map(ToOwned::to_owned),
            to: to.map(ToOwned::to_owned),
            reason: reason.to_owned(),
            kind: EventKind::Health,
        };
        let events = [
            event(100_000, None, None, "drain ordered by alice: disk swap"),
            event(877_000, Some("up"), Some("down"), "connect refused 3/3"),
        ];
        let expected = "\
app/10.0.0.22:8080  down 2m03s  check down  traffic off  order ready  weight 1
  connect refused

15m00s ago  drain ordered by alice: disk swap
 2m03s ago  up -> down: connect refused 3/3
";
        let screen = why_target("app/10.0.0.22:8080", &target, &events, now);
        assert_eq!(screen, expected, "got:\n{screen}");
        let screen = why_target("app/10.0.0.22:8080", &target, &[], now);
        assert!(screen.ends_with("journal remembers\n"));
    }
}

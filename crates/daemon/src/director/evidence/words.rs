//! What `tandem vrrp` shows of the evidence.

use std::time::Instant;

use super::{Evidence, show};

impl Evidence {
    /// Everything there is, in words.
    pub(in crate::director) fn words(
        &self,
        now: Instant,
        link: &str,
        frames: Option<u64>,
    ) -> Vec<String> {
        let mut words: Vec<String> = self.obstacle().into_iter().collect();
        if let (None, Some((address, answer))) = (&self.held, self.fresh(now)) {
            words.push(format!("{address} answers at {}", show(answer.mac)));
        }
        if self.probes > 0 && self.answers.is_empty() {
            words.push(format!(
                "nobody answered {} probes for the addresses",
                self.probes
            ));
        }
        if let Some((address, answer)) = &self.last_conflict {
            words.push(format!(
                "{} claims of our addresses by others, the last of {address} by {} {} s ago",
                self.conflicts,
                show(answer.mac),
                (now - answer.at).as_secs()
            ));
        }
        if let (Some(gateway), Some(since)) = (self.gateway, self.active_since) {
            words.push(match gateway.answered {
                Some(took) => format!(
                    "the gateway {} answered {} ms after the takeover",
                    gateway.address,
                    took.as_millis()
                ),
                None => format!(
                    "the gateway {} has not answered in the {} s since the takeover",
                    gateway.address,
                    (now - since).as_secs()
                ),
            });
        }
        if let Some(since) = self.active_since.filter(|_| self.is_quiet(frames)) {
            words.push(format!(
                "{link} has received nothing in the {} s since the takeover",
                (now - since).as_secs()
            ));
        }
        if let (Some(before), Some(frames)) = (self.frames_at_start, frames) {
            words.push(match frames.saturating_sub(before) {
                0 => format!("{link} has received nothing at all since the start: deaf, or alone"),
                count => format!("{link} has received {count} frames since the start"),
            });
        }
        words
    }
}

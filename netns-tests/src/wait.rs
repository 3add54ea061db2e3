//! Waiting for facts instead of sleeping for a guess.

use std::time::{Duration, Instant};

/// How often a fact is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `fact` holds and says how long that took; `what` is the sentence of the error after `limit`.
///
/// # Errors
/// When `limit` has passed and the fact still does not hold.
pub fn wait_until(
    what: &str,
    limit: Duration,
    mut fact: impl FnMut() -> bool,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    loop {
        if fact() {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() >= limit {
            anyhow::bail!("waited {limit:?} in vain for: {what}");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Like [`wait_until`] for a value: returns the first `Some`.
///
/// # Errors
/// When `limit` has passed and there is still `None`.
pub fn within<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let mut found = None;
    wait_until(what, limit, || {
        found = look();
        found.is_some()
    })?;
    found.ok_or_else(|| anyhow::anyhow!("found and lost: {what}"))
}

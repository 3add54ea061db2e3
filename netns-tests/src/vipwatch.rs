//! Which node held an address when.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::lab::{Host, Lab};
use crate::namespace::holds;

/// How often a node's addresses are read.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// A span in which a node held the address, as far as looking each 4 ms can tell; `to` is `None` while it lasts.
#[derive(Clone, Copy, Debug)]
struct Span {
    host: Host,
    from: Instant,
    to: Option<Instant>,
}

/// Looks at both nodes' addresses until dropped.
#[derive(Debug)]
pub struct VipWatch {
    stop: Arc<AtomicBool>,
    spans: Arc<Mutex<Vec<Span>>>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl VipWatch {
    /// Begins to watch `address` on both nodes.
    ///
    /// # Errors
    /// When a namespace cannot be entered.
    pub fn start(lab: &Lab, address: impl Into<IpAddr>) -> anyhow::Result<VipWatch> {
        let address = address.into();
        let mut watch = VipWatch {
            stop: Arc::default(),
            spans: Arc::default(),
            threads: Vec::new(),
        };
        for host in [Host::Lb1, Host::Lb2] {
            let (stop, spans) = (Arc::clone(&watch.stop), Arc::clone(&watch.spans));
            watch.threads.push(lab.net(host).thread("lab-vip", move || {
                look(host, address, &stop, &spans);
                Ok(())
            })?);
        }
        Ok(watch)
    }

    /// What was seen up to this moment.
    pub fn log(&self) -> VipLog {
        VipLog {
            spans: self
                .spans
                .lock()
                .map(|spans| spans.clone())
                .unwrap_or_default(),
            at: Instant::now(),
        }
    }
}

impl Drop for VipWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn look(host: Host, address: IpAddr, stop: &AtomicBool, spans: &Mutex<Vec<Span>>) {
    let mut mine: Option<usize> = None;
    while !stop.load(Ordering::Relaxed) {
        let held = holds(address);
        if held != mine.is_some()
            && let Ok(mut spans) = spans.lock()
        {
            match mine.take() {
                Some(index) => spans[index].to = Some(Instant::now()),
                None => {
                    mine = Some(spans.len());
                    spans.push(Span {
                        host,
                        from: Instant::now(),
                        to: None,
                    });
                }
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The spans seen by a [`VipWatch`].
#[derive(Clone, Debug)]
pub struct VipLog {
    spans: Vec<Span>,
    at: Instant,
}

impl VipLog {
    /// The longest time after `since` in which both nodes held the address.
    pub fn longest_overlap(&self, since: Instant) -> Duration {
        let of = |host| self.spans.iter().filter(move |span| span.host == host);
        of(Host::Lb1)
            .flat_map(|one| of(Host::Lb2).map(move |two| (one, two)))
            .map(|(one, two)| {
                let from = one.from.max(two.from).max(since);
                let to = one.to.unwrap_or(self.at).min(two.to.unwrap_or(self.at));
                to.saturating_duration_since(from)
            })
            .max()
            .unwrap_or_default()
    }

    /// When `host` lost the address for the first time after `since`, counted from `since`.
    pub fn lost_after(&self, host: Host, since: Instant) -> Option<Duration> {
        let ends = self
            .spans
            .iter()
            .filter(|span| span.host == host)
            .filter_map(|span| span.to);
        ends.filter(|to| *to >= since)
            .min()
            .map(|to| to.duration_since(since))
    }

    /// When `host` got the address for the first time after `since`, counted from `since`.
    pub fn gained_after(&self, host: Host, since: Instant) -> Option<Duration> {
        let begins = self
            .spans
            .iter()
            .filter(|span| span.host == host)
            .map(|span| span.from);
        begins
            .filter(|from| *from >= since)
            .min()
            .map(|from| from.duration_since(since))
    }

    /// How many times any node got the address after `since`.
    pub fn gains(&self, since: Instant) -> usize {
        self.spans.iter().filter(|span| span.from >= since).count()
    }
}

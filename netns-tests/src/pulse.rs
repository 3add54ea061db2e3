//! How long the machine itself stood still: what a measurement on a borrowed machine has to know before it blames a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// From one beat to the next.
const BEAT: Duration = Duration::from_millis(5);

/// A thread on each core that wakes each 5 ms, and notes how late it was at worst. Dropping it ends them.
#[derive(Debug)]
pub struct Pulse {
    stop: Arc<AtomicBool>,
    worst_us: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Pulse {
    /// Begins to beat on every core this process may use.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start() -> anyhow::Result<Pulse> {
        let mut pulse = Pulse {
            stop: Arc::default(),
            worst_us: Arc::default(),
            threads: Vec::new(),
        };
        for core in cores()? {
            let (stop, worst) = (Arc::clone(&pulse.stop), Arc::clone(&pulse.worst_us));
            let thread = std::thread::Builder::new().name("lab-pulse".into());
            pulse
                .threads
                .push(thread.spawn(move || beat(core, &stop, &worst))?);
        }
        Ok(pulse)
    }

    /// The longest any core has not run a thread that was due, since the start.
    pub fn worst(&self) -> Duration {
        Duration::from_micros(self.worst_us.load(Ordering::Relaxed))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn cores() -> anyhow::Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let all = 0..CpuSet::count();
    Ok(all
        .filter(|core| allowed.is_set(*core).unwrap_or(false))
        .collect())
}

fn beat(core: usize, stop: &AtomicBool, worst_us: &AtomicU64) {
    let mut only = CpuSet::new();
    // A core that was taken away meanwhile is left to the others.
    if only.set(core).is_err() || sched_setaffinity(Pid::from_raw(0), &only).is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) {
        let due = Instant::now() + BEAT;
        std::thread::sleep(BEAT);
        let late = due.elapsed().as_micros();
        worst_us.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

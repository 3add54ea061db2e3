//! A node under test.

mod frr;
mod keepalived;
mod tandem;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

pub use frr::{Frr, frr_config};
pub use keepalived::{Keepalived, keepalived_config};
pub use tandem::Tandem;
pub(crate) use tandem::program;

use crate::lab::Host;
use crate::process::{alive, pid_of};
use crate::wait::wait_until;

/// For processes that were killed to be gone.
const LIMIT: Duration = Duration::from_secs(30);

/// A part of a node that can die or hang by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The process the operator starts: `tandemd` itself, or Keepalived's parent.
    Keeper,
    /// Who speaks VRRP: Tandem's director, or Keepalived's VRRP child.
    Director,
    /// The data plane: Tandem's forwarder, or the HAProxy beside Keepalived.
    Forwarder,
    /// Tandem's runner; Keepalived has none.
    Runner,
    /// All of them.
    All,
}

/// A node of the pair, whichever product runs on it.
pub trait Device {
    /// The product's name for reports.
    fn product(&self) -> &'static str;

    /// The host it runs on.
    fn host(&self) -> Host;

    /// Starts it. It need not be ready when this returns.
    ///
    /// # Errors
    /// When its program cannot be started or it runs already.
    fn start(&mut self) -> anyhow::Result<()>;

    /// Asks it to leave (SIGTERM) and waits until it has; returns the moment of the signal.
    ///
    /// # Errors
    /// When it is not running, or has not ended within `limit`.
    fn stop(&mut self, limit: Duration) -> anyhow::Result<Instant>;

    /// The process ids of a part, parents first.
    fn pids(&self, part: Part) -> Vec<u32>;

    /// What it has logged so far.
    fn log(&self) -> Vec<String>;

    /// Orders it to give the address to the other node; the moment just before, or `None` if the product has no such
    /// order.
    ///
    /// # Errors
    /// When the order was refused.
    fn handover(&self) -> anyhow::Result<Option<Instant>> {
        Ok(None)
    }

    /// Sends a signal to a part and returns the moment just before.
    ///
    /// # Errors
    /// When there is no such process.
    fn signal(&self, part: Part, signal: Signal) -> anyhow::Result<Instant> {
        let pids = self.pids(part);
        anyhow::ensure!(
            !pids.is_empty(),
            "no {part:?} runs on {}",
            self.host().name()
        );
        let moment = Instant::now();
        for pid in pids {
            kill(pid_of(pid), signal)?;
        }
        Ok(moment)
    }

    /// Kills a part (SIGKILL) and returns the moment just before. Several processes are stopped first: one that saw
    /// another die could still act on it, and a node that dies whole has nobody left for that. Parents die last: the
    /// death of one orphans its process group, and the kernel continues what is stopped in it. What was stopped is dead on return.
    ///
    /// # Errors
    /// When there is no such process.
    fn kill(&self, part: Part) -> anyhow::Result<Instant> {
        if part == Part::All {
            let moment = self.signal(part, Signal::SIGSTOP)?;
            let pids = self.pids(part);
            for pid in pids.iter().rev() {
                kill(pid_of(*pid), Signal::SIGKILL)?;
            }
            wait_until("all of them are dead", LIMIT, || {
                !pids.iter().any(|pid| alive(*pid))
            })?;
            return Ok(moment);
        }
        self.signal(part, Signal::SIGKILL)
    }

    /// Stops a part in its tracks (SIGSTOP) and returns the moment just before.
    ///
    /// # Errors
    /// When there is no such process.
    fn freeze(&self, part: Part) -> anyhow::Result<Instant> {
        self.signal(part, Signal::SIGSTOP)
    }

    /// Lets a frozen part go on (SIGCONT) and returns the moment just before.
    ///
    /// # Errors
    /// When there is no such process.
    fn thaw(&self, part: Part) -> anyhow::Result<Instant> {
        self.signal(part, Signal::SIGCONT)
    }
}

//! Everything the director's loop can be woken by, as one list.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use control::internal::{FromForwarder, FromKeeper};
use linux::address::{Address, Kernel, Link};
use linux::channel::AsyncChannel;
use linux::monitor::{Change, Monitor};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use super::addresses::Outcome;
use super::certificates::Found;
use super::load::Loaded;
use super::overrides::Kept;
use super::second_path::SecondPath;
use super::server::Request;
use super::watchers::Watchers;
use super::wires::{WireKey, Wires};
use crate::runner::FromRunner;

/// One thing that happened.
pub(super) enum Input {
    /// A deadline has passed, or there was nothing in what came.
    Due,
    /// Packets are waiting on a wire.
    Packets(WireKey),
    /// Somebody claims addresses on the link of this index.
    Claims(u32),
    /// The peer says something on the second path.
    Heartbeat,
    /// A link or an address has changed.
    Change(Change),
    /// The kernel has listed everything again, or has not.
    Listed(Option<Listed>),
    /// An order about addresses has been carried out.
    Outcome(u64, Outcome),
    /// The keeper says something.
    Keeper(FromKeeper, Vec<OwnedFd>),
    /// The keeper is gone.
    KeeperGone,
    /// SIGTERM: from the kernel when the keeper has died, or from a person.
    Terminate,
    /// The forwarder on this stream says something.
    Plane(u64, FromForwarder),
    /// The runner on this stream says something.
    Runner(u64, FromRunner),
    /// Somebody asks on the control socket.
    Request(Request),
    /// The configuration has been read again.
    Loaded(std::io::Result<Box<Loaded>>),
    /// The disk has taken the orders that stand, or not.
    Kept(Kept),
    /// Files of certificates have changed.
    Certificates(Vec<Found>),
}

/// All links and addresses.
pub(super) struct Listed {
    pub(super) links: Vec<Link>,
    pub(super) addresses: Vec<Address>,
}

/// Where the tasks and threads beside the loop send what they have.
pub(super) struct Handles {
    pub(super) listed: mpsc::Sender<Option<Listed>>,
    pub(super) loaded: mpsc::Sender<std::io::Result<Box<Loaded>>>,
}

impl Handles {
    /// Asks the kernel for everything; the answer comes as [`Input::Listed`].
    pub(super) fn list(&self, kernel: Rc<Kernel>) {
        let listed = self.listed.clone();
        tokio::task::spawn_local(async move {
            let answer = list(&kernel).await.inspect_err(|error| {
                let error = super::addresses::words(error);
                tracing::warn!(error, "links and addresses not listed");
            });
            // The director may have ended meanwhile.
            drop(listed.send(answer.ok()).await);
        });
    }
}

/// Lets a link that has its carrier back ask again for the neighbours it asked for in vain.
pub(super) fn forget_unanswered(kernel: Rc<Kernel>, ifindex: u32) {
    tokio::task::spawn_local(async move {
        if let Err(error) = kernel.forget_unanswered(ifindex).await {
            tracing::debug!(
                error = super::addresses::words(&error),
                "unanswered neighbours stay"
            );
        }
    });
}

/// All links and addresses, from the kernel.
pub(super) async fn list(kernel: &Kernel) -> Result<Listed, linux::address::AddressError> {
    Ok(Listed {
        links: kernel.links().await?,
        addresses: kernel.addresses().await?,
    })
}

/// The receiving ends of everything.
pub(super) struct Sources {
    pub(super) monitor: Monitor,
    pub(super) keeper: Rc<AsyncChannel>,
    pub(super) terminate: Signal,
    pub(super) outcomes: mpsc::UnboundedReceiver<(u64, Outcome)>,
    pub(super) plane: mpsc::Receiver<(u64, FromForwarder)>,
    pub(super) runner: mpsc::Receiver<(u64, FromRunner)>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) listed: mpsc::Receiver<Option<Listed>>,
    pub(super) loaded: mpsc::Receiver<std::io::Result<Box<Loaded>>>,
    pub(super) kept: mpsc::Receiver<Kept>,
    pub(super) certificates: mpsc::Receiver<Vec<Found>>,
}

/// Waits for the next input, fairly among all that wait, until `deadline` at the latest.
pub(super) async fn next(
    sources: &mut Sources,
    wires: &Wires,
    watchers: &Watchers,
    second_path: &SecondPath,
    deadline: Instant,
) -> Input {
    let Sources {
        monitor,
        keeper,
        terminate,
        outcomes,
        plane,
        runner,
        requests,
        listed,
        loaded,
        kept: disk,
        certificates,
    } = sources;
    tokio::select! {
        () = tokio::time::sleep_until(deadline.into()) => Input::Due,
        key = wires.readable() => Input::Packets(key),
        ifindex = watchers.readable() => Input::Claims(ifindex),
        () = second_path.readable() => Input::Heartbeat,
        change = monitor.next() => Input::Change(change),
        message = keeper.receive() => kept(message),
        _ = terminate.recv() => Input::Terminate,
        Some((number, outcome)) = outcomes.recv() => Input::Outcome(number, outcome),
        Some((link, message)) = plane.recv() => Input::Plane(link, message),
        Some((link, message)) = runner.recv() => Input::Runner(link, message),
        Some(request) = requests.recv() => Input::Request(request),
        Some(answer) = listed.recv() => Input::Listed(answer),
        Some(answer) = loaded.recv() => Input::Loaded(answer),
        Some(answer) = disk.recv() => Input::Kept(answer),
        Some(found) = certificates.recv() => Input::Certificates(found),
    }
}

fn kept(message: std::io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>>) -> Input {
    match message {
        Ok(Some((bytes, fds))) => match serde_json::from_slice(&bytes) {
            Ok(message) => Input::Keeper(message, fds),
            Err(error) => {
                tracing::warn!(%error, "the keeper said something this director does not know");
                Input::Due
            }
        },
        Ok(None) | Err(_) => Input::KeeperGone,
    }
}

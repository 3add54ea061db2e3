//! What the streams of one client and its connection share.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::cause::Cause;
use crate::http;
use crate::http2::conduit::Conduit;
use crate::http2::core::{Core, Limits};
use crate::http2::lane::Lanes;
use crate::listener::Admission;
use crate::stream::Stream;
use crate::tls::facts::Facts;
use crate::worker::Worker;

/// A client that speaks HTTP/2.
pub(crate) struct Client {
    /// What the connections of this thread share.
    pub(crate) worker: Rc<Worker>,
    /// Its place among the connections of its listener.
    pub(crate) admission: Admission,
    peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// How the connection is encrypted, if it is.
    pub(crate) facts: Option<Rc<Facts>>,
    /// What its streams are served in.
    pub(crate) lanes: Lanes,
    core: RefCell<Core>,
    /// Wakes the connection.
    waker: RefCell<Option<Waker>>,
    /// It was woken.
    woken: Cell<bool>,
    closed: Cell<bool>,
}

impl Client {
    /// One that has just come.
    pub(crate) fn new(
        worker: Rc<Worker>,
        (peer, local): (SocketAddr, SocketAddr),
        admission: Admission,
        facts: Option<Rc<Facts>>,
    ) -> Self {
        let limits = {
            let current = admission.listener().current.load();
            let limits = &current.settings().limits;
            Limits {
                streams: limits.streams,
                header_bytes: limits.header_bytes,
            }
        };
        let core = Core::new(limits, worker.request_id(), Instant::now());
        Self {
            worker,
            admission,
            peer,
            local,
            facts,
            lanes: Lanes::default(),
            core: RefCell::new(core),
            waker: RefCell::new(None),
            woken: Cell::new(false),
            closed: Cell::new(false),
        }
    }

    /// Has the protocol do something, and the connection look what came of it.
    pub(crate) fn with_core<R>(&self, work: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.core.borrow_mut();
        let done = work(&mut core);
        if !core.out().is_empty()
            && !self.woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
        done
    }

    /// The protocol, for the connection itself.
    pub(crate) fn core(&self) -> std::cell::RefMut<'_, Core> {
        self.core.borrow_mut()
    }

    /// The connection looks: from here on it is to be woken by this.
    pub(crate) fn looks(&self, waker: &Waker) {
        self.woken.set(false);
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Serves what comes through the conduit as a connection of this client.
    pub(crate) fn serve(&self, conduit: Conduit) -> impl Future<Output = ()> + use<> {
        let ends = (self.peer, self.local);
        let admission = self.admission.part();
        let stream = Stream::Conduit(conduit);
        http::connection::serve(Rc::clone(&self.worker), stream, ends, admission, None)
    }

    /// How long the client may take nothing of an answer.
    pub(crate) fn body_idle(&self) -> Duration {
        let current = self.admission.listener().current.load();
        current.settings().timeouts.body_idle
    }

    /// True once the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The connection has ended.
    pub(crate) fn close(&self) {
        self.closed.set(true);
    }

    /// An answer was not taken.
    pub(crate) fn note_left(&self) {
        self.note(Cause::ClientGone, "answer not taken");
    }

    /// Counts a connection that had to be ended, and logs that at most once a second.
    pub(crate) fn note_cut(&self, cause: Cause, detail: &str) {
        self.note(cause, detail);
        if self.worker.cuts.is_due(Instant::now()) {
            let listener = &self.name();
            let reason = cause.as_str();
            tracing::info!(listener, reason, detail, "http/2 client cut off");
        }
    }

    /// Counts and logs what did not go well.
    pub(crate) fn note(&self, cause: Cause, detail: &str) {
        self.admission.listener().causes.count(cause);
        let listener = &self.name();
        tracing::debug!(listener, client = %self.peer, reason = cause.as_str(), detail, "http/2");
    }

    fn name(&self) -> String {
        let current = self.admission.listener().current.load();
        current.settings().name.clone()
    }
}

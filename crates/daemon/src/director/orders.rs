//! What the control socket asks for, answered from the loop.

use std::time::Instant;

use control::internal::ToForwarder;
use control::{
    ConfigText, ErrorAnswer, EventKind, HandoverRequest, HandoverResult, HandoverRouter,
};
use tokio::sync::oneshot;
use vrrp::{Event, State};

use super::Director;
use super::journal::Entry;
use super::server::Request;

/// A handover under way.
pub(super) struct Handover {
    began_at: Instant,
    answer: oneshot::Sender<Result<HandoverResult, ErrorAnswer>>,
    leaving: Vec<String>,
    routers: Vec<HandoverRouter>,
}

impl Director {
    /// Answers one request. Whoever asked may have gone: an answer that nobody takes is dropped.
    pub(super) fn on_request(&mut self, now: Instant, request: Request) {
        match request {
            Request::Refresh(done) => {
                if self.plane.ask(ToForwarder::Snapshot) {
                    self.figures.waiting.push(done);
                }
            }
            Request::Status(answer) => drop(answer.send(self.status(now))),
            Request::Pair(answer) => drop(answer.send(self.pair_report(now))),
            Request::Vrrp(answer) => drop(answer.send(self.vrrp_details(now))),
            Request::Config(answer) => drop(answer.send(self.config_text())),
            Request::Events { since, answer } => {
                drop(answer.send((self.journal.since(since), self.journal.follow())))
            }
            Request::Recordings(answer) => drop(answer.send(self.recorder.list())),
            Request::Why { wanted, answer } => drop(answer.send(self.recording(&wanted))),
            Request::Metrics(answer) => drop(answer.send(self.metrics(now))),
            Request::Reload(answer) => self.begin_reload(now, Some(answer)),
            Request::Order { order, by, answer } => self.on_order(now, (order, by), answer),
            Request::Explain { question, answer } => {
                let ask = |id| ToForwarder::Explain { id, question };
                self.on_question(ask, answer, "ask a file: --config FILE");
            }
            Request::Sessions { request, answer } => {
                let ask = |id| ToForwarder::Sessions { id, request };
                self.on_question(ask, answer, "`tandem status` says why");
            }
            Request::Kill {
                request,
                by,
                answer,
            } => {
                let words = format!("end of {} ordered by {by}", few(&request.sessions));
                self.journal
                    .record(Entry::new(EventKind::Order, "sessions", words));
                let ask = |id| ToForwarder::Kill { id, request };
                self.on_question(ask, answer, "`tandem status` says why");
            }
            Request::Overrides(answer) => drop(answer.send(self.overrides_status())),
            Request::Simulate { what, answer } => self.simulate(now, &what, answer),
            Request::Restart(answer) => self.begin_restart(now, Some(answer)),
            Request::Handover { order, answer } => self.begin_handover(now, &order, answer),
        }
    }

    fn config_text(&self) -> ConfigText {
        ConfigText {
            path: self.running.path.display().to_string(),
            hash: self.running.config.hash.clone(),
            text: self.running.text.clone(),
        }
    }

    pub(super) fn begin_handover(
        &mut self,
        now: Instant,
        order: &HandoverRequest,
        answer: oneshot::Sender<Result<HandoverResult, ErrorAnswer>>,
    ) {
        let names = match self.handover_candidates(order) {
            Ok(names) => names,
            Err(refusal) => return drop(answer.send(Err(refusal))),
        };
        self.journal.record(Entry::new(
            EventKind::Order,
            "handover",
            format!("ordered for {}", names.join(", ")),
        ));
        self.handover = Some(Handover {
            began_at: now,
            answer,
            leaving: names.clone(),
            routers: Vec::new(),
        });
        for name in names {
            let Some(index) = self.index_of(&name) else {
                continue;
            };
            let notices = self.instances[index].handle(now, Event::Handover, &self.wires);
            self.on_notices(notices);
        }
    }

    /// The virtual routers an order is about, or why it cannot be followed.
    fn handover_candidates(&self, order: &HandoverRequest) -> Result<Vec<String>, ErrorAnswer> {
        let refuse = |error: String, remedy: &str| {
            Err(ErrorAnswer {
                error,
                remedy: Some(remedy.to_owned()),
            })
        };
        if self.handover.is_some() {
            return refuse("a handover is under way".to_owned(), "wait for it to end");
        }
        if let Some(name) = &order.name
            && self.index_of(name).is_none()
        {
            return refuse(
                format!("there is no virtual router `{name}`"),
                "`tandem vrrp` lists them",
            );
        }
        // Who is in a group moves with it.
        let group = |name: &str| {
            self.index_of(name)
                .and_then(|index| self.instances[index].router.group())
        };
        let with = order.name.as_deref().and_then(group);
        let wanted = |name: &str| {
            let asked = order.name.as_deref();
            asked.is_none_or(|only| only == name || (with.is_some() && group(name) == with))
        };
        let active = self
            .instances
            .iter()
            .filter(|instance| instance.state() == State::Active && !instance.departing);
        let names: Vec<String> = active
            .map(|instance| instance.config.name.clone())
            .filter(|name| wanted(name))
            .collect();
        if names.is_empty() {
            return refuse(
                "this node is not active".to_owned(),
                "run it on the node that is: `tandem status` shows which",
            );
        }
        Ok(names)
    }

    fn index_of(&self, name: &str) -> Option<usize> {
        self.instances
            .iter()
            .position(|instance| !instance.departing && instance.config.name == *name)
    }

    /// One virtual router has been handed over, or is still here.
    pub(super) fn on_handover_end(&mut self, name: &str, failed: Option<String>) {
        let peer = self.index_of(name).and_then(|index| {
            self.instances[index]
                .router
                .status()
                .peer
                .map(|peer| peer.address)
        });
        let Some(handover) = &mut self.handover else {
            return;
        };
        handover.leaving.retain(|leaving| leaving != name);
        handover.routers.push(HandoverRouter {
            name: name.to_owned(),
            handed_over: failed.is_none(),
            to: peer.filter(|_| failed.is_none()),
            took_ms: handover.began_at.elapsed().as_millis() as u64,
            reason: failed,
        });
        if handover.leaving.is_empty() {
            self.end_handover();
        }
    }

    fn end_handover(&mut self) {
        let Some(Handover {
            began_at,
            answer,
            routers,
            ..
        }) = self.handover.take()
        else {
            return;
        };
        let handed_over = routers.iter().all(|router| router.handed_over);
        let reason = routers.iter().find_map(|router| router.reason.clone());
        let to = routers
            .iter()
            .find_map(|router| router.to)
            .map(|address| self.name_of_peer(address));
        let words = reason
            .clone()
            .unwrap_or_else(|| format!("handed over to {}", to.as_deref().unwrap_or("the peer")));
        self.journal
            .record(Entry::new(EventKind::Order, "handover", words));
        let took_ms = began_at.elapsed().as_millis() as u64;
        drop(answer.send(Ok(HandoverResult {
            handed_over,
            took_ms,
            to,
            reason,
            routers,
        })));
    }

    /// The name of the node with this address, or of the only other node, or else the address itself.
    pub(super) fn name_of_peer(&self, address: std::net::IpAddr) -> String {
        let pair = self.running.config.pair.as_ref();
        let named = pair.and_then(|pair| pair.nodes.iter().find(|node| node.address == address));
        let only = || {
            pair.filter(|pair| pair.nodes.len() == 2)
                .and_then(|pair| pair.others().next())
        };
        named
            .or_else(only)
            .map_or_else(|| address.to_string(), |node| node.name.clone())
    }
}

/// `0.17, 1.3 and 7 more`
fn few(names: &[String]) -> String {
    const NAMED: usize = 20;
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

//! A client of HTTP/2 by prior knowledge that asks without a pause, and does what RFC 9113 §6.8 says when it is told to leave: what the
//! other end has not taken it asks again on another connection.
//!
//! curl is no use here: since 7.88, until 8.0, it begins HTTP/2 anew with the second request of such a connection, whoever serves it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;

use netns_tests::{Host, Lab};

use crate::frames::*;

/// Requests under way at once.
const AT_ONCE: u32 = 8;

/// A client that asks on and on.
pub(crate) struct Clear {
    thread: JoinHandle<anyhow::Result<()>>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

impl Clear {
    /// Asks this address for `path`.
    pub(crate) fn start(lab: &Lab, address: IpAddr, path: String) -> Clear {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = lab.net(Host::Client).thread("clear", move || {
            while !stopped.load(SeqCst) {
                let raw = Raw::connect(SocketAddr::new(address, 8081));
                converse(raw, &path, (&stopped, &counted))?;
            }
            Ok(())
        });
        Clear {
            thread: thread.unwrap(),
            stop,
            done,
        }
    }

    /// Requests that were answered with 200.
    pub(crate) fn done(&self) -> usize {
        self.done.load(SeqCst)
    }

    /// Requests that were answered; fails if there was another one.
    pub(crate) fn end(self) -> anyhow::Result<usize> {
        self.stop.store(true, SeqCst);
        self.thread.join().unwrap()?;
        Ok(self.done.load(SeqCst))
    }
}

/// Asks on one connection until it is told to leave, or to stop.
fn converse(
    mut raw: Raw,
    path: &str,
    (stop, done): (&AtomicBool, &AtomicUsize),
) -> anyhow::Result<()> {
    let [method, scheme, authority, _] = REQUEST;
    let request = [method, scheme, authority, (":path", path.as_bytes())];
    let (mut first, mut leaving) = (1, false);
    while !leaving && !stop.load(SeqCst) {
        let mut asked: BTreeSet<u32> = (0..AT_ONCE).map(|number| first + 2 * number).collect();
        first += 2 * AT_ONCE;
        let heads = asked
            .iter()
            .flat_map(|stream| headers(*stream, WHOLE, &request));
        // If it is too late for that, the reason is still to be read.
        raw.try_send(heads.collect::<Vec<u8>>());
        while !asked.is_empty() {
            let Some(frame) = raw.next() else {
                anyhow::bail!("the connection ended under {asked:?}, leaving: {leaving}");
            };
            match frame.kind {
                HEADERS => anyhow::ensure!(frame.status() == 200, "status {}", frame.status()),
                DATA if !frame.payload.is_empty() => {
                    raw.try_send(window_update(0, frame.payload.len() as u32));
                }
                RST_STREAM if frame.number(0) == REFUSED_STREAM => {
                    asked.remove(&frame.stream);
                }
                RST_STREAM => anyhow::bail!("reset with {}", frame.number(0)),
                GOAWAY => {
                    anyhow::ensure!(frame.number(4) == NO_ERROR, "told {}", frame.number(4));
                    leaving = true;
                    asked.retain(|stream| *stream <= frame.number(0));
                }
                SETTINGS if frame.flags & ACK == 0 => {
                    raw.try_send(crate::frames::frame(SETTINGS, ACK, 0, &[]));
                }
                _ => {}
            }
            let ends = matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0;
            if ends && asked.remove(&frame.stream) {
                done.fetch_add(1, SeqCst);
            }
        }
    }
    Ok(())
}

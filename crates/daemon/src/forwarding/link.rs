//! The stream between the forwarder and one director.

use control::internal::{FromForwarder, ToForwarder, read_frame, write_frame};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Answers that may wait for a director that does not read.
const QUEUED_ANSWERS: usize = 64;
/// Of these, places that only answers to orders take: nobody asks for them again.
const KEPT_FREE: usize = 16;

/// The stream to one director, read and written by tasks of its own.
pub(super) struct Link {
    pub(super) orders: mpsc::Receiver<ToForwarder>,
    answers: mpsc::Sender<FromForwarder>,
}

impl Link {
    pub(super) fn open(fd: std::os::fd::OwnedFd) -> Option<Self> {
        let stream = std::os::unix::net::UnixStream::from(fd);
        stream.set_nonblocking(true).ok()?;
        let (reader, writer) = UnixStream::from_std(stream).ok()?.into_split();
        let (orders_in, orders) = mpsc::channel(QUEUED_ANSWERS);
        let (answers, answers_out) = mpsc::channel(QUEUED_ANSWERS);
        tokio::task::spawn_local(read_orders(reader, orders_in));
        tokio::task::spawn_local(write_answers(writer, answers_out));
        Some(Self { orders, answers })
    }

    /// Whether there is room for what [`Link::answer`] queues.
    pub(super) fn has_room(&self) -> bool {
        self.answers.capacity() > KEPT_FREE
    }

    /// Queues an answer, or says something unasked; a director that does not read loses it and asks again.
    pub(super) fn answer(&self, answer: FromForwarder) -> bool {
        self.has_room() && self.answers.try_send(answer).is_ok()
    }

    /// Queues the answer to an order, of which there are few: what is said beside them leaves them room.
    pub(super) fn report(&self, answer: FromForwarder) {
        if self.answers.try_send(answer).is_err() {
            tracing::warn!("the director does not take the answers to its orders");
        }
    }
}

async fn read_orders(mut reader: OwnedReadHalf, orders: mpsc::Sender<ToForwarder>) {
    while let Ok(Some(order)) = read_frame(&mut reader).await {
        if orders.send(order).await.is_err() {
            return;
        }
    }
}

async fn write_answers(mut writer: OwnedWriteHalf, mut answers: mpsc::Receiver<FromForwarder>) {
    while let Some(answer) = answers.recv().await {
        if write_frame(&mut writer, &answer).await.is_err() {
            return;
        }
    }
}

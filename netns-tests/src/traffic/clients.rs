//! The client's side of one connection: a request, and how far its answer is.

use std::time::Instant;

use super::origin::{content_length, end_of_head};

/// How far an answer is.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    /// Its head is coming.
    Head,
    /// So many octets of its body are to come.
    Sized(usize),
    /// Chunks are coming; the last five octets seen.
    Chunked([u8; 5]),
}

/// What has become of an answer after some octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// More has to come.
    NotYet,
    /// It is whole, with status 200.
    Good,
    /// It is whole or not, but not what was asked for.
    Bad,
}

/// One client connection.
#[derive(Debug)]
pub(super) struct ClientSide {
    head: Vec<u8>,
    progress: Progress,
    /// When its request was due.
    pub(super) due: Instant,
    /// A request is on its way.
    pub(super) busy: bool,
    /// How much of the request is sent.
    pub(super) sent: usize,
}

impl ClientSide {
    /// A connection without a request.
    pub(super) fn new(now: Instant) -> ClientSide {
        ClientSide {
            head: Vec::new(),
            progress: Progress::Head,
            due: now,
            busy: false,
            sent: 0,
        }
    }

    /// Begins a request that was due at `due`.
    pub(super) fn begin(&mut self, due: Instant) {
        self.head.clear();
        self.progress = Progress::Head;
        self.due = due;
        self.busy = true;
        self.sent = 0;
    }

    /// Takes what was read.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Answered {
        let mut rest = bytes;
        let kept;
        if self.progress == Progress::Head {
            self.head.extend_from_slice(bytes);
            let Some(end) = end_of_head(&self.head) else {
                return Answered::NotYet;
            };
            if !self.head.starts_with(b"HTTP/1.1 200") {
                return Answered::Bad;
            }
            self.progress = match content_length(&self.head[..end]) {
                Some(length) => Progress::Sized(length),
                None => Progress::Chunked([0; 5]),
            };
            kept = self.head.split_off(end);
            rest = &kept;
        }
        match &mut self.progress {
            Progress::Head => Answered::NotYet,
            Progress::Sized(left) => match left.checked_sub(rest.len()) {
                Some(0) => Answered::Good,
                Some(less) => {
                    *left = less;
                    Answered::NotYet
                }
                None => Answered::Bad,
            },
            Progress::Chunked(last) => {
                for octet in &rest[rest.len().saturating_sub(5)..] {
                    last.rotate_left(1);
                    last[4] = *octet;
                }
                if last == b"0\r\n\r\n" {
                    Answered::Good
                } else {
                    Answered::NotYet
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(answer: &[u8]) -> Vec<Answered> {
        let mut side = ClientSide::new(Instant::now());
        side.begin(Instant::now());
        answer.chunks(3).map(|part| side.take(part)).collect()
    }

    #[test]
    fn an_answer_is_whole_at_its_last_octet_and_not_before() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ] {
            let all = feed(answer);
            assert_eq!(all.last(), Some(&Answered::Good));
            assert!(
                all[..all.len() - 1]
                    .iter()
                    .all(|one| *one == Answered::NotYet)
            );
        }
    }

    #[test]
    fn another_status_or_too_much_is_bad() {
        assert!(feed(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").contains(&Answered::Bad));
        assert!(
            feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabcdef").contains(&Answered::Bad)
        );
    }
}

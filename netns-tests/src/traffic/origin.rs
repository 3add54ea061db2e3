//! The origin's side: answers made once, sent whole.

use std::collections::BTreeMap;

/// One connection from a proxy.
#[derive(Debug, Default)]
pub(super) struct OriginSide {
    /// What came and is not a whole head yet.
    head: Vec<u8>,
    /// Octets of a request's body still to come.
    body_left: usize,
    /// The request whose body is coming.
    pending: Option<String>,
    /// What is to be sent, and how much of it is.
    pub(super) out: Vec<u8>,
    pub(super) sent: usize,
}

/// Answers by path, each made when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<String, Vec<u8>>);

impl Answers {
    fn of(&mut self, path: &str) -> &[u8] {
        self.0
            .entry(path.to_owned())
            .or_insert_with(|| make(path))
            .as_slice()
    }
}

fn make(path: &str) -> Vec<u8> {
    let mut parts = path.split('/').skip(1);
    let kind = parts.next().unwrap_or_default();
    let octets: usize = parts
        .next()
        .and_then(|octets| octets.parse().ok())
        .unwrap_or(0);
    let head = "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
                Content-Type: application/octet-stream\r\nCache-Control: no-store\r\nVary: Accept\r\n";
    let mut answer = head.as_bytes().to_vec();
    if kind == "c" {
        answer.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        let mut left = octets;
        while left > 0 {
            let chunk = left.min(4_000);
            answer.extend_from_slice(format!("{chunk:x}\r\n").as_bytes());
            answer.resize(answer.len() + chunk, b'x');
            answer.extend_from_slice(b"\r\n");
            left -= chunk;
        }
        answer.extend_from_slice(b"0\r\n\r\n");
    } else {
        answer.extend_from_slice(format!("Content-Length: {octets}\r\n\r\n").as_bytes());
        answer.resize(answer.len() + octets, b'x');
    }
    answer
}

impl OriginSide {
    /// Takes what was read and queues the answers to every request that is whole.
    pub(super) fn take(&mut self, mut bytes: &[u8], answers: &mut Answers) {
        while !bytes.is_empty() {
            if self.body_left > 0 {
                let part = self.body_left.min(bytes.len());
                self.body_left -= part;
                bytes = &bytes[part..];
                if self.body_left == 0
                    && let Some(path) = self.pending.take()
                {
                    self.out.extend_from_slice(answers.of(&path));
                }
                continue;
            }
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = end_of_head(&self.head) else {
                return;
            };
            bytes = &bytes[end - before..];
            let (path, length) = request(&self.head[..end]);
            self.head.clear();
            if length == 0 {
                self.out.extend_from_slice(answers.of(&path));
            } else {
                self.body_left = length;
                self.pending = Some(path);
            }
        }
    }
}

/// Octets of the head with its empty line, once that is there.
pub(super) fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// The value of Content-Length, if there is one.
pub(super) fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let at = head
        .windows(NAME.len())
        .position(|word| word.eq_ignore_ascii_case(NAME))?;
    let value = head[at + NAME.len()..]
        .split(|octet| *octet == b'\r')
        .next()?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// A request's path and the length of its body.
fn request(head: &[u8]) -> (String, usize) {
    let line = head.split(|octet| *octet == b'\r').next().unwrap_or(head);
    let path = line.split(|octet| *octet == b' ').nth(1).unwrap_or(b"/");
    let length = content_length(head).unwrap_or(0);
    (String::from_utf8_lossy(path).into_owned(), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_in_pieces_and_in_a_row_are_answered() {
        let mut side = OriginSide::default();
        let mut answers = Answers::default();
        let text =
            b"POST /s/3 HTTP/1.1\r\ncontent-LENGTH: 4\r\n\r\nabcdGET /c/5000 HTTP/1.1\r\n\r\n";
        for octet in text {
            side.take(&[*octet], &mut answers);
        }
        let out = String::from_utf8_lossy(&side.out).into_owned();
        assert!(
            out.contains("Content-Length: 3\r\n\r\nxxxHTTP/1.1 200"),
            "{out}"
        );
        assert!(out.ends_with("x\r\n0\r\n\r\n"), "{out}");
        assert!(
            out.contains("\r\n\r\nfa0\r\n") && out.contains("\r\n3e8\r\n"),
            "{out}"
        );
    }
}

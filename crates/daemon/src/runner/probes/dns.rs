//! Whether a name server answers.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::{Outcome, good};

/// Octets of the head of every message (RFC 1035 §4.1.1).
const HEAD: usize = 12;
/// Longest answer that is looked at.
const ANSWER: usize = 512;
/// Query types: name servers, and IPv4 addresses.
const NS: u16 = 2;
const A: u16 = 1;
/// Class IN.
const IN: u16 = 1;

/// Sends one query over UDP. Good is an answer without an error, whatever it says: the question is whether the server works.
pub(in crate::runner) async fn query(server: SocketAddr, name: &str) -> Outcome {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        _ => error.to_string(),
    };
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(failed)?;
    // Only what this server sends arrives.
    socket.connect(server).await.map_err(failed)?;
    let id = rand::random();
    let question = question(id, name);
    socket.send(&question).await.map_err(failed)?;
    let mut answer = [0; ANSWER];
    loop {
        let len = socket.recv(&mut answer).await.map_err(failed)?;
        if let Some(code) = response_code(&answer[..len], &question) {
            return match code {
                0 => good("answered"),
                code => Err(format!("answered with {}", code_words(code))),
            };
        }
    }
}

/// A query for the address of `name`, or for the name servers of `.` (RFC 1035 §4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let name = name.trim_end_matches('.');
    let mut query = Vec::with_capacity(HEAD + name.len() + 6);
    query.extend(id.to_be_bytes());
    // Recursion desired; one question.
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        query.push(label.len() as u8);
        query.extend(label.as_bytes());
    }
    query.push(0);
    let kind = if name.is_empty() { NS } else { A };
    query.extend(kind.to_be_bytes());
    query.extend(IN.to_be_bytes());
    query
}

/// The response code of an answer to just this question; none for anything else.
fn response_code(answer: &[u8], question: &[u8]) -> Option<u8> {
    let is_answer = answer.len() >= HEAD && answer[..2] == question[..2] && answer[2] & 0x80 != 0;
    // A server that refuses or does not understand may leave the question out.
    let questions = (answer.len() >= HEAD).then(|| u16::from_be_bytes([answer[4], answer[5]]))?;
    let same = questions == 0
        || answer
            .get(HEAD..question.len())
            .is_some_and(|theirs| theirs.eq_ignore_ascii_case(&question[HEAD..]));
    (is_answer && same).then(|| answer[3] & 0x0f)
}

fn code_words(code: u8) -> String {
    match code {
        2 => "server failure".to_owned(),
        3 => "no such name".to_owned(),
        5 => "refused".to_owned(),
        code => format!("error {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_as_it_goes_over_the_wire() {
        assert_eq!(
            question(0x1234, "ab.c."),
            [
                0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, b'a', b'b', 1, b'c', 0, 0, 1, 0, 1
            ]
        );
        assert_eq!(question(1, ".")[HEAD..], [0, 0, 2, 0, 1]);
    }

    #[test]
    fn only_an_answer_to_the_question_counts() {
        let asked = question(0x1234, "ab.c");
        let mut answer = asked.clone();
        assert_eq!(response_code(&answer, &asked), None, "it is a query");
        answer[2] |= 0x80;
        answer[3] = 0x83;
        assert_eq!(response_code(&answer, &asked), Some(3));
        answer[13] = b'A';
        assert_eq!(response_code(&answer, &asked), Some(3), "case is nothing");
        answer[13] = b'x';
        assert_eq!(response_code(&answer, &asked), None, "another name");
        answer[13] = b'a';
        answer[1] ^= 1;
        assert_eq!(response_code(&answer, &asked), None, "another query");
        let refused = [0x12, 0x34, 0x80, 5, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(response_code(&refused, &asked), Some(5));
        for len in 0..HEAD {
            assert_eq!(response_code(&refused[..len], &asked), None);
        }
    }
}

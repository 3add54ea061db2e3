//! The health check of gRPC: one call of `grpc.health.v1.Health/Check`, whose messages are small enough to be written by hand.
//!
//! ```text
//!   message   = compressed (1)  length (4)  bytes
//!   request   = 0x0a  length  service          field 1, a text; left out if it is empty
//!   answer    = 0x08  status                   field 1: 0 unknown, 1 serving, 2 not serving, 3 service unknown
//! ```

use balancer::CheckFailure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{MAX_BODY, read_head};
use crate::http::body::Body;
use crate::http::chunked::Emit;
use crate::http::grpc::status_among;
use crate::stream::Stream;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// What a service says that serves.
const SERVING: u64 = 1;

/// Asks about the service, and judges the answer.
pub(super) async fn ask(mut stream: Stream, service: &str, host: &str) -> Result<(), CheckFailure> {
    let message = request(service);
    let head = format!(
        "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/grpc\r\nTE: trailers\r\n\
         User-Agent: tandem-health/{}\r\nContent-Length: {}\r\n\r\n",
        env!("CARGO_PKG_VERSION"),
        message.len()
    );
    let asked = [head.as_bytes(), &message].concat();
    stream
        .write_all(&asked)
        .await
        .map_err(|_| CheckFailure::Closed)?;
    let flushed = stream.flush().await;
    flushed.map_err(|_| CheckFailure::Closed)?;
    let (head, mut input) = read_head(&mut stream).await?;
    let rest = input.split_off(head.length);
    if head.status != 200 {
        return Err(CheckFailure::Status {
            got: head.status,
            want: vec![200..=200],
        });
    }
    if let Some(status) = status_among(&input) {
        return judge(status, &[]);
    }
    let (message, trailers) =
        read(stream, rest, Body::new(head.framing, Emit::Apart, None)).await?;
    judge(status_among(&trailers).unwrap_or(0), &message)
}

/// The message with its trailers.
async fn read(
    mut stream: Stream,
    mut input: Vec<u8>,
    mut body: Body,
) -> Result<(Vec<u8>, Vec<u8>), CheckFailure> {
    let mut message = Vec::new();
    loop {
        let passed = body.filter(&mut input).map_err(|_| CheckFailure::NotHttp)?;
        message.extend_from_slice(&input[..passed.kept]);
        input.drain(..passed.consumed);
        if body.is_done() {
            return Ok((message, body.take_trailers()));
        }
        if message.len() > MAX_BODY {
            return Err(CheckFailure::Grpc(0));
        }
        if !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
            return Err(CheckFailure::Closed);
        }
    }
}

/// The question as a message.
fn request(service: &str) -> Vec<u8> {
    let mut field = Vec::new();
    if !service.is_empty() {
        // The check of the configuration keeps names below 128 bytes, the most a length of one byte can say.
        let name = &service.as_bytes()[..service.len().min(127)];
        field.extend([0x0a, name.len() as u8]);
        field.extend(name);
    }
    let mut message = vec![0, 0, 0, 0, field.len() as u8];
    message.extend(field);
    message
}

/// What the call came to.
fn judge(status: u16, message: &[u8]) -> Result<(), CheckFailure> {
    if status != 0 {
        return Err(CheckFailure::Grpc(status));
    }
    match answer(message) {
        Some(SERVING) => Ok(()),
        Some(other) => Err(CheckFailure::NotServing(other)),
        None => Err(CheckFailure::Grpc(0)),
    }
}

/// What the answer says of the service; `None` if it is no such answer.
fn answer(message: &[u8]) -> Option<u64> {
    let (prefix, rest) = message.split_at_checked(PREFIX_BYTES)?;
    let [0, a, b, c, d] = *prefix else {
        return None;
    };
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
    match rest.get(..length)? {
        // What has its usual value is left out.
        [] => Some(0),
        [0x08, status, ..] => Some(u64::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_as_protobuf_has_them() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("a.B"), *b"\0\0\0\0\x05\x0a\x03a.B");
    }

    #[test]
    fn what_a_call_comes_to() {
        let rows: [(u16, &[u8], Result<(), CheckFailure>); 8] = [
            (0, &[0, 0, 0, 0, 2, 8, 1], Ok(())),
            (0, &[0, 0, 0, 0, 2, 8, 2], Err(CheckFailure::NotServing(2))),
            (0, &[0, 0, 0, 0, 0], Err(CheckFailure::NotServing(0))),
            (0, &[], Err(CheckFailure::Grpc(0))),
            (0, &[1, 0, 0, 0, 2, 8, 1], Err(CheckFailure::Grpc(0))),
            (0, &[0, 0, 0, 0, 9, 8, 1], Err(CheckFailure::Grpc(0))),
            (0, &[0, 0, 0, 0, 2, 9, 1], Err(CheckFailure::Grpc(0))),
            (12, &[0, 0, 0, 0, 2, 8, 1], Err(CheckFailure::Grpc(12))),
        ];
        for (status, message, want) in rows {
            assert_eq!(judge(status, message), want, "{status} {message:?}");
        }
    }
}

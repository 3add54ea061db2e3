//! One health check of one target: a new connection or socket each time, so that the way in is tested too.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::rc::Rc;

use balancer::{Check, CheckFailure, HealthSettings, SendProxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::http::body::{Body, Framing};
use crate::http::chunked::Emit;
use crate::http2::sessions;
use crate::http2::upward::Upward;
use crate::proxy_protocol;
use crate::sockets;
use crate::stream::Stream;
use crate::tls::targets::Way;

mod grpc;

/// Bytes of an answer that are looked at for its head.
const MAX_HEAD: usize = 16 * 1024;
/// Bytes of a body or datagram that are looked at for a text.
const MAX_BODY: usize = 64 * 1024;
/// Fields of an answer that are looked at.
const MAX_FIELDS: usize = 128;

/// Why a check did not pass.
#[derive(Debug)]
pub(crate) struct Missed {
    /// What it looks like from here.
    pub(crate) failure: CheckFailure,
    /// It was this machine that had no descriptor, port or memory left.
    pub(crate) is_ours: bool,
}

impl From<CheckFailure> for Missed {
    fn from(failure: CheckFailure) -> Self {
        Self {
            failure,
            is_ours: false,
        }
    }
}

impl From<io::Error> for Missed {
    fn from(error: io::Error) -> Self {
        Self {
            failure: connect_failure(&error),
            is_ours: sockets::is_used_up(&error),
        }
    }
}

/// Checks what listens at `address`. Where it wants to be told whose a connection is, it is told that this is our own.
pub(crate) async fn run(
    settings: &HealthSettings,
    address: SocketAddr,
    (way, send_proxy): (&Way, Option<SendProxy>),
) -> Result<(), Missed> {
    let limit_at = Instant::now() + settings.timeout;
    if let Check::Udp { send, expect } = &settings.check {
        let answered = timeout_at(limit_at, ask_datagram(address, send, expect.as_deref())).await;
        return answered.unwrap_or(Err(CheckFailure::Timeout.into()));
    }
    let connected = timeout_at(limit_at, TcpStream::connect(address)).await;
    let mut stream = connected.map_err(|_| CheckFailure::ConnectTimeout)??;
    if let Some(version) = send_proxy {
        let header = proxy_protocol::header(version, None);
        let written = stream.write_all(&header).await;
        written.map_err(|_| CheckFailure::Closed)?;
    }
    let entered = timeout_at(limit_at, way.enter(stream)).await;
    let entered = entered.map_err(|_| CheckFailure::Timeout)?;
    let stream = entered.map_err(|error| CheckFailure::Tls(error.to_string()))?;
    let asked = async {
        match &settings.check {
            Check::Off | Check::Tcp | Check::Udp { .. } => Ok(()),
            Check::Grpc { service, host } => {
                let host = host.clone().unwrap_or_else(|| address.to_string());
                grpc::ask(speak(stream, true).await?, service, &host).await
            }
            Check::Http {
                path,
                host,
                status,
                body,
            } => {
                let host = host.clone().unwrap_or_else(|| address.to_string());
                let stream = speak(stream, settings.http2).await?;
                ask(stream, path, &host, status, body.as_deref()).await
            }
        }
    };
    let answered = timeout_at(limit_at, asked).await;
    Ok(answered.unwrap_or(Err(CheckFailure::Timeout))?)
}

/// Sends one datagram, and judges the first that comes back.
async fn ask_datagram(
    address: SocketAddr,
    send: &[u8],
    expect: Option<&[u8]>,
) -> Result<(), Missed> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let mut answer = vec![0; MAX_BODY];
    let answered = async {
        let socket = UdpSocket::bind(any).await?;
        socket.connect(address).await?;
        socket.send(send).await?;
        socket.recv(&mut answer).await
    };
    let length = answered.await?;
    let fits = |want: &[u8]| memchr::memmem::find(&answer[..length], want).is_some();
    match expect.is_none_or(fits) {
        true => Ok(()),
        false => Err(CheckFailure::Answer.into()),
    }
}

fn connect_failure(error: &io::Error) -> CheckFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => CheckFailure::ConnectRefused,
        io::ErrorKind::TimedOut => CheckFailure::ConnectTimeout,
        _ => CheckFailure::ConnectFailed(error.to_string()),
    }
}

fn judge(got: u16, want: &[RangeInclusive<u16>]) -> Result<(), CheckFailure> {
    if want.iter().any(|range| range.contains(&got)) {
        return Ok(());
    }
    Err(CheckFailure::Status {
        got,
        want: want.to_vec(),
    })
}

/// The connection in the protocol of the target.
async fn speak(stream: Stream, http2: bool) -> Result<Stream, CheckFailure> {
    if !http2 {
        return Ok(stream);
    }
    let opener = sessions::begin(stream).await;
    let opener = opener.map_err(|_| CheckFailure::Closed)?;
    Ok(Stream::Upward(Box::new(Upward::new(opener, Rc::new(())))))
}

/// Asks with one GET, and judges the answer.
async fn ask(
    mut stream: Stream,
    path: &str,
    host: &str,
    statuses: &[RangeInclusive<u16>],
    text: Option<&str>,
) -> Result<(), CheckFailure> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tandem-health/{}\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|_| CheckFailure::Closed)?;
    let flushed = stream.flush().await;
    flushed.map_err(|_| CheckFailure::Closed)?;
    let (head, mut input) = read_head(&mut stream).await?;
    judge(head.status, statuses)?;
    match text {
        Some(text) => search(stream, input.split_off(head.length), head.framing, text).await,
        None => Ok(()),
    }
}

/// Reads until a head is there, and what came with it.
async fn read_head(stream: &mut Stream) -> Result<(Head, Vec<u8>), CheckFailure> {
    let mut input = Vec::with_capacity(1024);
    loop {
        match stream.read_buf(&mut input).await {
            Ok(count) if count > 0 => {}
            Ok(_) if input.is_empty() => return Err(CheckFailure::Closed),
            Ok(_) => return Err(CheckFailure::NotHttp),
            Err(_) => return Err(CheckFailure::Closed),
        }
        match head(&input)? {
            Some(head) => return Ok((head, input)),
            None if input.len() < MAX_HEAD => {}
            None => return Err(CheckFailure::NotHttp),
        }
    }
}

/// Reads the body, which begins with `input`, until the text is found in it.
async fn search(
    mut stream: Stream,
    mut input: Vec<u8>,
    framing: Framing,
    text: &str,
) -> Result<(), CheckFailure> {
    let mut body = Body::new(framing, Emit::Data, None);
    let mut seen = Vec::new();
    loop {
        let passed = body.filter(&mut input).map_err(|_| CheckFailure::NotHttp)?;
        seen.extend_from_slice(&input[..passed.kept]);
        seen.truncate(MAX_BODY);
        if memchr::memmem::find(&seen, text.as_bytes()).is_some() {
            return Ok(());
        }
        input.drain(..passed.consumed);
        let ended = body.is_done() || seen.len() == MAX_BODY;
        if ended || !matches!(stream.read_buf(&mut input).await, Ok(1..)) {
            return Err(CheckFailure::Body(text.to_owned()));
        }
    }
}

/// What of a head matters to a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Head {
    status: u16,
    /// Bytes up to its end.
    length: usize,
    framing: Framing,
}

/// A complete head that is not an answer before the answer.
fn head(input: &[u8]) -> Result<Option<Head>, CheckFailure> {
    let mut start = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(&input[start..]) {
            Ok(httparse::Status::Complete(length)) => match response.code {
                Some(100..=199) => start += length,
                Some(status) => {
                    return Ok(Some(Head {
                        status,
                        length: start + length,
                        framing: framing(response.headers),
                    }));
                }
                None => return Err(CheckFailure::NotHttp),
            },
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(CheckFailure::NotHttp),
        }
    }
}

fn framing(fields: &[httparse::Header<'_>]) -> Framing {
    let field = |name: &str| {
        let named = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case(name);
        let field = fields.iter().find(named);
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return Framing::Chunked;
    }
    let length = field("content-length").and_then(|length| length.trim().parse().ok());
    length.map_or(Framing::UntilClose, Framing::Length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_the_final_answer() {
        let status = |input| head(input).map(|head| head.map(|head| head.status));
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n\r\n"), Ok(Some(200)));
        assert_eq!(
            status(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nA: b\r\n\r\n"),
            Ok(Some(503))
        );
        assert_eq!(status(b"HTTP/1.1 100 Continue\r\n\r\n"), Ok(None));
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nA"), Ok(None));
        assert_eq!(status(b"SSH-2.0-x\r\n"), Err(CheckFailure::NotHttp));
    }

    #[test]
    fn where_the_body_ends_is_as_the_head_says() {
        let framing = |input: &[u8]| head(input).map(|head| head.map(|head| head.framing));
        let rows: [(&[u8], Framing); 4] = [
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n",
                Framing::Length(7),
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Framing::Chunked,
            ),
            (b"HTTP/1.1 200 OK\r\n\r\n", Framing::UntilClose),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
                Framing::UntilClose,
            ),
        ];
        for (input, want) in rows {
            assert_eq!(framing(input), Ok(Some(want)));
        }
    }

    #[test]
    fn statuses_pass_that_are_wanted() {
        assert_eq!(judge(204, &[200..=399]), Ok(()));
        let want = vec![200..=200, 301..=302];
        assert_eq!(
            judge(404, &want),
            Err(CheckFailure::Status { got: 404, want })
        );
    }
}

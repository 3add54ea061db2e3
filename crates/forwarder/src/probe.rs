//! One health check of one target: a new connection each time, so that the way in is tested too.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use balancer::{Check, CheckFailure, HealthSettings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Bytes of an answer that are looked at for its head.
const MAX_HEAD: usize = 16 * 1024;
/// Fields of an answer that are looked at.
const MAX_FIELDS: usize = 128;

/// Checks a target that listens at `address`.
pub(crate) async fn run(
    settings: &HealthSettings,
    address: SocketAddr,
) -> Result<(), CheckFailure> {
    let limit_at = Instant::now() + settings.timeout;
    let address = SocketAddr::new(address.ip(), settings.port.unwrap_or(address.port()));
    let stream = match timeout_at(limit_at, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(connect_failure(&error)),
        Err(_) => return Err(CheckFailure::ConnectTimeout),
    };
    match &settings.check {
        Check::Off | Check::Tcp => Ok(()),
        Check::Http { path, host, status } => {
            let host = host.clone().unwrap_or_else(|| address.to_string());
            match timeout_at(limit_at, ask(stream, path, &host)).await {
                Ok(Ok(got)) => judge(got, status),
                Ok(Err(failure)) => Err(failure),
                Err(_) => Err(CheckFailure::Timeout),
            }
        }
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

/// The status of the answer to one GET.
async fn ask(mut stream: TcpStream, path: &str, host: &str) -> Result<u16, CheckFailure> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tandem-health/{}\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|_| CheckFailure::Closed)?;
    let mut head = Vec::with_capacity(1024);
    loop {
        match stream.read_buf(&mut head).await {
            Ok(count) if count > 0 => {}
            Ok(_) if head.is_empty() => return Err(CheckFailure::Closed),
            Ok(_) => return Err(CheckFailure::NotHttp),
            Err(_) => return Err(CheckFailure::Closed),
        }
        match status(&head) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if head.len() < MAX_HEAD => {}
            Ok(None) | Err(CheckFailure::NotHttp) => return Err(CheckFailure::NotHttp),
            Err(failure) => return Err(failure),
        }
    }
}

/// The status of a complete head that is not an answer before the answer.
fn status(head: &[u8]) -> Result<Option<u16>, CheckFailure> {
    let mut rest = head;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(rest) {
            Ok(httparse::Status::Complete(length)) => match response.code {
                Some(100..=199) => rest = &rest[length..],
                code => return Ok(code),
            },
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(CheckFailure::NotHttp),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_that_of_the_final_answer() {
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
    fn statuses_pass_that_are_wanted() {
        assert_eq!(judge(204, &[200..=399]), Ok(()));
        let want = vec![200..=200, 301..=302];
        assert_eq!(
            judge(404, &want),
            Err(CheckFailure::Status { got: 404, want })
        );
    }
}

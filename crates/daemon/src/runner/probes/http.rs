//! Whether an HTTP request gets one of the statuses that are wanted.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Outcome, good, tcp};

/// Octets of an answer that are read: its first line.
const LINE: usize = 1024;

/// Sends one GET and looks at the status line of the answer.
pub(in crate::runner) async fn get(
    address: SocketAddr,
    host: &str,
    path: &str,
    wanted: &[(u16, u16)],
) -> Outcome {
    let mut stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) => return Err(tcp::words(&error)),
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tandem-track/{}\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    let failed = |error: std::io::Error| format!("connection lost: {error}");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut head = Vec::with_capacity(LINE);
    while head.len() < LINE && !head.contains(&b'\n') {
        if stream.read_buf(&mut head).await.map_err(failed)? == 0 {
            break;
        }
    }
    let status = status(&head).ok_or("the answer is not HTTP")?;
    if wanted
        .iter()
        .any(|(from, to)| (*from..=*to).contains(&status))
    {
        good(format!("http {status}"))
    } else {
        Err(format!("http {status}"))
    }
}

/// The status of a status line (RFC 9112 §4).
fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    let rest = line.strip_prefix("HTTP/1.")?;
    let status = rest.split(' ').nth(1)?;
    (status.len() == 3).then(|| status.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_in_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        for bad in [
            &b""[..],
            b"SSH-2.0-x\r\n",
            b"HTTP/1.1\r\n",
            b"HTTP/1.1 2000 x\r\n",
            b"HTTP/1.1 +20 x\r\n",
            b"HTTP/1.1 \xff\xff\xff x\r\n",
        ] {
            assert_eq!(status(bad).filter(|status| *status > 99), None, "{bad:?}");
        }
    }
}

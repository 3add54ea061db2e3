//! Questions to a daemon's control socket: HTTP/1.1 with JSON over a unix socket, as `curl --unix-socket` would ask.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

/// How long a daemon may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// The daemon answered, but not with success.
#[derive(Debug)]
pub struct ControlError {
    /// The HTTP status.
    pub status: u16,
    /// The body as it came.
    pub body: String,
}

impl std::fmt::Display for ControlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}: {}", self.status, self.body)
    }
}

impl std::error::Error for ControlError {}

/// Asks for `path` and returns the JSON.
///
/// # Errors
/// When the socket does not answer, or with a [`ControlError`] when the status is not 2xx.
pub fn get(socket: &Path, path: &str) -> anyhow::Result<Value> {
    ask(socket, "GET", path)
}

/// Orders `path` with an empty body and returns the JSON.
///
/// # Errors
/// As [`get`].
pub fn post(socket: &Path, path: &str) -> anyhow::Result<Value> {
    ask(socket, "POST", path)
}

/// Asks for `path` and returns what comes, as it is: `/metrics` is no JSON.
///
/// # Errors
/// As [`get`].
pub(crate) fn get_text(socket: &Path, path: &str) -> anyhow::Result<String> {
    text(socket, "GET", path)
}

fn ask(socket: &Path, method: &str, path: &str) -> anyhow::Result<Value> {
    let body = text(socket, method, path)?;
    if body.trim().is_empty() {
        Ok(Value::Null)
    } else {
        Ok(serde_json::from_str(&body)?)
    }
}

fn text(socket: &Path, method: &str, path: &str) -> anyhow::Result<String> {
    let mut stream =
        UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let body = if method == "POST" { "{}" } else { "" };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: tandem\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("read the answer")?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("no end of head in the answer")?;
    let status: u16 = head
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse().ok())
        .context("no status")?;
    let body = if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        unchunk(body)
    } else {
        body.into()
    };
    if !(200..300).contains(&status) {
        return Err(ControlError { status, body }.into());
    }
    Ok(body)
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

//! A client of the control socket: HTTP/1.1 over a unix socket, one request a connection.
//!
//! Every wait has a limit and so has every answer, so that a daemon that hangs or talks nonsense gives an error and never a
//! caller that hangs too. It does not retry: whoever asks knows best whether asking twice is harmless.

mod answer;
#[cfg(test)]
mod tests;

use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::ErrorAnswer;
use answer::{Answer, Broken};

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/tandem/tandem.sock";
/// Longest wait for a connection.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Longest wait for a whole answer, unless [`Client::answer_within`] says otherwise.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest body that is read, bytes.
pub const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// Longest line of a stream, bytes.
pub const LINE_LIMIT: usize = 1024 * 1024;

/// Asks the daemon behind one socket. Holds no connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    answer_limit: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no daemon listens on {}", .socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller may not use the socket.
    #[error("no permission to use {}", .socket.display())]
    Permission {
        /// The socket.
        socket: PathBuf,
        /// Group that may use it; `None` if it cannot be found out.
        group: Option<String>,
    },
    /// The daemon answered and said no.
    #[error("{error}")]
    Refused {
        /// HTTP status, 400 to 599.
        status: u16,
        /// What the daemon said.
        error: String,
        /// What it advises.
        remedy: Option<String>,
    },
    /// What came back is no answer in the language of this crate.
    #[error("{} gave no sensible answer: {what}", .socket.display())]
    Protocol {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The connection ended before the answer was complete.
    #[error("{} closed the connection before the answer was complete", .socket.display())]
    Closed {
        /// The socket.
        socket: PathBuf,
    },
    /// The limit passed.
    #[error("{} did not {what} within {} s", .socket.display(), .limit.as_secs_f32())]
    TimedOut {
        /// The socket.
        socket: PathBuf,
        /// What was waited for: `accept a connection`, `answer`.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
}

impl ClientError {
    /// What the person at the keyboard can do about it, a sentence; `None` when there is nothing to advise.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "start the daemon with `systemctl start tandemd` (or `tandemd --config FILE`); \
                 if it listens elsewhere, say where with --socket"
                    .to_owned(),
            ),
            Self::Permission { group, .. } => Some(match group {
                Some(group) => format!("become root or a member of the group `{group}`"),
                None => {
                    "become root or a member of the group the daemon gives its socket to".to_owned()
                }
            }),
            Self::Refused { remedy, .. } => remedy.clone(),
            Self::Protocol { .. } => Some(
                "check that this is the socket of tandemd and of a matching version".to_owned(),
            ),
            Self::Closed { .. } | Self::TimedOut { .. } => {
                Some("see the daemon's log: `journalctl -u tandemd`".to_owned())
            }
        }
    }
}

impl Client {
    /// A client of the daemon that listens on `socket`. Connects to nothing yet.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            answer_limit: ANSWER_LIMIT,
        }
    }

    /// The same with another limit for a whole answer: a reload or a handover takes longer than a look.
    #[must_use]
    pub fn answer_within(self, limit: Duration) -> Self {
        Self {
            answer_limit: limit,
            ..self
        }
    }

    /// `GET` of a path (with query), the answer read as JSON.
    ///
    /// # Errors
    /// [`ClientError`]; an answer of another shape than `T` is `Protocol`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.json(&self.exchange(request("GET", path, None)).await?)
    }

    /// `POST` of a JSON body, the answer read as JSON.
    ///
    /// # Errors
    /// As [`Client::get`]; a `body` that JSON cannot express is `Protocol` too.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| {
            self.protocol(format!("the request cannot be written as JSON: {error}"))
        })?;
        self.json(&self.exchange(request("POST", path, Some(&body))).await?)
    }

    /// `GET` of a path whose answer is text.
    ///
    /// # Errors
    /// As [`Client::get`]; text that is not UTF-8 is `Protocol`.
    pub async fn get_text(&self, path: &str) -> Result<String, ClientError> {
        let body = self.exchange(request("GET", path, None)).await?;
        String::from_utf8(body).map_err(|_| self.protocol("the text is not UTF-8".to_owned()))
    }

    /// `GET` of a path whose answer is JSON lines without end. The limit holds until the head of the answer was read; after that
    /// a line may take for ever.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn stream<T: DeserializeOwned>(&self, path: &str) -> Result<Lines<T>, ClientError> {
        let answer = self
            .within_limit(self.open(request("GET", path, None)))
            .await?;
        Ok(Lines {
            client: self.clone(),
            answer,
            pending: Vec::new(),
            item: PhantomData,
        })
    }

    /// Reads JSON that came from this daemon as a message; for callers that want both forms.
    ///
    /// # Errors
    /// `Protocol` when it has another shape.
    pub fn read<T: DeserializeOwned>(&self, raw: &serde_json::Value) -> Result<T, ClientError> {
        T::deserialize(raw).map_err(|error| self.unexpected(&error))
    }

    /// Sends a request and reads the whole body of a good answer.
    async fn exchange(&self, request: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        let whole = async {
            let mut answer = self.open(request).await?;
            answer
                .body(BODY_LIMIT)
                .await
                .map_err(|broken| self.broken(broken))
        };
        self.within_limit(whole).await
    }

    /// Sends a request and reads the head of the answer; anything but success is an error.
    async fn open(&self, request: Vec<u8>) -> Result<Answer<UnixStream>, ClientError> {
        let mut connection = self.connect().await?;
        // A daemon that refuses early may close before it has read everything: its answer counts, not our broken pipe.
        let _ = connection.write_all(&request).await;
        let mut answer = Answer::read_head(connection)
            .await
            .map_err(|broken| self.broken(broken))?;
        match answer.status() {
            200..=299 => Ok(answer),
            400..=599 => Err(self.refused(&mut answer).await),
            other => Err(self.protocol(format!("unexpected status {other}"))),
        }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let attempts = async {
            loop {
                match UnixStream::connect(&self.socket).await {
                    // The queue of the listener is full: it is alive but does not accept.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    other => return other,
                }
            }
        };
        match tokio::time::timeout(CONNECT_LIMIT, attempts).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.not_connected(error)),
            Err(_) => Err(self.timed_out("accept a connection", CONNECT_LIMIT)),
        }
    }

    async fn within_limit<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        match tokio::time::timeout(self.answer_limit, work).await {
            Ok(result) => result,
            Err(_) => Err(self.timed_out("answer", self.answer_limit)),
        }
    }

    async fn refused(&self, answer: &mut Answer<UnixStream>) -> ClientError {
        let status = answer.status();
        let body = match answer.body(BODY_LIMIT).await {
            Ok(body) => body,
            Err(broken) => return self.broken(broken),
        };
        match serde_json::from_slice::<ErrorAnswer>(&body) {
            Ok(ErrorAnswer { error, remedy }) => ClientError::Refused {
                status,
                error,
                remedy,
            },
            Err(_) => ClientError::Refused {
                status,
                error: format!("the daemon answered with status {status}"),
                remedy: None,
            },
        }
    }

    fn json<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|error| self.unexpected(&error))
    }

    fn unexpected(&self, error: &serde_json::Error) -> ClientError {
        self.protocol(format!("not the JSON expected: {error}"))
    }

    fn not_connected(&self, error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Permission {
                socket: self.socket.clone(),
                group: group_of(&self.socket),
            },
            _ => ClientError::Unreachable {
                socket: self.socket.clone(),
                source: error,
            },
        }
    }

    fn broken(&self, broken: Broken) -> ClientError {
        match broken {
            Broken::Closed | Broken::Connection(_) => ClientError::Closed {
                socket: self.socket.clone(),
            },
            Broken::TooLong { .. } | Broken::Malformed(_) => self.protocol(broken.to_string()),
        }
    }

    fn protocol(&self, what: String) -> ClientError {
        ClientError::Protocol {
            socket: self.socket.clone(),
            what,
        }
    }

    fn timed_out(&self, what: &'static str, limit: Duration) -> ClientError {
        ClientError::TimedOut {
            socket: self.socket.clone(),
            what,
            limit,
        }
    }
}

/// An answer that comes line by line, each line a `T` in JSON.
#[derive(Debug)]
pub struct Lines<T> {
    client: Client,
    answer: Answer<UnixStream>,
    pending: Vec<u8>,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next one, or `None` when the daemon ended the answer in good order. Waits for ever; may be dropped while it waits
    /// without losing a line. Empty lines are skipped.
    ///
    /// # Errors
    /// `Closed` when the daemon went away, `Protocol` for a line that is no `T` or longer than [`LINE_LIMIT`].
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                if !line.trim_ascii().is_empty() {
                    return self.client.json(&line).map(Some);
                }
                continue;
            }
            if self.pending.len() > LINE_LIMIT {
                return Err(self
                    .client
                    .protocol(format!("a line longer than {LINE_LIMIT} bytes")));
            }
            let more = self.answer.read_some(&mut self.pending).await;
            if !more.map_err(|broken| self.client.broken(broken))? {
                let last = std::mem::take(&mut self.pending);
                return if last.trim_ascii().is_empty() {
                    Ok(None)
                } else {
                    self.client.json(&last).map(Some)
                };
            }
        }
    }
}

/// A whole request. `path` is ours, never a stranger's: it must be free of blanks and control characters.
fn request(method: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
    debug_assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()));
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: tandem\r\nAccept: application/json\r\nConnection: close\r\n"
    );
    if let Some(body) = body {
        head.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(body.unwrap_or_default());
    request
}

/// Name of the group a file belongs to, its number without a name; `None` if the file cannot be looked at.
fn group_of(file: &Path) -> Option<String> {
    let id = std::fs::metadata(file).ok()?.gid();
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    Some(group_name(&groups, id).unwrap_or_else(|| id.to_string()))
}

/// Looks a group number up in the text of `/etc/group`: `name:password:number:members`.
fn group_name(groups: &str, id: u32) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

//! Exit codes, and failures as a person reads them.

use std::io;
use std::process::ExitCode;

use control::client::ClientError;

/// How the program ends; the numbers are fixed, scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Everything is well.
    Good = 0,
    /// It was tried and did not work.
    Fault = 1,
    /// What was asked makes no sense. (clap uses the same number)
    Usage = 2,
    /// `status`: service is given, something is wrong.
    Degraded = 3,
    /// `status`: no service.
    NoService = 4,
    /// The daemon cannot be reached.
    Unreachable = 69,
    /// No permission.
    Permission = 77,
    /// The configuration has errors.
    Configuration = 78,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        ExitCode::from(code as u8)
    }
}

/// Why a command could not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No answer, or a no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// `diff` without a daemon and without another file.
    #[error("there is no running configuration to compare with")]
    NothingToCompare(#[source] ClientError),
    /// The screen could not be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// A file could not be read.
    #[error("cannot read {path}")]
    File {
        /// The file as given.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// What was asked for does not exist.
    #[error("{0}")]
    Usage(String),
    /// A configuration that should be readable is not.
    #[error("{message}")]
    Configuration {
        /// What is wrong.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// The stream of events ended though it should not.
    #[error("the daemon ended the stream of events")]
    StreamEnded,
}

impl Failure {
    /// The exit code it leads to.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Client(error) | Self::NothingToCompare(error) => client_code(error),
            Self::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Code::Permission
            }
            Self::File { .. } | Self::Configuration { .. } => Code::Configuration,
            Self::Output(_) => Code::Fault,
            Self::Usage(_) => Code::Usage,
            Self::StreamEnded => Code::Unreachable,
        }
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> Option<String> {
        match self {
            Self::Client(error) => error.remedy(),
            Self::NothingToCompare(_) => Some("compare with a file: --against FILE".to_owned()),
            Self::Configuration { remedy, .. } => Some(remedy.clone()),
            Self::StreamEnded => {
                Some("it was stopped or restarted: `systemctl status tandemd`".to_owned())
            }
            Self::File { .. } | Self::Output(_) | Self::Usage(_) => None,
        }
    }

    /// Whether the reader of our output has seen enough and left, as `head` does.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn client_code(error: &ClientError) -> Code {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::TimedOut { .. }
        | ClientError::Closed { .. } => Code::Unreachable,
        ClientError::Permission { .. }
        | ClientError::Refused {
            status: 401 | 403, ..
        } => Code::Permission,
        ClientError::Refused { .. } | ClientError::Protocol { .. } => Code::Fault,
    }
}

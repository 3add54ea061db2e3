//! Where access log lines go, and how they look.

use std::fmt;
use std::path::PathBuf;

/// `global.access_log`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AccessLogSettings {
    /// Where they go.
    pub to: AccessLogTarget,
    /// How they look.
    pub format: AccessLogFormat,
    /// The query of a path and of a referer is left out: what stands behind the `?` may be a secret.
    pub without_query: bool,
}

/// Where access log lines go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum AccessLogTarget {
    /// Nowhere: none are made.
    #[default]
    Off,
    /// To standard error.
    Stderr,
    /// To the journal of systemd, one entry each.
    Journal,
    /// To the end of this file; made with mode 0640 if it is not there.
    File(PathBuf),
}

/// In the words of the configuration.
impl fmt::Display for AccessLogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Stderr => f.write_str("stderr"),
            Self::Journal => f.write_str("journal"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// How an access log line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AccessLogFormat {
    /// One JSON object.
    #[default]
    Json,
    /// `key=value` pairs.
    Logfmt,
}

impl AccessLogFormat {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Logfmt => "logfmt",
        }
    }
}

//! What the targets of `tandem top` are sorted by.

/// What targets are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SortBy {
    /// Requests a second
    Rate,
    /// Requests or connections in flight
    Inflight,
    /// Failures
    Errors,
    /// How long the slowest answers took to begin
    P99,
    /// Group and name
    Name,
}

impl SortBy {
    /// The key that asks for it.
    pub(crate) fn of_key(key: char) -> Option<Self> {
        Some(match key {
            'r' => Self::Rate,
            'i' => Self::Inflight,
            'e' => Self::Errors,
            'p' => Self::P99,
            'n' => Self::Name,
            _ => return None,
        })
    }

    /// The word on the screen.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Rate => "req/s",
            Self::Inflight => "inflight",
            Self::Errors => "errors",
            Self::P99 => "p99",
            Self::Name => "name",
        }
    }
}

//! Whether a connection is accepted.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::{Outcome, good};

/// Connects, and closes at once.
pub(in crate::runner) async fn connect(address: SocketAddr) -> Outcome {
    match TcpStream::connect(address).await {
        Ok(_) => good("accepted"),
        Err(error) => Err(words(&error)),
    }
}

/// Why a connection was not made.
pub(super) fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
            "no way there".to_owned()
        }
        _ => error.to_string(),
    }
}

//! Whether a host answers an ICMP echo request (RFC 792, RFC 4443 §4).

use std::net::IpAddr;

use linux::ping::EchoSocket;

use super::{Outcome, good};

/// Sends one request and waits for its answer, without end.
pub(in crate::runner) async fn ask(address: IpAddr, interface: Option<&str>) -> Outcome {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => "no right to send a ping".to_owned(),
        std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable => {
            "no way there".to_owned()
        }
        _ => error.to_string(),
    };
    let socket = EchoSocket::open(address, interface).map_err(failed)?;
    let token = rand::random();
    socket.send(token).await.map_err(failed)?;
    socket.answered(token).await.map_err(failed)?;
    good("answered")
}

//! Which protocol a client speaks that was not asked in a handshake: HTTP/2 begins with words no HTTP/1.1 request has
//! (RFC 9113 §3.4).

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::alarm::Alarm;

/// What HTTP/2 begins with, as far as it tells.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Pause between two looks at a beginning that comes in pieces.
const PAUSE: Duration = Duration::from_millis(5);

/// True if the client begins in HTTP/2. Nothing of what it sends is taken away, and `alarm` goes on for the head.
pub(crate) async fn is_next(stream: &TcpStream, alarm: &mut Alarm) -> bool {
    let mut looking = pin!(look(stream));
    poll_fn(|cx| match looking.as_mut().poll(cx) {
        Poll::Ready(http2) => Poll::Ready(http2),
        Poll::Pending => alarm.poll(cx).map(|()| false),
    })
    .await
}

async fn look(stream: &TcpStream) -> bool {
    let mut begin = [0; PREFACE.len()];
    loop {
        let Ok(count) = stream.peek(&mut begin).await else {
            return false;
        };
        if count == 0 || begin[..count] != PREFACE[..count] {
            return false;
        }
        if count == PREFACE.len() {
            return true;
        }
        sleep(PAUSE).await;
    }
}

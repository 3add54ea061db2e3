//! Reading from and writing to TCP connections, with a call to the kernel and nothing around it.
//!
//! The system's library makes of each such call a place where a thread can be cancelled, which nobody here ever is; for small
//! messages that is felt. A call that moved less than it could says that there is no more: the next one waits to be told.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads once; 0 means the peer has ended its direction.
pub(crate) fn poll_receive(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    buf: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(tcp.poll_read_ready(cx))?;
        let received = attempt(tcp, Interest::READABLE, buf.len(), || {
            recv(tcp, &mut *buf, RecvFlags::empty()).map(|(count, _)| count)
        });
        if let Some(received) = received {
            return Poll::Ready(received);
        }
    }
}

/// Writes once, as much as is taken of what stands in these places.
pub(crate) fn poll_send(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let wanted = slices.iter().map(|slice| slice.len()).sum();
    loop {
        // Nearly always there is room: nobody is asked before it turns out that there is none.
        let sent = attempt(tcp, Interest::WRITABLE, wanted, || match slices {
            [one] => send(tcp, one, SendFlags::NOSIGNAL),
            several => {
                let control = &mut SendAncillaryBuffer::default();
                sendmsg(tcp, several, control, SendFlags::NOSIGNAL)
            }
        });
        if let Some(sent) = sent {
            return Poll::Ready(sent);
        }
        ready!(tcp.poll_write_ready(cx))?;
    }
}

/// True if there is nothing to read, nor an end, as far as the runtime has been told. Nobody is woken when that changes.
pub(crate) fn is_quiet(tcp: &TcpStream) -> bool {
    let byte = &mut [0];
    attempt(tcp, Interest::READABLE, byte.len(), || {
        recv(tcp, byte, RecvFlags::empty()).map(|(count, _)| count)
    })
    .is_none()
}

/// What comes of one call; `None` if it has to be waited for. The runtime learns from it whether the next one has.
fn attempt(
    tcp: &TcpStream,
    interest: Interest,
    wanted: usize,
    call: impl FnOnce() -> rustix::io::Result<usize>,
) -> Option<io::Result<usize>> {
    let mut moved = 0;
    let done = tcp.try_io(interest, || {
        let count = match call() {
            // Tried again, as if it had to be waited for.
            Err(Errno::INTR) => return Ok(None),
            count => count?,
        };
        moved = count;
        match (1..wanted).contains(&count) {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(Some(count)),
        }
    });
    match done {
        Ok(count) => count.map(Ok),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => (moved > 0).then_some(Ok(moved)),
        Err(error) => Some(Err(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};
    use std::task::Waker;

    use super::*;

    async fn pair() -> (TcpStream, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap());
        let ours = ours.await.unwrap();
        (ours, listener.accept().unwrap().0)
    }

    async fn receive(tcp: &TcpStream, buf: &mut [u8]) -> usize {
        poll_fn(|cx| poll_receive(tcp, cx, buf)).await.unwrap()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_comes_is_read_to_its_end() {
        let (ours, mut theirs) = pair().await;
        let mut buf = [0; 4];
        theirs.write_all(b"abcdefg").unwrap();
        assert_eq!(receive(&ours, &mut buf).await, 4);
        assert_eq!(&buf, b"abcd");
        // Less than there is room for: more has to be waited for, and is when it comes.
        assert_eq!(receive(&ours, &mut buf).await, 3);
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(poll_receive(&ours, cx, &mut buf).is_pending());
        theirs.write_all(b"h").unwrap();
        assert_eq!(receive(&ours, &mut buf).await, 1);
        drop(theirs);
        assert_eq!(receive(&ours, &mut buf).await, 0);
        assert_eq!(receive(&ours, &mut buf).await, 0, "and so it stays");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_has_come_or_ended_is_not_quiet() {
        let (ours, mut theirs) = pair().await;
        assert!(is_quiet(&ours));
        theirs.write_all(b"a").unwrap();
        ours.readable().await.unwrap();
        assert!(!is_quiet(&ours));
        let (ours, theirs) = pair().await;
        drop(theirs);
        ours.readable().await.unwrap();
        assert!(!is_quiet(&ours));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_takes_nothing_is_waited_for() {
        let (ours, mut theirs) = pair().await;
        let (one, two) = ([7; 60_000], [8; 5_000]);
        let slices = [IoSlice::new(&one), IoSlice::new(&two)];
        let mut sent = 0;
        let cx = &mut Context::from_waker(Waker::noop());
        while let Poll::Ready(count) = poll_send(&ours, cx, &slices) {
            sent += count.unwrap();
        }
        let reading = std::thread::spawn(move || {
            let mut all = vec![0; sent + 65_000];
            theirs.read_exact(&mut all).unwrap();
            all
        });
        let mut rest = vec![9; 65_000];
        while !rest.is_empty() {
            let slices = [IoSlice::new(&rest)];
            let count = poll_fn(|cx| poll_send(&ours, cx, &slices)).await.unwrap();
            rest.drain(..count);
        }
        let all = reading.join().unwrap();
        assert!(all.starts_with(&one) && all.ends_with(&[9; 65_000]));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_peer_that_is_gone_is_an_error() {
        let (ours, theirs) = pair().await;
        socket2::SockRef::from(&theirs)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
        drop(theirs);
        let mut buf = [0; 4];
        let read = poll_fn(|cx| poll_receive(&ours, cx, &mut buf)).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let slices = [IoSlice::new(b"x")];
        let sent = poll_fn(|cx| poll_send(&ours, cx, &slices)).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

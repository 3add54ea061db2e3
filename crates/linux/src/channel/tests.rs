//! Messages, descriptors, ends that close.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{ErrorKind, Read, Write, pipe};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_getfd};

use super::*;

#[test]
fn messages_keep_their_bounds_and_order() {
    let (left, right) = pair().unwrap();
    let mut buffer = Vec::new();
    let largest = vec![7; MAX_MESSAGE];
    left.send(b"one", &[]).unwrap();
    left.send(&largest, &[]).unwrap();
    assert_eq!(right.receive(&mut buffer).unwrap().unwrap().0, b"one");
    assert_eq!(right.receive(&mut buffer).unwrap().unwrap().0, largest);
    let error = right.try_receive(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn what_is_no_message_is_refused() {
    let (left, _right) = pair().unwrap();
    let too_many = [left.as_fd(); MAX_DESCRIPTORS + 1];
    let too_long = vec![0; MAX_MESSAGE + 1];
    for outcome in [
        left.send(b"", &[]),
        left.send(&too_long, &[]),
        left.send(b"x", &too_many),
    ] {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn descriptors_arrive_usable_and_are_not_inherited() {
    let (left, right) = pair().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    let fds = vec![writer.as_fd(); MAX_DESCRIPTORS];
    left.send(b"take these", &fds).unwrap();
    let (bytes, received) = right.receive(&mut Vec::new()).unwrap().unwrap();
    assert_eq!(bytes, b"take these");
    assert_eq!(received.len(), MAX_DESCRIPTORS);
    for fd in &received {
        assert!(fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
    }
    drop(writer);
    for fd in received {
        File::from(fd).write_all(b"+").unwrap();
    }
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "+".repeat(MAX_DESCRIPTORS));
}

#[test]
fn closed_peer_is_seen_on_both_ways() {
    let (left, right) = pair().unwrap();
    drop(right);
    assert!(left.receive(&mut Vec::new()).unwrap().is_none());
    let error = left.send(b"x", &[]).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        ),
        "{error}"
    );
}

#[test]
fn peer_that_closes_without_reading_is_closed() {
    let (left, right) = pair().unwrap();
    left.send(b"never read", &[]).unwrap();
    drop(right);
    assert!(left.receive(&mut Vec::new()).unwrap().is_none());
}

#[test]
fn a_clone_keeps_the_end_open() {
    let (left, right) = pair().unwrap();
    let clone = right.try_clone().unwrap();
    drop(right);
    left.send(b"still", &[]).unwrap();
    assert_eq!(clone.receive(&mut Vec::new()).unwrap().unwrap().0, b"still");
}

/// Sends past the bounds that [`Channel::send`] keeps.
fn send_unbounded(channel: &Channel, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = vec![MaybeUninit::uninit(); cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(
        channel,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::empty(),
    )
    .unwrap();
}

#[test]
fn too_many_descriptors_are_an_error_and_all_are_closed() {
    let (left, right) = pair().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    send_unbounded(&left, b"too many", &[writer.as_fd(); MAX_DESCRIPTORS * 2]);
    drop(writer);
    let error = right.receive(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    // The end of the pipe is seen only when no writer is left anywhere.
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

#[test]
fn too_long_message_is_an_error_and_its_descriptors_are_closed() {
    let (left, right) = pair().unwrap();
    let (mut reader, writer) = pipe().unwrap();
    send_unbounded(&left, &vec![0; MAX_MESSAGE + 1], &[writer.as_fd()]);
    drop(writer);
    let error = right.receive(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    left.send(b"next", &[]).unwrap();
    assert_eq!(right.receive(&mut Vec::new()).unwrap().unwrap().0, b"next");
}

#[test]
fn only_a_channel_becomes_a_channel() {
    let (reader, _writer) = pipe().unwrap();
    assert!(Channel::from_fd(reader.into()).is_err());
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let error = Channel::from_fd(stream.into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn nonblocking_holds_for_send_and_receive() {
    let (left, _right) = pair().unwrap();
    left.set_nonblocking(true).unwrap();
    let error = left.receive(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(fill(&left, Channel::send), ErrorKind::WouldBlock);
}

/// Sends until it fails; the kind of failure.
fn fill(
    channel: &Channel,
    send: fn(&Channel, &[u8], &[BorrowedFd<'_>]) -> io::Result<()>,
) -> ErrorKind {
    for _ in 0..100_000 {
        if let Err(error) = send(channel, &[0; 1024], &[]) {
            return error.kind();
        }
    }
    panic!("a hundred megabytes were taken by a peer that does not read");
}

#[tokio::test]
async fn asynchronous_end_waits_and_sees_the_close() {
    let (left, right) = pair().unwrap();
    let left = AsyncChannel::new(left).unwrap();
    let right = AsyncChannel::new(right).unwrap();
    let (mut reader, writer) = pipe().unwrap();
    let waiting = async {
        let (bytes, fds) = right.receive().await.unwrap().unwrap();
        assert_eq!(bytes, b"with a pipe");
        File::from(fds.into_iter().next().unwrap())
            .write_all(b"!")
            .unwrap();
    };
    let sending = async {
        tokio::task::yield_now().await;
        left.send(b"with a pipe", &[writer.as_fd()]).await.unwrap();
    };
    tokio::join!(waiting, sending);
    let mut got = [0];
    reader.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"!");
    drop(left);
    assert!(right.receive().await.unwrap().is_none());
}

#[tokio::test]
async fn asynchronous_end_never_waits_when_told_so() {
    let (left, right) = pair().unwrap();
    let left = AsyncChannel::new(left).unwrap();
    let mut sent = 0;
    let refused = loop {
        match left.try_send(&[0; 1024], &[]) {
            Ok(()) => sent += 1,
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(refused, ErrorKind::WouldBlock);
    let blocked = left.send(b"last", &[]);
    assert!(
        tokio::time::timeout(Duration::from_millis(20), blocked)
            .await
            .is_err()
    );
    let mut buffer = Vec::new();
    for _ in 0..sent {
        right.try_receive(&mut buffer).unwrap().unwrap();
    }
    left.send(b"last", &[]).await.unwrap();
    assert_eq!(right.try_receive(&mut buffer).unwrap().unwrap().0, b"last");
}

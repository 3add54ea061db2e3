//! One end of the stream between the director and a worker: frames in and out by tasks of its own, so that neither side waits for the other.

use std::os::fd::OwnedFd;

use control::internal::{read_frame, write_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Takes over an end. What arrives goes through `tag` to `arrivals`; what is sent to the queue that is returned, `limit` values at most, is
/// written. The end is closed when the queue's last sender is dropped or `arrivals` is closed, whichever a task notices first.
///
/// # Errors
/// When the descriptor is no stream or the runtime cannot watch it.
pub(crate) fn open<In, Out, Tagged>(
    fd: OwnedFd,
    limit: usize,
    arrivals: mpsc::Sender<Tagged>,
    tag: impl Fn(In) -> Tagged + 'static,
) -> std::io::Result<mpsc::Sender<Out>>
where
    In: DeserializeOwned + 'static,
    Out: Serialize + 'static,
    Tagged: 'static,
{
    let stream = std::os::unix::net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    let (reader, writer) = UnixStream::from_std(stream)?.into_split();
    let (queue, queued) = mpsc::channel(limit);
    tokio::task::spawn_local(read(reader, arrivals, tag));
    tokio::task::spawn_local(write(writer, queued));
    Ok(queue)
}

async fn read<In: DeserializeOwned, Tagged>(
    mut reader: OwnedReadHalf,
    arrivals: mpsc::Sender<Tagged>,
    tag: impl Fn(In) -> Tagged,
) {
    while let Ok(Some(message)) = read_frame(&mut reader).await {
        if arrivals.send(tag(message)).await.is_err() {
            return;
        }
    }
}

async fn write<Out: Serialize>(mut writer: OwnedWriteHalf, mut queued: mpsc::Receiver<Out>) {
    while let Some(message) = queued.recv().await {
        if write_frame(&mut writer, &message).await.is_err() {
            return;
        }
    }
}

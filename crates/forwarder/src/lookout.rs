//! Sockets of connections that may soon be over, in an event queue of their own.
//!
//! The runtime tells the kernel of each socket twice, when it comes and before it is closed, and hears from it whether something can be sent,
//! even where nobody has asked. For a connection of one question that is a good part of all calls. A socket here is told of once, and leaves
//! the queue by being closed; whether it takes more is asked when it has not. The runtime watches the queue itself, as one thing.
//!
//! ```text
//!   runtime's queue <- this queue <- sockets, each with the waker of the one task that serves it
//! ```
//!
//! News of a socket that is gone cannot be taken for that of another: it bears the number of its time in that place.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, send, sendmsg};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::spawn_local;

/// News taken from the kernel at a time.
const EVENTS: usize = 256;
/// The end of the peer's direction, of both, or an error: seen by the next read, whatever was read before.
const END: EventFlags = EventFlags::RDHUP
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);

/// The event queue of a thread.
#[derive(Debug)]
pub(crate) struct Lookout {
    queue: AsyncFd<OwnedFd>,
    places: RefCell<Vec<Place>>,
    free: RefCell<Vec<u32>>,
}

/// What is known of one socket.
#[derive(Debug, Default)]
struct Place {
    /// Grows with each socket that has it.
    time: u32,
    /// Something may have come.
    readable: bool,
    /// Its end has come, perhaps behind something else.
    ended: bool,
    /// It may take something.
    writable: bool,
    /// Who serves it.
    waker: Option<Waker>,
}

impl Lookout {
    /// An empty queue, and a task of this thread that looks after it. Fails if the system refuses one.
    pub(crate) fn start() -> io::Result<Rc<Lookout>> {
        let queue = epoll::create(CreateFlags::CLOEXEC)?;
        #[allow(deprecated)]
        // Meant are types that may lose their descriptor meanwhile: this one keeps its own.
        let queue = AsyncFd::with_interest(queue, Interest::READABLE)?;
        let lookout = Rc::new(Lookout {
            queue,
            places: RefCell::default(),
            free: RefCell::default(),
        });
        drop(spawn_local(Rc::clone(&lookout).look()));
        Ok(lookout)
    }

    async fn look(self: Rc<Self>) {
        let mut events = Vec::with_capacity(EVENTS);
        while let Ok(mut ready) = self.queue.readable().await {
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(self.queue.get_ref(), room, Some(&Timespec::default())) {
                // There may be more.
                Ok(EVENTS) | Err(Errno::INTR) => ready.retain_ready(),
                Ok(_) | Err(_) => ready.clear_ready(),
            }
            for event in &events {
                self.tell(event.data.u64(), event.flags);
            }
        }
    }

    fn tell(&self, token: u64, news: EventFlags) {
        let mut places = self.places.borrow_mut();
        let (time, number) = ((token >> 32) as u32, (token & u64::from(u32::MAX)) as usize);
        let Some(place) = places.get_mut(number).filter(|place| place.time == time) else {
            return;
        };
        place.ended |= news.intersects(END);
        place.readable |= news.intersects(EventFlags::IN.union(END));
        // An error shows to whoever sends, too.
        place.writable |= news.intersects(EventFlags::OUT.union(EventFlags::HUP | EventFlags::ERR));
        if let Some(waker) = &place.waker {
            waker.wake_by_ref();
        }
    }
}

/// A place of the queue, free again once nobody has it.
#[derive(Debug)]
struct Seat {
    lookout: Rc<Lookout>,
    number: u32,
    time: u32,
}

impl Seat {
    fn take(lookout: &Rc<Lookout>, writable: bool) -> Seat {
        let mut places = lookout.places.borrow_mut();
        let free = lookout.free.borrow_mut().pop();
        let number = free.unwrap_or_else(|| {
            places.push(Place::default());
            u32::try_from(places.len() - 1).expect("no more than there are descriptors")
        });
        let place = &mut places[number as usize];
        place.writable = writable;
        Seat {
            lookout: Rc::clone(lookout),
            number,
            time: place.time,
        }
    }

    fn token(&self) -> EventData {
        EventData::new_u64(u64::from(self.time) << 32 | u64::from(self.number))
    }

    fn place<R>(&self, work: impl FnOnce(&mut Place) -> R) -> R {
        work(&mut self.lookout.places.borrow_mut()[self.number as usize])
    }

    /// Pending, with the waker left.
    fn wait<T>(&self, cx: &Context<'_>) -> Poll<T> {
        self.place(|place| match &place.waker {
            Some(known) if known.will_wake(cx.waker()) => {}
            Some(_) | None => place.waker = Some(cx.waker().clone()),
        });
        Poll::Pending
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.place(|place| {
            *place = Place {
                time: place.time.wrapping_add(1),
                ..Place::default()
            };
        });
        self.lookout.free.borrow_mut().push(self.number);
    }
}

/// A socket in the queue of its thread. Who reads and who writes are one task.
#[derive(Debug)]
pub(crate) struct Watched {
    // It is closed before its place is free.
    socket: TcpStream,
    seat: Seat,
    /// The kernel tells when it takes more.
    tells_room: bool,
    /// Small pieces behind others are held back until the peer has those, which is yet to be changed.
    holds_back: bool,
}

impl Watched {
    /// Has a socket that does not block watched; `connecting` if it takes nothing yet, which is waited for. Fails if the system refuses.
    pub(crate) fn new(
        lookout: &Rc<Lookout>,
        socket: TcpStream,
        connecting: bool,
    ) -> io::Result<Watched> {
        let seat = Seat::take(lookout, !connecting);
        let queue = lookout.queue.get_ref();
        epoll::add(queue, &socket, seat.token(), wanted(connecting))?;
        Ok(Watched {
            socket,
            seat,
            tells_room: connecting,
            holds_back: false,
        })
    }

    /// The socket does not push out small pieces yet, and is to do so from the next one on.
    pub(crate) fn holding_back(mut self) -> Watched {
        self.holds_back = true;
        self
    }

    /// Takes it out of the queue, for another.
    pub(crate) fn into_socket(mut self) -> TcpStream {
        self.push_out();
        let _ = epoll::delete(self.seat.lookout.queue.get_ref(), &self.socket);
        self.socket
    }

    /// Lets small pieces go at once from here on.
    fn push_out(&mut self) {
        if std::mem::take(&mut self.holds_back) {
            // One that refuses is late now and then.
            let _ = self.socket.set_nodelay(true);
        }
    }

    /// Ready once there is a connection, or it has failed, and why.
    pub(crate) fn poll_connected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (writable, ended) = self.seat.place(|place| (place.writable, place.ended));
        match (writable, ended) {
            (true, false) => Poll::Ready(Ok(())),
            // Where nothing says that it failed there is no error to ask for.
            (true, true) => Poll::Ready(self.socket.take_error()?.map_or(Ok(()), Err)),
            (false, _) => self.seat.wait(cx),
        }
    }

    /// Reads once; 0 means the peer has ended its direction.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
        flags: RecvFlags,
    ) -> Poll<io::Result<usize>> {
        if !self.seat.place(|place| place.readable) {
            return self.seat.wait(cx);
        }
        match recv(&self.socket, &mut *buf, flags) {
            Ok((count, _)) => {
                // Less than there is room for: more will be news, but for an end that is known.
                if count < buf.len() {
                    self.seat.place(|place| place.readable = place.ended);
                }
                Poll::Ready(Ok(count))
            }
            Err(Errno::AGAIN) => {
                self.seat.place(|place| place.readable = false);
                self.seat.wait(cx)
            }
            Err(Errno::INTR) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// Writes once, as much as is taken of what stands in these places.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.seat.place(|place| place.writable) {
            return self.seat.wait(cx);
        }
        self.push_out();
        let sent = match slices {
            [one] => send(&self.socket, one, SendFlags::NOSIGNAL),
            several => {
                let control = &mut SendAncillaryBuffer::default();
                sendmsg(&self.socket, several, control, SendFlags::NOSIGNAL)
            }
        };
        match sent {
            Ok(count) => {
                if count < slices.iter().map(|slice| slice.len()).sum() {
                    self.ask_for_room()?;
                }
                Poll::Ready(Ok(count))
            }
            Err(Errno::AGAIN) => {
                self.ask_for_room()?;
                self.seat.wait(cx)
            }
            Err(Errno::INTR) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }

    /// It takes no more for now: that it does will be news.
    fn ask_for_room(&mut self) -> io::Result<()> {
        self.seat.place(|place| place.writable = false);
        if !std::mem::replace(&mut self.tells_room, true) {
            let queue = self.seat.lookout.queue.get_ref();
            epoll::modify(queue, &self.socket, self.seat.token(), wanted(true))?;
        }
        Ok(())
    }
}

impl Deref for Watched {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.socket
    }
}

/// What the kernel is to tell of a socket.
fn wanted(room: bool) -> EventFlags {
    let always = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
    match room {
        true => always | EventFlags::OUT,
        false => always,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// One that is watched, and its peer.
    fn pair(lookout: &Rc<Lookout>) -> (Watched, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = Watched::new(lookout, ours, false).unwrap();
        (ours, listener.accept().unwrap().0)
    }

    async fn receive(ours: &mut Watched, buf: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| ours.poll_receive(cx, buf, RecvFlags::empty())).await
    }

    fn within_a_runtime(work: impl AsyncFnOnce(Rc<Lookout>)) {
        let runtime = crate::worker::runtime().unwrap();
        runtime.block_on(async { work(Lookout::start().unwrap()).await });
    }

    #[test]
    fn what_comes_is_read_to_its_end() {
        within_a_runtime(async |lookout| {
            let (mut ours, mut theirs) = pair(&lookout);
            let mut buf = [0; 4];
            theirs.write_all(b"abcdefg").unwrap();
            assert_eq!(receive(&mut ours, &mut buf).await.unwrap(), 4);
            assert_eq!(&buf, b"abcd");
            // Less than there is room for: more has to be waited for, and is when it comes.
            assert_eq!(receive(&mut ours, &mut buf).await.unwrap(), 3);
            let cx = &mut Context::from_waker(Waker::noop());
            let more = ours.poll_receive(cx, &mut buf, RecvFlags::empty());
            assert!(more.is_pending());
            theirs.write_all(b"h").unwrap();
            assert_eq!(receive(&mut ours, &mut buf).await.unwrap(), 1);
            theirs.write_all(b"i").unwrap();
            drop(theirs);
            assert_eq!(receive(&mut ours, &mut buf).await.unwrap(), 1);
            assert_eq!(receive(&mut ours, &mut buf).await.unwrap(), 0);
            assert_eq!(
                receive(&mut ours, &mut buf).await.unwrap(),
                0,
                "and so it stays"
            );
        });
    }

    #[test]
    fn whoever_takes_nothing_is_waited_for() {
        within_a_runtime(async |lookout| {
            let (mut ours, mut theirs) = pair(&lookout);
            let all = vec![7; 16 << 20];
            let reading = std::thread::spawn(move || {
                let mut got = Vec::new();
                theirs.read_to_end(&mut got).unwrap();
                got.len()
            });
            let mut left = &all[..];
            while !left.is_empty() {
                let slices = [IoSlice::new(left)];
                let count = poll_fn(|cx| ours.poll_send(cx, &slices)).await.unwrap();
                left = &left[count..];
            }
            drop(ours);
            assert_eq!(reading.join().unwrap(), all.len());
        });
    }

    #[test]
    fn who_has_a_place_after_another_hears_nothing_of_it() {
        within_a_runtime(async |lookout| {
            let (ours, mut theirs) = pair(&lookout);
            let (number, before) = (ours.seat.number, ours.seat.time);
            // What belongs to the first is on its way when the second comes.
            theirs.write_all(b"late").unwrap();
            drop(ours);
            let (mut next, mut peer) = pair(&lookout);
            assert_eq!(next.seat.number, number, "the place is used again");
            let token = u64::from(before) << 32 | u64::from(number);
            lookout.tell(token, EventFlags::IN | EventFlags::HUP);
            assert!(!next.seat.place(|place| place.readable || place.ended));
            peer.write_all(b"new").unwrap();
            let mut buf = [0; 8];
            assert_eq!(receive(&mut next, &mut buf).await.unwrap(), 3);
        });
    }

    #[test]
    fn a_peer_that_is_gone_is_an_error() {
        within_a_runtime(async |lookout| {
            let (mut ours, theirs) = pair(&lookout);
            let peer = socket2::SockRef::from(&theirs);
            peer.set_linger(Some(std::time::Duration::ZERO)).unwrap();
            drop(theirs);
            let read = receive(&mut ours, &mut [0; 4]).await;
            assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            let slices = [IoSlice::new(b"x")];
            let sent = poll_fn(|cx| ours.poll_send(cx, &slices)).await;
            assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    }

    #[test]
    fn one_that_stays_is_given_to_the_runtime() {
        within_a_runtime(async |lookout| {
            let (ours, mut theirs) = pair(&lookout);
            theirs.write_all(b"before").unwrap();
            let ours = tokio::net::TcpStream::from_std(ours.into_socket()).unwrap();
            ours.readable().await.unwrap();
            let mut buf = [0; 8];
            assert_eq!(ours.try_read(&mut buf).unwrap(), 6);
        });
    }
}

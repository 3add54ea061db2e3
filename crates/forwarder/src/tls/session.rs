//! A TCP connection inside TLS, once its handshake is done: bytes in, bytes out, with as few passes over them as rustls allows.
//!
//! ```text
//!   poll_read  <- plaintext <- records <- one read into an area of the thread
//!   poll_write -> records ------------> one write
//! ```
//!
//! Nothing more is encrypted while records wait to be taken: that is the back-pressure. Handshakes are not done here.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::ops::DerefMut;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::{ConnectionCommon, SideData};
use tokio::io::{AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;

use crate::buffers::SCRATCH_BYTES;
use crate::wire;

thread_local! {
    /// Where records are read to; none stay there. Apart from the scratch area, which is lent out while this is used.
    static RECORDS: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH_BYTES]);
}

/// The connection and what rustls knows of it.
#[derive(Debug)]
pub(crate) struct Session<C> {
    /// The TCP connection underneath.
    pub(crate) tcp: TcpStream,
    /// What encrypts and decrypts.
    pub(crate) connection: C,
    /// The peer was told that nothing more comes.
    ended: bool,
}

impl<C, D> Session<C>
where
    C: DerefMut<Target = ConnectionCommon<D>>,
    D: SideData,
{
    /// A connection whose handshake is done.
    pub(crate) fn new((tcp, connection): (TcpStream, C)) -> Self {
        Self {
            tcp,
            connection,
            ended: false,
        }
    }

    /// Reads what there is; nothing once the peer has said that nothing more comes.
    ///
    /// # Errors
    /// When the connection breaks, ends without that word, or brings what is no TLS: then the peer is told, if it can be.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        while !self.fetch(buf)? && buf.remaining() == room && room > 0 {
            ready!(self.poll_records(cx, buf))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Fetches what was decrypted; false if that is nothing, and more may come.
    fn fetch(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        match self.connection.reader().read(buf.initialize_unfilled()) {
            Ok(count) => buf.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Reads records once; what is in the last of them waits to be fetched.
    fn poll_records(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        RECORDS.with_borrow_mut(|records| {
            // No more than there is room for: less than a record is then left over, and rustls holds no more than that.
            let room = buf.remaining().min(records.len());
            let count = ready!(wire::poll_receive(&self.tcp, cx, &mut records[..room]))?;
            let mut rest = &records[..count];
            loop {
                let taken = self.connection.read_tls(&mut rest)?;
                if let Err(error) = self.connection.process_new_packets() {
                    // The last words are an alert. Nobody waits for them to be taken.
                    let _ = self.poll_send(cx);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                }
                // Nothing is taken after the last word.
                if rest.is_empty() || taken == 0 {
                    return Poll::Ready(Ok(()));
                }
                self.fetch(buf)?;
            }
        })
    }

    /// Encrypts and writes; what is not taken at once goes out with what comes next, or when flushed.
    ///
    /// # Errors
    /// When the connection is broken or was ended.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let count = match slices {
            [one] => self.connection.writer().write(one),
            several => self.connection.writer().write_vectored(several),
        }?;
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }

    /// Writes the records that wait.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.connection.wants_write() {
            let mut wire = Wire { tcp: &self.tcp, cx };
            match self.connection.write_tls(&mut wire) {
                Ok(1..) => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes (RFC 8446 §6.1), and then ends our direction.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.ended, true) {
            self.connection.send_close_notify();
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Takes what rustls writes.
struct Wire<'w, 'c> {
    tcp: &'w TcpStream,
    cx: &'w mut Context<'c>,
}

impl io::Write for Wire<'_, '_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(data)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match wire::poll_send(self.tcp, self.cx, slices) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Waker;
    use std::thread::{self, JoinHandle};

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
    use rustls::{ServerConnection, SupportedProtocolVersion};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    type Peer = StreamOwned<ClientConnection, std::net::TcpStream>;

    /// A session with a client, which does its part on a thread of its own.
    async fn session<T: Send + 'static>(
        version: &'static SupportedProtocolVersion,
        part: impl FnOnce(Peer) -> T + Send + 'static,
    ) -> (Session<ServerConnection>, JoinHandle<T>) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(chain[0].clone()).unwrap();
        let ours = ServerConfig::builder_with_provider(super::super::provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let theirs = ClientConfig::builder_with_provider(super::super::provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let peer = thread::spawn(move || {
            let name = "a.test".try_into().unwrap();
            let connection = ClientConnection::new(Arc::new(theirs), name).unwrap();
            let tcp = std::net::TcpStream::connect(address).unwrap();
            part(StreamOwned::new(connection, tcp))
        });
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let stream = TlsAcceptor::from(Arc::new(ours)).accept(tcp).await.unwrap();
        (Session::new(stream.into_inner()), peer)
    }

    async fn read(session: &mut Session<ServerConnection>, room: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; room];
        let mut buf = ReadBuf::new(&mut bytes);
        poll_fn(|cx| session.poll_read(cx, &mut buf)).await?;
        let count = buf.filled().len();
        bytes.truncate(count);
        Ok(bytes)
    }

    fn some(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 / 7) as u8).collect()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn bytes_go_both_ways_in_pieces_of_any_size() {
        for version in rustls::ALL_VERSIONS {
            let (mut session, peer) = session(version, |mut peer| {
                let (mut back, mut writing) = (Vec::new(), 0);
                let all = some(300_000);
                for size in [1, 5, 4_095, 16_384, 16_385, 40_000].into_iter().cycle() {
                    let end = all.len().min(writing + size);
                    peer.write_all(&all[writing..end]).unwrap();
                    peer.flush().unwrap();
                    writing = end;
                    if writing == all.len() {
                        break;
                    }
                }
                peer.conn.send_close_notify();
                peer.flush().unwrap();
                peer.read_to_end(&mut back).unwrap();
                back
            })
            .await;
            let (mut came, mut rooms) = (Vec::new(), [1, 7, 100_000, 4_096, 16_000].iter().cycle());
            loop {
                let bytes = read(&mut session, *rooms.next().unwrap()).await.unwrap();
                if bytes.is_empty() {
                    break;
                }
                came.extend(bytes);
            }
            assert!(came == some(300_000), "{} octets came", came.len());
            assert!(read(&mut session, 9).await.unwrap().is_empty(), "it stays");
            let mut rest = &came[..];
            while !rest.is_empty() {
                let (one, two) = rest.split_at(rest.len().min(1_000));
                let slices = [IoSlice::new(one), IoSlice::new(two)];
                rest = &rest[poll_fn(|cx| session.poll_write(cx, &slices)).await.unwrap()..];
            }
            poll_fn(|cx| session.poll_shutdown(cx)).await.unwrap();
            assert!(peer.join().unwrap() == came);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_without_the_word_for_it_is_no_end() {
        let (mut session, peer) = session(&rustls::version::TLS13, |mut peer| {
            peer.write_all(b"half").unwrap();
            peer.flush().unwrap();
            peer.sock.shutdown(std::net::Shutdown::Write).unwrap();
            peer
        })
        .await;
        // What it has not read would make a reset of its end.
        let _peer = peer.join().unwrap();
        assert_eq!(read(&mut session, 100).await.unwrap(), b"half");
        for _ in 0..2 {
            let end = read(&mut session, 100).await.unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_no_record_is_answered_with_an_alert() {
        let (mut session, peer) = session(&rustls::version::TLS13, |mut peer| {
            peer.write_all(b"good").unwrap();
            peer.flush().unwrap();
            // A record of which nothing can be decrypted.
            let mut record = vec![23, 3, 3, 0, 40];
            record.extend([7; 40]);
            peer.sock.write_all(&record).unwrap();
            peer.read(&mut [0; 9]).unwrap_err().to_string()
        })
        .await;
        let error = loop {
            match read(&mut session, 100).await {
                Ok(bytes) => assert_eq!(bytes, b"good"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let told = peer.join().unwrap();
        assert!(told.contains("BadRecordMac"), "{told}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn no_more_is_encrypted_than_is_taken() {
        let (go, going) = std::sync::mpsc::channel::<usize>();
        let (mut session, peer) = session(&rustls::version::TLS13, move |mut peer| {
            peer.write_all(b"x").unwrap();
            peer.flush().unwrap();
            let mut all = vec![0; going.recv().unwrap()];
            peer.read_exact(&mut all).unwrap();
            all
        })
        .await;
        assert_eq!(read(&mut session, 9).await.unwrap(), b"x");
        let cx = &mut Context::from_waker(Waker::noop());
        let (piece, mut written) = (some(60_000), Vec::new());
        while let Poll::Ready(count) = session.poll_write(cx, &[IoSlice::new(&piece)]) {
            written.extend(&piece[..count.unwrap()]);
        }
        assert!(session.poll_send(cx).is_pending());
        assert!(session.poll_write(cx, &[IoSlice::new(b"y")]).is_pending());
        go.send(written.len()).unwrap();
        poll_fn(|cx| session.poll_send(cx)).await.unwrap();
        assert!(peer.join().unwrap() == written);
    }
}

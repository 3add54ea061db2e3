//! A thread that looks at files of certificates, of authorities and of revocation lists, and reads them again when they change.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime};

use config::{Certificate, CertificateContent, Revocations, read_authorities, read_revocations};
use tokio::sync::mpsc;

/// Between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What is read of files.
#[derive(Clone, Debug)]
pub(in crate::director) enum Source {
    /// A certificate with its key.
    Certificate(Box<Certificate>),
    /// Whom others may be vouched for by.
    Authorities(String),
    /// What has been revoked.
    Revocations(String),
}

/// What files hold, of the kind that was asked for.
#[derive(Debug)]
pub(in crate::director) enum Content {
    /// A certificate with its key.
    Certificate(Arc<CertificateContent>),
    /// In PEM form.
    Authorities(Arc<str>),
    /// The lists.
    Revocations(Arc<Revocations>),
}

impl Content {
    /// When it has to be read again, changed or not.
    fn until(&self) -> Option<SystemTime> {
        match self {
            Self::Certificate(content) => content.staple.as_ref()?.as_ref().ok()?.until,
            Self::Authorities(_) | Self::Revocations(_) => None,
        }
    }
}

/// What was found, or why it cannot be used.
pub(in crate::director) type Found = (Source, Result<Content, String>);

/// What a certificate of this name is called where there are other things, too.
pub(super) fn certificate(name: &str) -> String {
    format!("certificate {name}")
}

impl Source {
    /// What it is called in messages.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Certificate(wanted) => certificate(&wanted.name),
            Self::Authorities(path) => format!("authorities {path}"),
            Self::Revocations(path) => format!("revocations {path}"),
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Certificate(wanted) => {
                let files = [&wanted.cert_file, &wanted.key_file];
                let files = files.into_iter().chain(&wanted.ocsp_file);
                files.cloned().collect()
            }
            Self::Authorities(path) | Self::Revocations(path) => vec![path.into()],
        }
    }

    fn read(&self) -> Result<Content, String> {
        match self {
            Self::Certificate(wanted) => {
                let read = wanted
                    .read(Some(SystemTime::now()))
                    .map_err(|error| error.to_string())?;
                Ok(Content::Certificate(Arc::new(read)))
            }
            Self::Authorities(path) => read_authorities(Path::new(path))
                .map(Content::Authorities)
                .map_err(|error| error.to_string()),
            Self::Revocations(path) => read_revocations(Path::new(path))
                .map(Content::Revocations)
                .map_err(|error| error.to_string()),
        }
    }
}

/// Starts the thread; what it finds goes to `found`, what it is to look at comes by the sender.
pub(super) fn start(found: mpsc::Sender<Vec<Found>>) -> Sender<Vec<Source>> {
    let (wanted, received) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("tandem-certs".to_owned())
        .stack_size(512 * 1024);
    if let Err(error) = thread.spawn(move || watch(&received, &found)) {
        tracing::warn!(%error, "no thread to watch the files of certificates");
    }
    wanted
}

/// What tells one state of a file from another: also who may read it, which is why the time is that of the last change to
/// anything (ctime), not to what it holds.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((
        metadata.ino(),
        metadata.len(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    ))
}

/// Something whose files are watched.
struct Watched {
    source: Source,
    stamps: Option<Vec<Stamp>>,
    /// It could not be used when it was read last, which was not said: perhaps one of two files has been replaced.
    suspect: bool,
    /// When what it holds ceases to, in part.
    until: Option<SystemTime>,
}

impl Watched {
    /// What the files hold, if they have changed since the last look.
    fn look(&mut self) -> Option<Found> {
        let stamps: Vec<Stamp> = self.source.files().iter().map(|path| stamp(path)).collect();
        let changed = self.stamps.as_ref() != Some(&stamps);
        self.stamps = Some(stamps);
        let over = self.until.is_some_and(|until| until <= SystemTime::now());
        if !changed && !self.suspect && !over {
            return None;
        }
        match self.source.read() {
            Ok(content) => {
                self.suspect = false;
                self.until = content.until();
                Some((self.source.clone(), Ok(content)))
            }
            Err(problem) if self.suspect && !changed => {
                self.suspect = false;
                Some((self.source.clone(), Err(problem)))
            }
            Err(_) => {
                self.suspect = true;
                None
            }
        }
    }
}

/// Looks at the files until nobody wants to know any more.
fn watch(wanted: &Receiver<Vec<Source>>, found: &mpsc::Sender<Vec<Found>>) {
    let mut watched: Vec<Watched> = Vec::new();
    loop {
        match wanted.recv_timeout(LOOK_INTERVAL) {
            Ok(sources) => {
                let new = |source| Watched {
                    source,
                    stamps: None,
                    suspect: false,
                    until: None,
                };
                watched = sources.into_iter().map(new).collect();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let news: Vec<Found> = watched.iter_mut().filter_map(Watched::look).collect();
        if !news.is_empty() && found.blocking_send(news).is_err() {
            return;
        }
    }
}

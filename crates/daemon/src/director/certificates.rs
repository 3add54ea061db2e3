//! Certificates in the director: their files are watched and read again, the forwarder is handed what they hold, and
//! what cannot be used is said.
//!
//! The forwarder runs as somebody who may not read keys; this process may. Files are read by a thread of its own. A file
//! that has become bad changes nothing: what was read before stays in use.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, SystemTime};

use config::{Certificate, CertificateContent, Config};
use control::internal::CertificateText;
use control::{CertificateStatus, EventKind};
use tokio::sync::mpsc;

use super::Director;
use super::journal::Entry;

/// Between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// What was found in the files of one certificate, or why it cannot be used.
pub(super) type Found = (String, Result<Arc<CertificateContent>, String>);

/// The director's side of the thread that looks at the files.
pub(super) struct Certificates {
    wanted: Sender<Vec<Certificate>>,
    /// Why newer files are not in use, by name.
    problems: BTreeMap<String, String>,
}

impl Certificates {
    /// Starts the thread; what it finds goes to `found`. Without a thread nothing is noticed until a reload.
    pub(super) fn start(found: mpsc::Sender<Vec<Found>>) -> Self {
        let (wanted, received) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("tandem-certs".to_owned())
            .stack_size(512 * 1024);
        if let Err(error) = thread.spawn(move || watch(&received, &found)) {
            tracing::warn!(%error, "no thread to watch the files of certificates");
        }
        Self {
            wanted,
            problems: BTreeMap::new(),
        }
    }
}

/// What the files of the certificates hold, for the forwarder.
pub(super) fn texts(config: &Config) -> Vec<CertificateText> {
    let text = |certificate: &Certificate| {
        let content = certificate.content.as_ref()?;
        Some(CertificateText {
            name: certificate.name.clone(),
            names: content.names.clone(),
            chain: content.chain.clone(),
            key: content.key.clone(),
        })
    };
    config.certificates.iter().filter_map(text).collect()
}

/// Whom targets may be vouched for by, for the forwarder.
pub(super) fn authorities(config: &Config) -> BTreeMap<String, String> {
    let all = config.authorities.iter();
    all.map(|(path, text)| (path.clone(), text.to_string()))
        .collect()
}

impl Director {
    /// Has the files of the running configuration watched from here on.
    pub(super) fn watch_certificates(&mut self) {
        let running = self.running.config.certificates.clone();
        let known = |name: &String| running.iter().any(|certificate| certificate.name == *name);
        self.certificates.problems.retain(|name, _| known(name));
        // A thread that is gone was complained about.
        drop(self.certificates.wanted.send(running));
    }

    /// Files have changed, or are no longer what is in use.
    pub(super) fn on_certificates(&mut self, found: Vec<Found>) {
        if !self.reload.is_idle() {
            // The files are looked at again when the reload is over.
            return;
        }
        let mut changed = false;
        for (name, result) in found {
            let running = &mut self.running.config.certificates;
            let Some(certificate) = running.iter_mut().find(|other| other.name == name) else {
                continue;
            };
            let words = match result {
                Ok(content) if certificate.content.as_ref() == Some(&content) => {
                    if self.certificates.problems.remove(&name).is_none() {
                        continue;
                    }
                    "its files hold again what is in use".to_owned()
                }
                Ok(content) => {
                    changed = true;
                    self.certificates.problems.remove(&name);
                    let words = format!("read again: serial {}", content.serial);
                    certificate.content = Some(content);
                    words
                }
                Err(problem) => {
                    let problems = &mut self.certificates.problems;
                    if problems.get(&name) == Some(&problem) {
                        continue;
                    }
                    problems.insert(name.clone(), problem.clone());
                    format!("{problem}; the one read before stays in use")
                }
            };
            let subject = format!("certificate {name}");
            self.journal
                .record(Entry::new(EventKind::Config, subject, words));
        }
        if changed {
            self.configure_plane();
        }
    }

    /// The certificates in use.
    pub(super) fn certificate_status(&self) -> Vec<CertificateStatus> {
        let of = |certificate: &Certificate| {
            let content = certificate.content.as_ref()?;
            Some(CertificateStatus {
                name: certificate.name.clone(),
                file: certificate.cert_file.display().to_string(),
                names: content.names.clone(),
                key: content.key_kind.clone(),
                serial: content.serial.clone(),
                issuer: content.issuer.clone(),
                not_before: content.not_before.into(),
                not_after: content.not_after.into(),
                problem: self.certificates.problems.get(&certificate.name).cloned(),
            })
        };
        self.running
            .config
            .certificates
            .iter()
            .filter_map(of)
            .collect()
    }

    /// What is wrong with certificates, or will be soon.
    pub(super) fn certificate_problems(&self) -> Vec<String> {
        let now = SystemTime::now();
        let mut problems: Vec<String> = self
            .certificates
            .problems
            .iter()
            .map(|(name, problem)| {
                format!("certificate {name}: {problem}; the one read before stays in use")
            })
            .collect();
        for certificate in &self.running.config.certificates {
            let warnings = certificate
                .content
                .as_ref()
                .map(|content| content.time_warning(now));
            if let Some(warning) = warnings.flatten() {
                problems.push(format!(
                    "certificate {}: {}",
                    certificate.name, warning.message
                ));
            }
        }
        problems
    }
}

/// What tells one state of a file from another.
type Stamp = Option<(u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    ))
}

/// A certificate whose files are watched.
struct Watched {
    certificate: Certificate,
    stamps: Option<(Stamp, Stamp)>,
    /// It could not be used when it was read last, which was not said: perhaps one of two files has been replaced.
    suspect: bool,
}

impl Watched {
    /// What the files hold, if they have changed since the last look.
    fn look(&mut self) -> Option<Found> {
        let stamps = (
            stamp(&self.certificate.cert_file),
            stamp(&self.certificate.key_file),
        );
        let changed = self.stamps.replace(stamps) != Some(stamps);
        if !changed && !self.suspect {
            return None;
        }
        let name = self.certificate.name.clone();
        match self.certificate.read() {
            Ok(content) => {
                self.suspect = false;
                Some((name, Ok(Arc::new(content))))
            }
            Err(error) if self.suspect && !changed => {
                self.suspect = false;
                Some((name, Err(error.to_string())))
            }
            Err(_) => {
                self.suspect = true;
                None
            }
        }
    }
}

/// Looks at the files until nobody wants to know any more.
fn watch(wanted: &Receiver<Vec<Certificate>>, found: &mpsc::Sender<Vec<Found>>) {
    let mut watched: Vec<Watched> = Vec::new();
    loop {
        match wanted.recv_timeout(LOOK_INTERVAL) {
            Ok(certificates) => {
                let new = |certificate| Watched {
                    certificate,
                    stamps: None,
                    suspect: false,
                };
                watched = certificates.into_iter().map(new).collect();
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

//! Certificates in the director, and whom others are vouched for by: the files are watched and read again, the forwarder is
//! handed what they hold, and what cannot be used is said.
//!
//! The forwarder runs as somebody who may not read keys; this process may. Files are read by a thread of its own
//! ([`watch`]). A file that has become bad changes nothing: the one read before stays in use.

mod watch;

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::SystemTime;

use config::{Certificate, CertificateContent, Config, Staple};
use control::internal::CertificateText;
use control::{CertificateStatus, EventKind};
use tokio::sync::mpsc;

use super::Director;
use super::journal::Entry;
pub(super) use watch::Found;
use watch::{Content, Source};

/// The director's side of the thread that looks at the files.
pub(super) struct Certificates {
    wanted: Sender<Vec<Source>>,
    /// Why newer files are not in use, by what they are.
    problems: BTreeMap<String, String>,
}

impl Certificates {
    /// Starts the thread; what it finds goes to `found`. Without a thread nothing is noticed until a reload.
    pub(super) fn start(found: mpsc::Sender<Vec<Found>>) -> Self {
        Self {
            wanted: watch::start(found),
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
            staple: staple(content).map(|staple| staple.der.clone()),
        })
    };
    config.certificates.iter().filter_map(text).collect()
}

/// The word of a responder, if it is one that clients may have.
fn staple(content: &CertificateContent) -> Option<&Staple> {
    content.staple.as_ref()?.as_ref().ok()
}

/// Whom targets and clients may be vouched for by, for the forwarder.
pub(super) fn authorities(config: &Config) -> BTreeMap<String, String> {
    let all = config.authorities.iter();
    all.map(|(path, text)| (path.clone(), text.to_string()))
        .collect()
}

/// What has been revoked, for the forwarder.
pub(super) fn revocations(config: &Config) -> BTreeMap<String, String> {
    let all = config.revocations.iter();
    all.map(|(path, lists)| (path.clone(), lists.text.clone()))
        .collect()
}

/// What a configuration wants watched.
fn sources(config: &Config) -> Vec<Source> {
    let certificates = config.certificates.iter().cloned();
    let authorities = config.authorities.keys().cloned();
    let revocations = config.revocations.keys().cloned();
    certificates
        .map(|certificate| Source::Certificate(Box::new(certificate)))
        .chain(authorities.map(Source::Authorities))
        .chain(revocations.map(Source::Revocations))
        .collect()
}

impl Director {
    /// Has the files of the running configuration watched from here on.
    pub(super) fn watch_certificates(&mut self) {
        let wanted = sources(&self.running.config);
        let known = |subject: &String| wanted.iter().any(|source| source.subject() == *subject);
        self.certificates
            .problems
            .retain(|subject, _| known(subject));
        // A thread that is gone was complained about.
        drop(self.certificates.wanted.send(wanted));
    }

    /// Files have changed, or are no longer what is in use.
    pub(super) fn on_certificates(&mut self, found: Vec<Found>) {
        if !self.reload.is_idle() {
            // The files are looked at again when the reload is over.
            return;
        }
        let mut changed = false;
        for (source, result) in found {
            let subject = source.subject();
            let words = match result {
                Ok(content) => {
                    let was_bad = self.certificates.problems.remove(&subject).is_some();
                    match put(&mut self.running.config, &source, content) {
                        Some(words) => {
                            changed = true;
                            words
                        }
                        None if was_bad => "its files hold again what is in use".to_owned(),
                        None => continue,
                    }
                }
                Err(problem) => {
                    let problems = &mut self.certificates.problems;
                    if problems.get(&subject) == Some(&problem) {
                        continue;
                    }
                    problems.insert(subject.clone(), problem.clone());
                    format!("{problem}; the one read before stays in use")
                }
            };
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
                staple_until: staple(content)
                    .and_then(|staple| staple.until)
                    .map(Into::into),
                problem: self
                    .certificates
                    .problems
                    .get(&watch::certificate(&certificate.name))
                    .cloned(),
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
            .map(|(subject, problem)| {
                format!("{subject}: {problem}; the one read before stays in use")
            })
            .collect();
        for certificate in &self.running.config.certificates {
            let content = certificate.content.iter();
            let warnings = content.flat_map(|content| {
                let time = content.time_warning(now).into_iter();
                time.chain(content.staple_warning())
            });
            for warning in warnings {
                problems.push(format!(
                    "certificate {}: {}",
                    certificate.name, warning.message
                ));
            }
        }
        for (path, lists) in &self.running.config.revocations {
            let warning = lists.time_warning(now);
            problems.extend(warning.map(|words| format!("revocations {path}: {words}")));
        }
        problems
    }
}

/// Puts what was found in place of what is in use; what to say about it, if it is something else.
fn put(config: &mut Config, source: &Source, content: Content) -> Option<String> {
    match (source, content) {
        (Source::Certificate(wanted), Content::Certificate(content)) => {
            let mut all = config.certificates.iter_mut();
            let certificate = all.find(|other| other.name == wanted.name)?;
            if certificate.content.as_ref() == Some(&content) {
                return None;
            }
            let words = format!("read again: serial {}", content.serial);
            certificate.content = Some(content);
            Some(words)
        }
        (Source::Authorities(path), Content::Authorities(content)) => {
            let known = config.authorities.get_mut(path)?;
            let differs = *known != content;
            *known = content;
            differs.then(|| "read again".to_owned())
        }
        (Source::Revocations(path), Content::Revocations(content)) => {
            let known = config.revocations.get_mut(path)?;
            let differs = *known != content;
            *known = content;
            differs.then(|| "read again".to_owned())
        }
        // Nothing is found where something else was looked for.
        (Source::Certificate(_) | Source::Authorities(_) | Source::Revocations(_), _) => None,
    }
}

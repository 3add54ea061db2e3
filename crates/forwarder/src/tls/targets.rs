//! TLS to targets: whom a group's connections trust and whom they expect, and whom they say they come from.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use balancer::{Check, CheckTls, GroupSettings, Plan, TargetTlsSettings};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificates::{self, CertificateMaterial};
use super::session::Session;
use super::{Materials, TlsError, provider};
use crate::error::ApplyError;
use crate::stream::Stream;

/// The name of HTTP/2 inside TLS (RFC 9113 §3.2).
const H2: &[u8] = b"h2";

/// What the connections of one group have in common.
#[derive(Debug)]
pub(crate) struct TargetTls {
    /// No two that differ have the same: part of what tells one kept connection from another.
    pub(crate) id: u64,
    settings: TargetTlsSettings,
    http2: bool,
    authorities: String,
    /// Shown to targets that ask.
    shown: Option<CertificateMaterial>,
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl TargetTls {
    fn build(
        settings: &TargetTlsSettings,
        http2: bool,
        authorities: &str,
        shown: Option<&CertificateMaterial>,
    ) -> Result<Self, TlsError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let roots = roots(&settings.ca, authorities)?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(TlsError::Settings)?
            .with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(material) => {
                let (chain, key) = certificates::parts(material)?;
                let config = builder.with_client_auth_cert(chain, key);
                config.map_err(|source| TlsError::Rejected {
                    name: material.name.clone(),
                    source,
                })?
            }
        };
        if http2 {
            config.alpn_protocols = vec![H2.to_vec()];
        }
        let name = settings.name.clone().map(ServerName::try_from);
        let name = name.transpose();
        Ok(Self {
            id: NEXT.fetch_add(1, Relaxed),
            settings: settings.clone(),
            http2,
            authorities: authorities.to_owned(),
            shown: shown.cloned(),
            config: Arc::new(config),
            name: name.map_err(|_| TlsError::BadName(settings.name.clone().unwrap_or_default()))?,
        })
    }

    /// Encrypts a new connection; fails unless the target is whom it should be: the configured name, or its address.
    async fn connect(&self, stream: TcpStream) -> io::Result<Session<ClientConnection>> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::IpAddress(stream.peer_addr()?.ip().into()),
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let stream = connector.connect(name, stream).await?;
        if self.http2 && stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(io::Error::other("the target does not speak HTTP/2"));
        }
        Ok(Session::new(stream.into_inner()))
    }
}

/// The certificate that settings name.
fn shown<'m>(
    settings: &TargetTlsSettings,
    materials: &'m Materials,
) -> Result<Option<&'m CertificateMaterial>, TlsError> {
    let Some(name) = &settings.certificate else {
        return Ok(None);
    };
    let mut all = materials.certificates.iter();
    let found = all.find(|material| material.name == *name);
    let missing = || TlsError::UnknownCertificate(name.clone());
    found.map(Some).ok_or_else(missing)
}

/// Whom the text of a file trusts.
pub(super) fn roots(file: &str, authorities: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        let authority = authority.map_err(|source| TlsError::Pem {
            name: file.to_owned(),
            source,
        })?;
        // Of a system's hundreds one that is not understood takes no trust from the others.
        roots.add_parsable_certificates([authority]);
    }
    if roots.is_empty() {
        return Err(TlsError::NoAuthority(file.to_owned()));
    }
    Ok(roots)
}

/// What one group has.
#[derive(Clone, Debug, Default)]
struct OfGroup {
    traffic: Option<Arc<TargetTls>>,
    /// For checks that are told to be inside TLS; the same as of the traffic if that does.
    checks: Option<Arc<TargetTls>>,
}

/// By the names of the groups.
type ByGroup = BTreeMap<String, OfGroup>;

/// What all threads know of TLS to targets.
#[derive(Debug, Default)]
pub(crate) struct Targets(ArcSwap<ByGroup>);

/// How a group's targets are reached.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// As they are.
    Plain,
    /// Inside TLS.
    Tls(Arc<TargetTls>),
    /// Inside TLS, but the group is of a plan that is no longer in force and nobody knows how any more.
    Unknown,
}

impl Way {
    /// Makes of a new connection what is spoken with the target.
    pub(crate) async fn enter(&self, stream: TcpStream) -> io::Result<Stream> {
        match self {
            Self::Plain => Ok(Stream::Plain(stream)),
            Self::Tls(tls) => Ok(Stream::Client(Box::new(tls.connect(stream).await?))),
            Self::Unknown => Err(io::Error::other("the settings for TLS have changed")),
        }
    }

    /// True if what is sent is not what the target gets.
    pub(crate) fn is_tls(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Tls(_) | Self::Unknown => true,
        }
    }

    /// What tells a kept connection of this way from others to the same address.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Plain | Self::Unknown => 0,
            Self::Tls(tls) => tls.id,
        }
    }
}

impl Targets {
    /// What a plan wants; what stays as it was keeps its identity, its sessions and its connections.
    pub(crate) fn prepare(
        &self,
        plan: &Plan,
        materials: &Materials,
    ) -> Result<Prepared, ApplyError> {
        let known = self.0.load();
        let mut wanted = ByGroup::new();
        for group in plan.groups() {
            let group = group.settings();
            let kept = known.get(&group.name).cloned().unwrap_or_default();
            let failed = |source| ApplyError::TargetTls {
                group: group.name.clone(),
                source,
            };
            let of_group = of_group(group, kept, materials).map_err(failed)?;
            wanted.insert(group.name.clone(), of_group);
        }
        Ok(Prepared(Arc::new(wanted)))
    }

    /// Puts it in force; what was before. Nobody who still serves the plan before is left without a way that stays.
    pub(crate) fn set(&self, prepared: Prepared) -> Prepared {
        Prepared(self.0.swap(prepared.0))
    }

    /// How the targets of a group are reached.
    pub(crate) fn way(&self, group: &GroupSettings) -> Way {
        if group.tls.is_none() {
            return Way::Plain;
        }
        let known = self.0.load();
        let known = known.get(&group.name).and_then(|own| own.traffic.clone());
        known.map_or(Way::Unknown, Way::Tls)
    }

    /// How a target is checked, at a place that is for checks alone or at its own.
    pub(crate) fn check_way(&self, group: &GroupSettings, elsewhere: bool) -> Way {
        match &group.health.tls {
            CheckTls::AsTraffic if elsewhere => Way::Plain,
            CheckTls::AsTraffic => self.way(group),
            CheckTls::Off => Way::Plain,
            CheckTls::On(_) => {
                let known = self.0.load();
                let known = known.get(&group.name).and_then(|own| own.checks.clone());
                known.map_or(Way::Unknown, Way::Tls)
            }
        }
    }
}

/// What a group wants; what stays as it was is taken from `kept`.
fn of_group(
    group: &GroupSettings,
    kept: OfGroup,
    materials: &Materials,
) -> Result<OfGroup, TlsError> {
    let prepared = |settings: &TargetTlsSettings, http2, kept: &[&Option<Arc<TargetTls>>]| {
        let authorities = materials.authorities.get(&settings.ca);
        let missing = || TlsError::NoAuthority(settings.ca.clone());
        let authorities = authorities.ok_or_else(missing)?;
        let shown = shown(settings, materials)?;
        let fits = |kept: &&Arc<TargetTls>| {
            kept.settings == *settings
                && kept.http2 == http2
                && kept.authorities == *authorities
                && kept.shown.as_ref() == shown
        };
        match kept.iter().filter_map(|kept| kept.as_ref()).find(fits) {
            Some(kept) => Ok(Arc::clone(kept)),
            None => TargetTls::build(settings, http2, authorities, shown).map(Arc::new),
        }
    };
    let traffic = group.tls.as_ref();
    let traffic = traffic.map(|settings| prepared(settings, group.http2, &[&kept.traffic]));
    let traffic = traffic.transpose()?;
    let health = &group.health;
    let checks = match &health.tls {
        CheckTls::AsTraffic | CheckTls::Off => None,
        CheckTls::On(settings) => {
            // A call of gRPC is in HTTP/2, whatever the traffic is in.
            let http2 = health.http2 || matches!(health.check, Check::Grpc { .. });
            Some(prepared(settings, http2, &[&traffic, &kept.checks])?)
        }
    };
    Ok(OfGroup { traffic, checks })
}

/// What a plan wants, not in force yet.
#[derive(Debug)]
pub(crate) struct Prepared(Arc<ByGroup>);

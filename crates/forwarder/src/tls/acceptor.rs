//! What the listeners of a plan do with clients that want TLS, as rustls takes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use balancer::{ListenerSettings, Plan, Protocol, TlsSettings, TlsVersion};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::certificates::Chooser;
use super::clients;
use super::tickets::{TicketSecret, Tickets};
use super::{Materials, TlsError, provider};
use crate::error::ApplyError;

/// Acceptors by the names of their listeners.
pub(crate) type Acceptors = BTreeMap<String, Arc<ServerConfig>>;

/// The acceptors of all listeners of a plan that end TLS.
pub(crate) fn of_plan(
    plan: &Plan,
    materials: &Materials,
    own: &TicketSecret,
) -> Result<Acceptors, ApplyError> {
    let mut acceptors = Acceptors::new();
    for listener in plan.listeners() {
        let listener = listener.settings();
        let acceptor = of_listener(listener, materials, own).map_err(|source| ApplyError::Tls {
            listener: listener.name.clone(),
            source,
        })?;
        acceptors.extend(acceptor.map(|acceptor| (listener.name.clone(), Arc::new(acceptor))));
    }
    Ok(acceptors)
}

fn of_listener(
    listener: &ListenerSettings,
    materials: &Materials,
    own: &TicketSecret,
) -> Result<Option<ServerConfig>, TlsError> {
    match (listener.protocol, &listener.tls) {
        (Protocol::Http | Protocol::Tcp | Protocol::Udp, _) => Ok(None),
        (Protocol::Https, None) => Err(TlsError::NoSettings),
        (Protocol::Tls, None) => Ok(None),
        (Protocol::Https | Protocol::Tls, Some(settings)) => {
            let secrets = match &materials.tickets[..] {
                [] => std::slice::from_ref(own),
                shared => shared,
            };
            let verifier = clients::verifier(settings.clients.as_ref(), materials)?;
            // Who comes back is not asked again: a ticket holds for those alone who are asked the same.
            let scope = clients::fingerprint(settings.clients.as_ref(), materials);
            let tickets = Tickets::new(secrets, &listener.name, &scope);
            build(settings, materials, (tickets, verifier)).map(Some)
        }
    }
}

fn build(
    settings: &TlsSettings,
    materials: &Materials,
    (tickets, verifier): (Tickets, Arc<dyn ClientCertVerifier>),
) -> Result<ServerConfig, TlsError> {
    let chooser = Chooser::new(&settings.certificates, &materials.certificates)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(settings.min))
        .map_err(TlsError::Settings)?;
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(chooser));
    let alpn = settings.alpn.iter();
    config.alpn_protocols = alpn.map(|alpn| alpn.as_str().into()).collect();
    // All that is needed to resume is in the ticket: no memory is spent on clients that may come back.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(tickets);
    // All of them are good, so that this is not about strength: who looks at us from outside is to find one order.
    config.ignore_client_order = true;
    // What comes with the first flight can be sent again by anybody who has seen it (RFC 8446 §8).
    config.max_early_data_size = 0;
    Ok(config)
}

static SINCE_1_3: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    match min {
        TlsVersion::V1_2 => rustls::ALL_VERSIONS,
        TlsVersion::V1_3 => &SINCE_1_3,
    }
}

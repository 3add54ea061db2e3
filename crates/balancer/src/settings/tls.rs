//! How connections are encrypted. Certificates are named here; what they hold is the forwarder's.

use std::fmt;
use std::time::Duration;

use super::GroupSettings;

/// One `[listener.NAME.tls]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    /// The oldest version that is spoken.
    pub min: TlsVersion,
    /// What is offered inside, the preferred first. Clients that ask for nothing get HTTP/1.1.
    pub alpn: Vec<Alpn>,
    /// Names of certificates; one of them is chosen by the name the client asks for, the first is for everybody else.
    pub certificates: Vec<String>,
    /// For how long browsers are told to come by https only (RFC 6797); `None` (default) to say nothing.
    pub hsts: Option<Duration>,
    /// Who clients have to be; `None` (default) not to ask them.
    pub clients: Option<ClientTlsSettings>,
}

impl TlsSettings {
    /// TLS with these certificates, everything else at its default.
    pub fn new<S: Into<String>>(certificates: impl IntoIterator<Item = S>) -> Self {
        Self {
            min: TlsVersion::default(),
            alpn: vec![Alpn::Http2, Alpn::Http1],
            certificates: certificates.into_iter().map(Into::into).collect(),
            hsts: None,
            clients: None,
        }
    }
}

/// `client_ca` and what goes with it: clients are asked for a certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientTlsSettings {
    /// The file with those who may vouch for a client.
    pub ca: String,
    /// The file with the lists of what they have revoked; `None` (default) not to look.
    pub crl: Option<String>,
    /// What becomes of a client without a certificate.
    pub certificate: ClientCertificate,
}

/// What becomes of a client that shows no certificate. One that shows a wrong one is always refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum ClientCertificate {
    /// It is refused.
    #[default]
    Require,
    /// It is served without a name.
    Allow,
}

impl ClientCertificate {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Allow => "allow",
        }
    }
}

/// `tls` of a `[group.NAME]`: targets are believed only if their certificate says so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetTlsSettings {
    /// The name every target must have in its certificate, and is asked for; `None` (default) for its address.
    pub name: Option<String>,
    /// The file with those who may vouch for a target.
    pub ca: String,
    /// The name of the certificate that is shown to targets that ask for one; `None` (default) to have none.
    pub certificate: Option<String>,
}

/// Whether checks are encrypted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum CheckTls {
    /// Like the traffic; in plain text at a place that is for checks alone.
    #[default]
    AsTraffic,
    /// In plain text.
    Off,
    /// Inside TLS, with targets that are whom these settings say.
    On(TargetTlsSettings),
}

impl GroupSettings {
    /// What is spoken with its targets, in words, if it is more than HTTP/1.1 or plain bytes: `HTTP/2`, `TLS to web.internal`,
    /// `HTTP/2 in TLS to web.internal with certificate balancer`.
    pub fn speech(&self) -> Option<String> {
        let tls = self.tls.as_ref().map(|tls| {
            let name = tls.name.as_ref();
            let name = name.map_or(String::new(), |name| format!(" to {name}"));
            let shown = tls.certificate.as_ref();
            let shown = shown.map_or(String::new(), |shown| format!(" with certificate {shown}"));
            format!("TLS{name}{shown}")
        });
        match (self.http2, tls) {
            (true, Some(tls)) => Some(format!("HTTP/2 in {tls}")),
            (true, None) => Some("HTTP/2".to_owned()),
            (false, tls) => tls,
        }
    }
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl TlsVersion {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// A protocol inside TLS (RFC 7301).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Alpn {
    /// HTTP/2.
    Http2,
    /// HTTP/1.1.
    Http1,
}

impl Alpn {
    /// The word of the configuration, which is that of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http2 => "h2",
            Self::Http1 => "http/1.1",
        }
    }
}

impl fmt::Display for Alpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoken_with_targets_in_words() {
        let tls = |name: Option<&str>, certificate: Option<&str>| TargetTlsSettings {
            name: name.map(str::to_owned),
            ca: "/ca.pem".to_owned(),
            certificate: certificate.map(str::to_owned),
        };
        let rows = [
            (false, None, None),
            (true, None, Some("HTTP/2")),
            (false, Some(tls(None, None)), Some("TLS")),
            (
                true,
                Some(tls(Some("web.internal"), Some("balancer"))),
                Some("HTTP/2 in TLS to web.internal with certificate balancer"),
            ),
        ];
        for (http2, tls, words) in rows {
            let mut group = GroupSettings::new("g", []);
            (group.http2, group.tls) = (http2, tls);
            assert_eq!(group.speech().as_deref(), words);
        }
    }
}

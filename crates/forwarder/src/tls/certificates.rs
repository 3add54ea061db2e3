//! Certificates with their keys, and which of a listener's a client gets: by the name it asks for (RFC 6066 §3), then
//! by the signatures it can check.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::{TlsError, provider};

/// A certificate with its key, as the files hold them.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateMaterial {
    /// The name listeners use.
    pub name: String,
    /// The DNS names the certificate is for, in lower case; `*.` stands for one label.
    pub names: Vec<String>,
    /// The chain in PEM form, the certificate of the key first.
    pub chain: String,
    /// The private key in PEM form.
    pub key: String,
    /// A responder's word that the certificate is good (RFC 6960), for clients who ask for it (RFC 6066 §8).
    pub staple: Option<Vec<u8>>,
}

/// The key is not shown.
impl fmt::Debug for CertificateMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateMaterial")
            .field("name", &self.name)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// The certificates of one listener.
pub(crate) struct Chooser {
    /// Those that sign with less work first.
    keys: Vec<Arc<CertifiedKey>>,
    exact: HashMap<String, Vec<usize>>,
    /// By what follows the first label.
    wild: HashMap<String, Vec<usize>>,
    /// For a client that names nobody we know.
    default: Vec<usize>,
}

/// Keys are not shown.
impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chooser")
            .field("exact", &self.exact)
            .field("wild", &self.wild)
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}

impl Chooser {
    /// The certificates of these names, the first being the default together with those that share a name with it.
    pub(crate) fn new(
        wanted: &[String],
        materials: &[CertificateMaterial],
    ) -> Result<Self, TlsError> {
        let find = |name: &String| {
            let found = materials.iter().find(|material| material.name == *name);
            found.ok_or_else(|| TlsError::UnknownCertificate(name.clone()))
        };
        let materials = wanted.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let first = *materials.first().ok_or(TlsError::NoCertificate)?;
        let mut loaded = Vec::with_capacity(materials.len());
        for material in materials {
            loaded.push((load(material)?, material));
        }
        loaded.sort_by_key(|(key, _)| work(key));
        let mut chooser = Self {
            keys: Vec::new(),
            exact: HashMap::new(),
            wild: HashMap::new(),
            default: Vec::new(),
        };
        for (index, (key, material)) in loaded.into_iter().enumerate() {
            chooser.keys.push(Arc::new(key));
            for name in &material.names {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut chooser.wild, rest),
                    None => (&mut chooser.exact, name.as_str()),
                };
                table.entry(name.to_owned()).or_default().push(index);
            }
            let shares = material.names.iter().any(|name| first.names.contains(name));
            if shares || material.name == first.name {
                chooser.default.push(index);
            }
        }
        Ok(chooser)
    }

    /// The certificate for a client that asks for `name` and can check these signatures.
    fn choose(&self, name: Option<&str>, offered: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let name = name.map(lower);
        let name = name.as_deref().unwrap_or_default();
        let of = |table: &'_ HashMap<String, Vec<usize>>, name: &str| -> Vec<usize> {
            table.get(name).cloned().unwrap_or_default()
        };
        let parent = name.split_once('.').map_or("", |(_, parent)| parent);
        let mut named = of(&self.exact, name);
        named.extend(of(&self.wild, parent));
        let candidates = if named.is_empty() {
            &self.default
        } else {
            &named
        };
        let keys = candidates.iter().filter_map(|index| self.keys.get(*index));
        let mut usable = keys.filter(|key| key.key.choose_scheme(offered).is_some());
        usable.next().map(Arc::clone)
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

fn lower(name: &str) -> Cow<'_, str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

/// What a signature costs, in order.
fn work(key: &CertifiedKey) -> u8 {
    match key.key.algorithm() {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::RSA => 2,
        _ed25519_and_later => 1,
    }
}

/// Chain and key of a material.
pub(super) fn parts(
    material: &CertificateMaterial,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let pem = |source| TlsError::Pem {
        name: material.name.clone(),
        source,
    };
    let chain = CertificateDer::pem_slice_iter(material.chain.as_bytes());
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem)?;
    let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes()).map_err(pem)?;
    Ok((chain, key))
}

fn load(material: &CertificateMaterial) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = parts(material)?;
    let mut key =
        CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Rejected {
            name: material.name.clone(),
            source,
        })?;
    key.ocsp.clone_from(&material.staple);
    Ok(key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    const BOTH: &[SignatureScheme] = &[
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::ECDSA_NISTP256_SHA256,
    ];

    fn material(
        name: &str,
        names: &[&str],
        algorithm: &'static rcgen::SignatureAlgorithm,
    ) -> CertificateMaterial {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names.clone())
            .unwrap()
            .self_signed(&key)
            .unwrap();
        CertificateMaterial {
            name: name.to_owned(),
            names,
            chain: certificate.pem(),
            key: key.serialize_pem(),
            staple: None,
        }
    }

    fn ecdsa(name: &str, names: &[&str]) -> CertificateMaterial {
        material(name, names, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    fn chooser(materials: &[CertificateMaterial]) -> Chooser {
        let names: Vec<String> = materials
            .iter()
            .map(|material| material.name.clone())
            .collect();
        Chooser::new(&names, materials).unwrap()
    }

    /// Name of the material whose certificate was chosen.
    fn chosen(
        materials: &[CertificateMaterial],
        name: Option<&str>,
        offered: &[SignatureScheme],
    ) -> String {
        let Some(key) = chooser(materials).choose(name, offered) else {
            return "none".to_owned();
        };
        let same = |material: &&CertificateMaterial| {
            let der = CertificateDer::from_pem_slice(material.chain.as_bytes()).unwrap();
            key.cert[0] == der
        };
        materials.iter().find(same).unwrap().name.clone()
    }

    #[test]
    fn the_name_decides_and_the_first_is_for_everybody_else() {
        let all = [
            ecdsa("default", &["www.example.org"]),
            ecdsa("exact", &["app.example.com"]),
            ecdsa("wild", &["*.example.com", "example.com"]),
        ];
        let rows = [
            (Some("app.example.com"), "exact"),
            (Some("APP.Example.Com."), "exact"),
            (Some("other.example.com"), "wild"),
            (Some("example.com"), "wild"),
            (Some("a.b.example.com"), "default"),
            (Some("example.net"), "default"),
            (None, "default"),
        ];
        for (name, expected) in rows {
            assert_eq!(chosen(&all, name, BOTH), expected, "{name:?}");
        }
    }

    #[test]
    fn of_two_for_one_name_the_client_gets_the_one_it_can_check() {
        let all = [
            material("rsa", &["a.example"], &rcgen::PKCS_RSA_SHA256),
            ecdsa("ecdsa", &["a.example"]),
        ];
        let rsa = &[SignatureScheme::RSA_PSS_SHA256][..];
        let p256 = &[SignatureScheme::ECDSA_NISTP256_SHA256][..];
        let p384 = &[SignatureScheme::ECDSA_NISTP384_SHA384][..];
        for name in [Some("a.example"), Some("b.example"), None] {
            assert_eq!(chosen(&all, name, BOTH), "ecdsa", "it is less work");
            assert_eq!(chosen(&all, name, p256), "ecdsa");
            assert_eq!(chosen(&all, name, rsa), "rsa");
            assert_eq!(chosen(&all, name, p384), "none");
        }
    }

    #[test]
    fn a_wildcard_stands_in_where_the_exact_one_cannot_be_checked() {
        let all = [
            ecdsa("exact", &["a.example.com"]),
            material("wild", &["*.example.com"], &rcgen::PKCS_RSA_SHA256),
        ];
        let rsa = &[SignatureScheme::RSA_PSS_SHA256];
        assert_eq!(chosen(&all, Some("a.example.com"), rsa), "wild");
        assert_eq!(chosen(&all, Some("a.example.com"), BOTH), "exact");
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let one = ecdsa("one", &["a.example"]);
        let two = ecdsa("two", &["a.example"]);
        let names = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let error = |wanted: &[&str], material: CertificateMaterial| {
            Chooser::new(&names(wanted), &[material])
                .unwrap_err()
                .to_string()
        };
        assert_eq!(error(&[], one.clone()), "no certificate is named");
        assert_eq!(error(&["x"], one.clone()), "there is no certificate x");
        let strange_key = CertificateMaterial {
            key: two.key.clone(),
            ..one.clone()
        };
        assert_eq!(
            error(&["one"], strange_key),
            "certificate one cannot be used with its key"
        );
        let no_key = CertificateMaterial {
            key: one.chain.clone(),
            ..one.clone()
        };
        assert_eq!(
            error(&["one"], no_key),
            "certificate one is not in PEM form"
        );
        let shown = format!("{one:?}");
        assert!(!shown.contains("PRIVATE"), "{shown}");
    }
}

//! Whom a certificate is for, in words: its subject as RFC 4514 writes it, and as `openssl x509 -nameopt RFC2253` does, or its
//! first alternative name where the subject is empty.
//!
//! Every octet is printable ASCII, and what an authority has put into one part of a name never looks like another part.

use std::fmt::Write as _;

use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::asn1_rs::ToDer as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// The longest name that is passed on, in bytes.
const MAX_NAME: usize = 1024;

/// Types of attributes that have a word (RFC 4514 §3), and two more that are common.
const WORDS: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// Why a client that showed a certificate gets no name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Nameless {
    /// It was valid when the session began, and is not any more.
    Expired,
    /// There is no name in it, or one that is too long to pass on.
    Unusable,
}

/// The name of a certificate that was verified, now or when the session began.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Box<str>, Nameless> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let (_, certificate) = parsed.map_err(|_| Nameless::Unusable)?;
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    if certificate.validity().not_after.timestamp() < now {
        return Err(Nameless::Expired);
    }
    let mut name = String::new();
    write_subject(&mut name, certificate.subject());
    if name.is_empty() {
        write_alternative(&mut name, &certificate);
    }
    match name.len() {
        1..=MAX_NAME => Ok(name.into()),
        _ => Err(Nameless::Unusable),
    }
}

/// The last part first, as RFC 4514 §2.1 has it.
fn write_subject(out: &mut String, subject: &X509Name<'_>) {
    let parts: Vec<_> = subject.iter().collect();
    for part in parts.into_iter().rev() {
        let mut before = if out.is_empty() { "" } else { "," };
        for attribute in part.iter() {
            out.push_str(before);
            write_attribute(out, attribute);
            before = "+";
        }
    }
}

fn write_attribute(out: &mut String, attribute: &AttributeTypeAndValue<'_>) {
    let kind = attribute.attr_type().to_id_string();
    let word = WORDS.iter().find(|(id, _)| *id == kind);
    match (word, attribute.as_str()) {
        (Some((_, word)), Ok(value)) => {
            out.push_str(word);
            out.push('=');
            write_escaped(out, value);
        }
        // What has no word, or is no text, is written as it is encoded.
        (word, _) => {
            out.push_str(word.map_or(kind.as_str(), |(_, word)| word));
            out.push_str("=#");
            let octets = attribute.attr_value().to_der_vec().unwrap_or_default();
            for octet in octets {
                let _ = write!(out, "{octet:02X}"); // writing to memory cannot fail
            }
        }
    }
}

/// The first alternative name, its kind in front.
fn write_alternative(out: &mut String, certificate: &X509Certificate<'_>) {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.map(|extension| &extension.value.general_names);
    let known = names.into_iter().flatten().find_map(|name| match name {
        GeneralName::DNSName(name) => Some(("DNS:", *name)),
        GeneralName::RFC822Name(name) => Some(("email:", *name)),
        GeneralName::URI(name) => Some(("URI:", *name)),
        _other_kinds => None,
    });
    if let Some((kind, name)) = known {
        out.push_str(kind);
        write_escaped(out, name);
    }
}

/// RFC 4514 §2.4, everything that is not printable ASCII as hexadecimal octets.
fn write_escaped(out: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b'#' if at == 0 => out.push_str("\\#"),
            b' ' if at == 0 || at == last => out.push_str("\\ "),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:02X}"); // writing to memory cannot fail
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;
    use std::process::Command;

    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType, date_time_ymd};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> rcgen::Certificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap()
    }

    /// What openssl calls it.
    fn as_openssl_says(certificate: &rcgen::Certificate) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(certificate.pem().as_bytes()).unwrap();
        let shown = Command::new("openssl")
            .args(["x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in"])
            .arg(file.path())
            .output()
            .expect("openssl is installed (scripts/setup)");
        let shown = String::from_utf8(shown.stdout).unwrap();
        let shown = shown.trim_end_matches('\n');
        shown.strip_prefix("subject=").unwrap().to_owned()
    }

    #[test]
    fn subjects_are_written_as_openssl_writes_them() {
        let rows: [(&[(DnType, &str)], &str); 7] = [
            (
                &[
                    (DnType::CountryName, "DE"),
                    (DnType::OrganizationName, "Example"),
                    (DnType::CommonName, "alice"),
                ],
                "CN=alice,O=Example,C=DE",
            ),
            (&[(DnType::CommonName, "a, O=Admins")], "CN=a\\, O=Admins"),
            (
                &[(DnType::CommonName, "#1+2;\"<>\\")],
                "CN=\\#1\\+2\\;\\\"\\<\\>\\\\",
            ),
            (&[(DnType::CommonName, " a b ")], "CN=\\ a b\\ "),
            (&[(DnType::CommonName, "J\u{fc}rg")], "CN=J\\C3\\BCrg"),
            (&[(DnType::CommonName, "a\r\nX-A: b")], "CN=a\\0D\\0AX-A: b"),
            (
                &[(DnType::CustomDnType(vec![1, 2, 3, 4]), "x")],
                "1.2.3.4=#0C0178",
            ),
        ];
        for (parts, expected) in rows {
            let certificate = certificate(|params| {
                for (kind, value) in parts {
                    let value = DnValue::Utf8String((*value).to_owned());
                    params.distinguished_name.push(kind.clone(), value);
                }
            });
            assert_eq!(of(certificate.der()).as_deref(), Ok(expected));
            assert_eq!(as_openssl_says(&certificate), expected);
        }
    }

    #[test]
    fn without_a_subject_the_first_other_name_counts() {
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let named = certificate(|params| {
            params.subject_alt_names = vec![uri("spiffe://example.org/web"), uri("other:")];
        });
        assert_eq!(
            of(named.der()).as_deref(),
            Ok("URI:spiffe://example.org/web")
        );
        assert_eq!(of(certificate(|_| {}).der()), Err(Nameless::Unusable));
    }

    #[test]
    fn who_has_expired_or_is_too_long_has_no_name() {
        let common = |params: &mut CertificateParams, name: String| {
            params.distinguished_name.push(DnType::CommonName, name);
        };
        let old = certificate(|params| {
            common(params, "alice".to_owned());
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        assert_eq!(of(old.der()), Err(Nameless::Expired));
        let long = certificate(|params| common(params, "\u{fc}".repeat(400)));
        assert_eq!(of(long.der()), Err(Nameless::Unusable));
    }
}

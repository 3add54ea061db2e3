//! `tandem certs`: the certificates in use, and when they end.

use control::{CertificateStatus, Timestamp};

use super::table::{Align, Table, cell};
use super::words::{sentence, span_of_seconds};

/// The screen of `tandem certs`.
pub(crate) fn certificates(certificates: &[CertificateStatus], now: Timestamp) -> String {
    if certificates.is_empty() {
        return "no certificates\n".to_owned();
    }
    let mut table = Table::new(
        0,
        &[
            ("NAME", Align::Left),
            ("EXPIRES", Align::Left),
            ("KEY", Align::Left),
            ("FOR, FILE, SERIAL", Align::Left),
        ],
    );
    for certificate in certificates {
        let date: String = certificate.not_after.to_string().chars().take(10).collect();
        let names = match certificate.names.is_empty() {
            true => "no name".to_owned(),
            false => certificate.names.join(" "),
        };
        let mut what = vec![names, certificate.file.clone(), certificate.serial.clone()];
        if let Some(until) = certificate.staple_until {
            what.push(format!("OCSP answer until {until}"));
        }
        table.row(vec![
            cell(&certificate.name),
            vec![date, left(certificate.not_after, now)],
            cell(&certificate.key),
            what,
        ]);
    }
    let mut out = table.draw();
    for certificate in certificates {
        if let Some(problem) = &certificate.problem {
            let words = format!(
                "{}: {problem}; the one read before stays in use",
                certificate.name
            );
            out.push_str(&sentence("! ", 2, &words));
        }
    }
    out
}

fn left(end: Timestamp, now: Timestamp) -> String {
    let seconds = (end.as_millis() - now.as_millis()) / 1000;
    let span = span_of_seconds(seconds.unsigned_abs());
    match seconds {
        0.. => format!("in {span}"),
        _ => format!("{span} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificates_in_use() {
        let at = |days: i64| Timestamp::from_millis(1_772_600_767_000 + days * 86_400_000);
        let app = CertificateStatus {
            name: "app".to_owned(),
            file: "/etc/tandem/app.pem".to_owned(),
            names: vec!["app.example.com".to_owned(), "*.app.example.com".to_owned()],
            key: "ECDSA P-256".to_owned(),
            serial: "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567".to_owned(),
            issuer: "CN=ca".to_owned(),
            not_before: at(-1),
            not_after: at(89),
            staple_until: Some(at(6)),
            problem: None,
        };
        let legacy = CertificateStatus {
            name: "legacy".to_owned(),
            names: Vec::new(),
            key: "RSA 2048".to_owned(),
            serial: "07".to_owned(),
            not_after: at(-3),
            staple_until: None,
            problem: Some("/etc/tandem/app.pem holds no certificate".to_owned()),
            ..app.clone()
        };
        let expected = "\
NAME    EXPIRES     KEY          FOR, FILE, SERIAL
app     2026-06-01  ECDSA P-256  app.example.com *.app.example.com
        in 89d00h                /etc/tandem/app.pem
                                 0a1b2c3d4e5f60718293a4b5c6d7e8f901234567
                                 OCSP answer until 2026-03-10T05:06:07.000Z
legacy  2026-03-01  RSA 2048     no name
        3d00h ago                /etc/tandem/app.pem
                                 07
! legacy: /etc/tandem/app.pem holds no certificate; the one read before stays in
  use
";
        assert_eq!(certificates(&[app, legacy], at(0)), expected);
        assert_eq!(certificates(&[], at(0)), "no certificates\n");
    }
}

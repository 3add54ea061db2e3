//! `tandem explain`: what would become of a request, asked of the daemon or of a file.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Instant;

use config::{Explanation, Question};
use control::{ClientError, path};
use serde_json::{Value, json};

use super::Call;
use crate::args::Asked;
use crate::exit::{Code, Failure};
use crate::file;
use crate::screen;

impl Call {
    /// Prints it; a fault if the request would be refused, closed, or find no target.
    pub(crate) async fn explain(mut self, asked: &Asked) -> Result<Code, Failure> {
        let question = question(asked)?;
        let (raw, explanation): (Value, Explanation) = match &asked.config {
            Some(file) => offline(file, asked.node.clone(), &question)?,
            None => {
                let asked = self.client.post(path::EXPLAIN, &question).await;
                let raw: Value = asked.map_err(senseless)?;
                let explanation = self.client.read(&raw)?;
                (raw, explanation)
            }
        };
        if self.json {
            self.output.json(&raw)?;
        } else {
            let screen = screen::explanation(&question, &explanation);
            self.output.screen(&screen)?;
        }
        Ok(match explanation.answered {
            true => Code::Good,
            false => Code::Fault,
        })
    }
}

/// What the daemon cannot answer for want of sense is the asker's mistake.
fn senseless(error: ClientError) -> Failure {
    match error {
        ClientError::Refused {
            status: 400, error, ..
        } => Failure::Usage(error),
        other => Failure::Client(other),
    }
}

fn offline(
    file: &Path,
    node: Option<String>,
    question: &Question,
) -> Result<(Value, Explanation), Failure> {
    let config = file::load(file, node)?;
    let explained = config::explain_offline(&config, question, Instant::now());
    let explanation = explained.map_err(|error| Failure::Usage(error.to_string()))?;
    Ok((json!(explanation), explanation))
}

/// Takes the URL apart.
fn question(asked: &Asked) -> Result<Question, Failure> {
    let wrong = |what: &str| Failure::Usage(format!("{:?} {what}", asked.url));
    let (scheme, rest) = asked
        .url
        .split_once("://")
        .filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        .ok_or_else(|| wrong("is no URL like https://app.example.com/path"))?;
    let rest = rest.split('#').next().unwrap_or_default();
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    if host.is_empty() {
        return Err(wrong("names no host"));
    }
    let headers: Result<Vec<(String, String)>, Failure> =
        asked.header.iter().map(|header| field(header)).collect();
    let mut host = host.to_owned();
    let mut headers = headers?;
    // What curl does: the field wins over the URL.
    if let Some(at) = headers
        .iter()
        .position(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        host = headers.remove(at).1;
    }
    Ok(Question {
        method: asked.method.clone(),
        scheme: scheme.to_owned(),
        host,
        path: match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        },
        headers,
        from: asked.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        listener: asked.listener.clone(),
    })
}

fn field(header: &str) -> Result<(String, String), Failure> {
    let field = header.split_once(':');
    let (name, value) = field
        .ok_or_else(|| Failure::Usage(format!("{header:?} is no header like 'X-Beta: yes'")))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ask(url: &str, headers: &[&str]) -> Result<Question, String> {
        let asked = Asked {
            method: "GET".to_owned(),
            url: url.to_owned(),
            header: headers.iter().map(|text| (*text).to_owned()).collect(),
            from: None,
            listener: None,
            config: None,
            node: None,
        };
        question(&asked).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_url_is_taken_apart_as_a_client_would() {
        let asked = ask("https://a.example.com:8443/x/y?z=1#there", &["X-A: b:c"]).unwrap();
        assert_eq!(
            (
                asked.scheme.as_str(),
                asked.host.as_str(),
                asked.path.as_str()
            ),
            ("https", "a.example.com:8443", "/x/y?z=1")
        );
        assert_eq!(asked.headers, [("X-A".to_owned(), "b:c".to_owned())]);
        assert_eq!(ask("http://a", &[]).unwrap().path, "/");
        assert_eq!(ask("http://a?b", &[]).unwrap().path, "/?b");
        assert_eq!(ask("http://[::1]:80/", &[]).unwrap().host, "[::1]:80");
        assert_eq!(
            ask("http://10.0.0.1/", &["host: b.test"]).unwrap().host,
            "b.test"
        );
        for wrong in ["a.example.com", "ftp://a/", "http:///x"] {
            assert!(ask(wrong, &[]).is_err(), "{wrong}");
        }
        assert!(ask("http://a/", &["X-A"]).is_err());
    }
}

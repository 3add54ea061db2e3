//! `tandem sessions` and `tandem kill`: what is open for long, and its end.

use std::time::Duration;

use control::{KillRequest, KillResult, SessionList, path};
use serde_json::{Value, json};

use super::Call;
use crate::args::Which;
use crate::exit::{Code, Failure};
use crate::screen;

/// The forwarder asks each of its threads.
const LIMIT: Duration = Duration::from_secs(10);

impl Call {
    /// Lists what is open.
    pub(crate) async fn sessions(mut self, which: &Which) -> Result<Code, Failure> {
        let (list, raw): (SessionList, Value) = self.get(&wanted(which)?).await?;
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output.screen(&screen::sessions(&list))?;
        }
        Ok(Code::Good)
    }

    /// Ends what is named, or everything that matches.
    pub(crate) async fn kill(mut self, named: &[String], which: &Which) -> Result<Code, Failure> {
        let (sessions, left) = match named.is_empty() {
            false => (named.to_vec(), 0),
            true => {
                let list: SessionList = self.get(&wanted(which)?).await?.0;
                let ids: Vec<String> = list.sessions.into_iter().map(|one| one.id).collect();
                let left = list.total.saturating_sub(ids.len() as u64);
                (ids, left)
            }
        };
        let nothing = sessions.is_empty();
        let result = match nothing {
            true => KillResult {
                ended: Vec::new(),
                not_found: Vec::new(),
            },
            false => {
                let client = self.client.clone().answer_within(LIMIT);
                client.post(path::KILL, &KillRequest { sessions }).await?
            }
        };
        if self.json {
            self.output.json(&json!({
                "ended": result.ended, "not_found": result.not_found, "left": left,
            }))?;
        } else {
            self.output.screen(&screen::killed(&result, left))?;
        }
        // What was named and is not there was not ended by this.
        Ok(match result.ended.is_empty() && !named.is_empty() {
            true => Code::Fault,
            false => Code::Good,
        })
    }
}

/// The path of the list that is asked for.
fn wanted(which: &Which) -> Result<String, Failure> {
    let mut path = path::SESSIONS.to_owned();
    let older_s = which.older.map_or(0, |older| older.as_secs());
    path.push_str(&format!("?older_s={older_s}"));
    let (group, target) = match &which.target {
        None => (None, None),
        Some(text) => match text.split_once('/') {
            None => (Some(text.as_str()), None),
            Some((group, target)) => (Some(group), Some(target)),
        },
    };
    let listener = which.listener.as_deref();
    for (name, value) in [("listener", listener), ("group", group), ("target", target)] {
        let Some(value) = value else { continue };
        let plain = |c: char| c.is_ascii_graphic() && !"&#%?=".contains(c);
        if value.is_empty() || !value.chars().all(plain) {
            return Err(Failure::Usage(format!("`{value}` is no name of a {name}")));
        }
        path.push_str(&format!("&{name}={value}"));
    }
    Ok(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_in_the_path() {
        let which = |target: Option<&str>, older| Which {
            older,
            target: target.map(ToOwned::to_owned),
            listener: None,
        };
        let all = wanted(&which(None, None)).unwrap();
        assert_eq!(all, "/sessions?older_s=0");
        let hour = Some(Duration::from_secs(3600));
        let some = wanted(&which(Some("db/[2001:db8::1]:5432"), hour)).unwrap();
        let expected = "/sessions?older_s=3600&group=db&target=[2001:db8::1]:5432";
        assert_eq!(some, expected);
        let group = wanted(&which(Some("db"), None)).unwrap();
        assert_eq!(group, "/sessions?older_s=0&group=db");
        for bad in ["", "d b", "d&b", "db/", "d\u{e9}"] {
            assert!(wanted(&which(Some(bad), None)).is_err(), "{bad}");
        }
    }
}

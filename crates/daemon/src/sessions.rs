//! What is open for long, asked of the forwarder that runs, and ended there.

use std::time::Duration;

use control::{
    ErrorAnswer, KillRequest, KillResult, SessionKind, SessionList, SessionStatus, SessionsRequest,
};
use forwarder::{Forwarder, Session, SessionId, SessionQuery};
use serde::Serialize;
use serde_json::Value;

/// Lists what is open. Blocks until the threads of the forwarder have answered.
pub(crate) fn list(
    forwarder: Option<&Forwarder>,
    request: SessionsRequest,
) -> Result<Value, ErrorAnswer> {
    let query = SessionQuery {
        older: Duration::from_secs(request.older_s),
        listener: request.listener,
        group: request.group,
        target: request.target,
    };
    let found = forwarder.map_or_else(Default::default, |forwarder| forwarder.sessions(&query));
    let sessions = found.listed.into_iter().take(SessionList::LIMIT);
    answer(&SessionList {
        total: found.total,
        sessions: sessions.map(status).collect(),
    })
}

/// Ends what is named. Blocks in the same way.
pub(crate) fn kill(
    forwarder: Option<&Forwarder>,
    request: &KillRequest,
) -> Result<Value, ErrorAnswer> {
    let ids = request.sessions.iter().map(|text| {
        text.parse::<SessionId>().map_err(|()| ErrorAnswer {
            error: format!("`{text}` is no session"),
            remedy: Some("`tandem sessions` lists them".to_owned()),
        })
    });
    let ids = ids.collect::<Result<Vec<SessionId>, ErrorAnswer>>()?;
    let ended = forwarder.map_or_else(Vec::new, |forwarder| forwarder.end_sessions(&ids));
    let not_found = ids.iter().filter(|id| !ended.contains(id));
    answer(&KillResult {
        not_found: not_found.map(SessionId::to_string).collect(),
        ended: ended.iter().map(SessionId::to_string).collect(),
    })
}

fn answer(value: &impl Serialize) -> Result<Value, ErrorAnswer> {
    serde_json::to_value(value).map_err(|error| ErrorAnswer {
        error: error.to_string(),
        remedy: None,
    })
}

fn status(session: Session) -> SessionStatus {
    SessionStatus {
        id: session.id.to_string(),
        kind: match session.tunnel {
            true => SessionKind::Tunnel,
            false => SessionKind::Tcp,
        },
        listener: session.listener,
        group: session.group,
        target: session.target,
        client: session.client,
        age_s: session.age.as_secs(),
        bytes_in: session.bytes.0,
        bytes_out: session.bytes.1,
    }
}

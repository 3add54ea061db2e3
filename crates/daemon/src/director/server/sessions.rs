//! `GET /sessions` and `POST /kill`: what is open for long.

use control::{KillRequest, SessionList, SessionsRequest};
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;

use super::{Body, Request, answered, ask, ordering, query_value, read_body, refuse};

/// What to do when the forwarder is too slow.
const REMEDY: &str = "ask again; `tandem status` says how it does";

/// Has the forwarder list what is open.
pub(super) async fn list(query: &str, requests: &mpsc::Sender<Request>) -> Response<Body> {
    let text = |name| query_value(query, name).map(ToOwned::to_owned);
    let Ok(older_s) = query_value(query, "older_s").map_or(Ok(0), str::parse) else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "older_s is no number of seconds",
            None,
        );
    };
    let request = SessionsRequest {
        older_s,
        listener: text("listener"),
        group: text("group"),
        target: text("target"),
    };
    answered(
        ask(requests, |answer| Request::Sessions { request, answer }),
        REMEDY,
    )
    .await
}

/// Has the forwarder end what is named.
pub(super) async fn kill(
    request: hyper::Request<Incoming>,
    uid: Option<u32>,
    requests: &mpsc::Sender<Request>,
) -> Response<Body> {
    let body = match read_body(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let request: KillRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("the body names no sessions: {error}"),
                Some("send for example {\"sessions\": [\"0.17\"]}"),
            );
        }
    };
    if request.sessions.len() > SessionList::LIMIT {
        return refuse(
            StatusCode::BAD_REQUEST,
            &format!("more than {} sessions at once", SessionList::LIMIT),
            Some("end them in several orders"),
        );
    }
    let by = ordering::author(uid).await;
    let asked = ask(requests, |answer| Request::Kill {
        request,
        by,
        answer,
    });
    answered(asked, REMEDY).await
}

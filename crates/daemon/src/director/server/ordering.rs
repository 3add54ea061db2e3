//! `POST /orders`: who orders, and what.

use std::time::Duration;

use control::OrderRequest;
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use tokio::sync::{mpsc, oneshot};

use crate::director::overrides::Ordered;

use super::{Body, Request, ask, full_json, gone, json, read_body, refuse};

/// How long the name of a user is waited for: it may come over the network.
const NAME_LIMIT: Duration = Duration::from_millis(500);

/// Reads an order and has the director carry it out.
pub(super) async fn order(
    request: hyper::Request<Incoming>,
    uid: Option<u32>,
    requests: &mpsc::Sender<Request>,
) -> Response<Body> {
    let body = match read_body(request).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let order: OrderRequest = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                &format!("the body is no order: {error}"),
                Some("send for example {\"order\": \"drain\", \"target\": \"app/10.0.0.1:80\"}"),
            );
        }
    };
    let by = author(uid).await;
    match ask(requests, |answer| Request::Order { order, by, answer }).await {
        Some(Ok(Ordered {
            mut result,
            handover,
        })) => {
            if let Some(handover) = handover {
                // A refusal is that nothing was there to hand over.
                result.handover = handover.await.ok().and_then(Result::ok);
                if (result.handover.as_ref()).is_some_and(|handover| !handover.handed_over) {
                    let words = "this node serves on until another one is there to take over";
                    result.notes.push(words.to_owned());
                }
            }
            json(Some(result))
        }
        Some(Err(refusal)) => full_json(StatusCode::CONFLICT, &refusal),
        None => gone(),
    }
}

/// The name of the user at the other end, as the kernel and the user database tell it: `alice`, `uid 1000`.
pub(super) async fn author(uid: Option<u32>) -> String {
    let Some(uid) = uid else {
        return "somebody".to_owned();
    };
    if uid == 0 {
        return "root".to_owned();
    }
    let (name, wait) = oneshot::channel();
    // The database may be a server that does not answer; the thread then ends when it does.
    let thread = std::thread::Builder::new()
        .name("tandem-user".to_owned())
        .stack_size(256 * 1024);
    let spawned = thread.spawn(move || name.send(linux::process::user_name(uid)));
    let found = match spawned {
        Ok(_) => tokio::time::timeout(NAME_LIMIT, wait).await,
        Err(_) => return format!("uid {uid}"),
    };
    match found {
        Ok(Ok(Ok(Some(name)))) => name,
        Ok(_) | Err(_) => format!("uid {uid}"),
    }
}

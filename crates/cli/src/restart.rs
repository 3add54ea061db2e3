//! `tandem restart`: the order, and the wait for the director that goes on.

use std::time::{Duration, Instant};

use control::{Event, EventKind, RestartResult, Timestamp, path};
use serde_json::Value;

use crate::commands::Call;
use crate::exit::{Code, Failure};

/// How long the order and the next director may take together.
const LIMIT: Duration = Duration::from_secs(15);
/// Between two looks for the next director.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn restart(mut call: Call) -> Result<Code, Failure> {
    let began = (
        Instant::now(),
        Timestamp::from(std::time::SystemTime::now()),
    );
    let raw: Value = call
        .client
        .post(path::RESTART, &serde_json::json!({}))
        .await?;
    let result: RestartResult = call.client.read(&raw)?;
    let end = next_director(&call, began).await;
    let took = began.0.elapsed().as_millis();
    let resumed = end.as_ref().is_some_and(is_resumed);
    let words = match &end {
        Some(event) => event.reason.clone(),
        None => format!("no director answers {} s after the order", LIMIT.as_secs()),
    };
    if call.json {
        call.output.json(&serde_json::json!({
            "routers": result.routers, "resumed": resumed, "took_ms": took, "reason": words,
        }))?;
    } else {
        let carried = match result.routers.join(", ").as_str() {
            "" => "active for nothing".to_owned(),
            names => format!("still active for {names}"),
        };
        let screen = match resumed {
            true => format!("restarted in {took} ms, {carried}\n"),
            false => format!("NOT RESUMED: {words}; `tandem events` tells more\n"),
        };
        call.output.screen(&screen)?;
    }
    Ok(if resumed { Code::Good } else { Code::Fault })
}

/// What the next director says first that tells how it began.
async fn next_director(call: &Call, (began, at): (Instant, Timestamp)) -> Option<Event> {
    while began.elapsed() < LIMIT {
        tokio::time::sleep(LOOK).await;
        let Ok(raw) = call.client.get::<Value>(path::EVENTS).await else {
            continue;
        };
        let events: Vec<Event> = call.client.read(&raw).unwrap_or_default();
        let found = events.into_iter().rev().find(|event| {
            let about = event.kind == EventKind::Daemon && event.at >= at;
            about && (is_resumed(event) || event.reason.starts_with("started again"))
        });
        if found.is_some() {
            return found;
        }
    }
    None
}

fn is_resumed(event: &Event) -> bool {
    event.reason.starts_with("resumed")
}

//! `tandem simulate`: what an event would do.

use control::{SimulateRequest, SimulateResult, SimulatedRouter, path};
use serde_json::Value;

use crate::commands::Call;
use crate::exit::{Code, Failure};

pub(crate) async fn simulate(mut call: Call, what: String) -> Result<Code, Failure> {
    let request = SimulateRequest { what };
    let raw: Value = call.client.post(path::SIMULATE, &request).await?;
    let result: SimulateResult = call.client.read(&raw)?;
    if call.json {
        call.output.json(&raw)?;
    } else {
        call.output.screen(&screen(&result))?;
    }
    Ok(Code::Good)
}

fn screen(result: &SimulateResult) -> String {
    let mut out = format!("if {}:\n", result.what);
    for router in &result.routers {
        out.push_str(&block(router));
    }
    if result.routers.is_empty() {
        out.push_str("no virtual router takes part\n");
    }
    out
}

/// One decision: what it is, what moves it, and what follows.
fn block(router: &SimulatedRouter) -> String {
    let upper = |state: control::VrrpState| state.as_str().to_uppercase();
    let priority = match router.priority == router.priority_then {
        true => format!("priority {}", router.priority),
        false => format!("priority {} -> {}", router.priority, router.priority_then),
    };
    let other = match router.peer_priority {
        Some(priority) => format!("the other has {priority}"),
        None => "no other router".to_owned(),
    };
    let mut out = format!(
        "{}  {}  {priority}, {other}\n",
        router.name,
        upper(router.state)
    );
    for why in &router.why {
        out.push_str(&format!("            {why}\n"));
    }
    for step in &router.steps {
        out.push_str(&format!(
            "{:>7} ms  {}  {}\n",
            step.after_ms, step.node, step.words
        ));
    }
    let then = match router.peer_state_then {
        Some(peer) => format!("{}, the other {}", upper(router.state_then), upper(peer)),
        None => upper(router.state_then),
    };
    out.push_str(&match router.steps.is_empty() {
        true => format!("      then  nothing moves: {then}\n"),
        false => format!("      then  {then}\n"),
    });
    out
}

#[cfg(test)]
mod tests {
    use control::{SimulatedStep, VrrpState};

    use super::*;

    #[test]
    fn a_story_reads_from_top_to_bottom() {
        let step = |after_ms, node: &str, words: &str| SimulatedStep {
            after_ms,
            node: node.to_owned(),
            words: words.to_owned(),
        };
        let result = SimulateResult {
            what: "eth1 down".to_owned(),
            routers: vec![SimulatedRouter {
                name: "main".to_owned(),
                priority: 200,
                priority_then: 50,
                peer_priority: Some(100),
                why: vec!["-150 eth1 is down".to_owned()],
                state: VrrpState::Active,
                state_then: VrrpState::Backup,
                peer_state_then: Some(VrrpState::Active),
                steps: vec![step(361, "lb2", "backup to active")],
            }],
        };
        let expected = "\
if eth1 down:
main  ACTIVE  priority 200 -> 50, the other has 100
            -150 eth1 is down
    361 ms  lb2  backup to active
      then  BACKUP, the other ACTIVE
";
        assert_eq!(screen(&result), expected);
    }
}

//! `tandem pair`: both nodes side by side.

use control::{PairReport, path};
use serde_json::Value;

use super::Call;
use crate::exit::{Code, Failure};
use crate::screen;

impl Call {
    /// Shows what each node says of itself. Degraded when they differ, or the other one is not heard.
    pub(crate) async fn pair(mut self) -> Result<Code, Failure> {
        let (report, raw): (PairReport, Value) = self.get(path::PAIR).await?;
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output.screen(&screen::pair(&report))?;
        }
        let heard = report.nodes.iter().all(|node| node.facts.is_some());
        Ok(match heard && report.differences.is_empty() {
            true => Code::Good,
            false => Code::Degraded,
        })
    }
}

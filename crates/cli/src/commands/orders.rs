//! The commands that order something that stays ordered, and the list of it.

use std::collections::BTreeMap;
use std::time::Duration;

use control::{OrderRequest, OrderResult, OverrideStatus, path};
use serde_json::Value;

use super::{Call, must_be_known, now};
use crate::args::Terms;
use crate::exit::{Code, Failure};
use crate::screen;

/// An order waits for the disk and the forwarder.
const ORDER_LIMIT: Duration = Duration::from_secs(30);

impl Call {
    /// Sends an order and shows what became of it.
    pub(crate) async fn order(mut self, order: OrderRequest) -> Result<Code, Failure> {
        let client = self.client.clone().answer_within(ORDER_LIMIT);
        let raw: Value = client.post(path::ORDERS, &order).await?;
        let result: OrderResult = client.read(&raw)?;
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output.screen(&screen::ordered(&result, now()))?;
        }
        Ok(Code::Good)
    }

    /// Lists what stands ordered, all or of one subject.
    pub(crate) async fn overrides(mut self, subject: Option<&str>) -> Result<Code, Failure> {
        let (mut list, mut raw): (Vec<OverrideStatus>, Value) = self.get(path::OVERRIDES).await?;
        if let Some(subject) = subject {
            let known = list.iter().map(|entry| entry.subject.as_str());
            must_be_known("order for", subject, known)?;
            list.retain(|entry| entry.subject == subject);
            if let Value::Array(entries) = &mut raw {
                entries.retain(|entry| entry["subject"] == subject);
            }
        }
        if self.json {
            self.output.json(&raw)?;
        } else {
            self.output.screen(&screen::overrides(&list, now()))?;
        }
        Ok(Code::Good)
    }
}

/// The order that `tandem maint` means: for the node, or for a target.
pub(crate) fn maint(what: &str, terms: &Terms) -> Result<OrderRequest, Failure> {
    let (for_s, why) = (terms.for_s(), terms.why.clone());
    match what {
        "on" => Ok(OrderRequest::Node {
            maint: true,
            for_s,
            why,
        }),
        "off" if for_s.is_none() && why.is_none() => Ok(OrderRequest::Node {
            maint: false,
            for_s,
            why,
        }),
        "off" => Err(Failure::Usage(
            "`maint off` takes neither --for nor --why".to_owned(),
        )),
        target if target.contains('/') => Ok(OrderRequest::Maint {
            target: target.to_owned(),
            for_s,
            why,
        }),
        other => Err(Failure::Usage(format!(
            "`{other}` is neither on nor off nor GROUP/TARGET"
        ))),
    }
}

/// The order that `tandem weight` means: a number for a target, `group=number` for a rule, or back to the file.
pub(crate) fn weight(
    subject: &str,
    weights: &[String],
    reset: bool,
    terms: &Terms,
) -> Result<OrderRequest, Failure> {
    let subject = subject.to_owned();
    if reset {
        return Ok(OrderRequest::Reset { subject });
    }
    let (for_s, why) = (terms.for_s(), terms.why.clone());
    if let [weight] = weights
        && let Ok(weight) = weight.parse()
    {
        return Ok(OrderRequest::Weight {
            target: subject,
            weight,
            for_s,
            why,
        });
    }
    let mut shares = BTreeMap::new();
    for text in weights {
        let share = text
            .rsplit_once('=')
            .and_then(|(group, weight)| Some((group.to_owned(), weight.parse::<u32>().ok()?)));
        let Some((group, weight)) = share else {
            return Err(Failure::Usage(format!(
                "`{text}` is no weight; write a number for a target, or GROUP=NUMBER for a rule"
            )));
        };
        if shares.insert(group.clone(), weight).is_some() {
            return Err(Failure::Usage(format!("group {group} is given twice")));
        }
    }
    Ok(OrderRequest::Split {
        rule: subject,
        weights: shares,
        for_s,
        why,
    })
}

/// The order that `tandem canary` means.
pub(crate) fn canary(rule: &str, share: &str, terms: &Terms) -> Result<OrderRequest, Failure> {
    let read = share.rsplit_once('=').and_then(|(group, percent)| {
        let percent = percent.trim_end_matches('%').parse().ok()?;
        (percent <= 100).then(|| (group.to_owned(), percent))
    });
    let Some((group, percent)) = read else {
        return Err(Failure::Usage(format!(
            "`{share}` is no share; write GROUP=PERCENT, 0 to 100"
        )));
    };
    Ok(OrderRequest::Canary {
        rule: rule.to_owned(),
        group,
        percent,
        for_s: terms.for_s(),
        why: terms.why.clone(),
    })
}

/// The order that `tandem switch` means: a canary that has grown up.
pub(crate) fn switch(rule: &str, group: &str, terms: &Terms) -> OrderRequest {
    OrderRequest::Canary {
        rule: rule.to_owned(),
        group: group.to_owned(),
        percent: 100,
        for_s: terms.for_s(),
        why: terms.why.clone(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(subject: &str, weights: &[&str], reset: bool) -> Result<OrderRequest, String> {
        let weights: Vec<String> = weights.iter().map(|text| (*text).to_owned()).collect();
        let terms = Terms {
            length: Some(Duration::from_secs(7200)),
            why: Some("canary".to_owned()),
        };
        weight(subject, &weights, reset, &terms).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_number_is_for_a_target_and_pairs_are_for_a_rule() {
        assert_eq!(
            read("app/a", &["5"], false).unwrap(),
            OrderRequest::Weight {
                target: "app/a".to_owned(),
                weight: 5,
                for_s: Some(7200),
                why: Some("canary".to_owned()),
            }
        );
        assert_eq!(
            read("site", &["web-v1=75", "web-v2=25"], false).unwrap(),
            OrderRequest::Split {
                rule: "site".to_owned(),
                weights: [("web-v1".to_owned(), 75), ("web-v2".to_owned(), 25)].into(),
                for_s: Some(7200),
                why: Some("canary".to_owned()),
            }
        );
        assert_eq!(
            read("site", &[], true).unwrap(),
            OrderRequest::Reset {
                subject: "site".to_owned()
            }
        );
        for bad in [
            &["x"][..],
            &["-1"],
            &["5", "6"],
            &["a=b"],
            &["a="],
            &["a=1", "7"],
        ] {
            assert!(
                read("site", bad, false).unwrap_err().contains("no weight"),
                "{bad:?}"
            );
        }
        assert_eq!(
            read("site", &["a=1", "a=2"], false).unwrap_err(),
            "group a is given twice"
        );
    }

    #[test]
    fn a_share_is_a_group_with_its_percent() {
        let read = |share: &str| canary("site", share, &Terms::default());
        let order = OrderRequest::Canary {
            rule: "site".to_owned(),
            group: "web-v2".to_owned(),
            percent: 25,
            for_s: None,
            why: None,
        };
        assert_eq!(read("web-v2=25").unwrap(), order);
        assert_eq!(read("web-v2=25%").unwrap(), order);
        for bad in ["web-v2", "web-v2=", "web-v2=101", "web-v2=-1", "25"] {
            assert!(
                read(bad).unwrap_err().to_string().contains("no share"),
                "{bad}"
            );
        }
        assert!(matches!(
            switch("site", "green", &Terms::default()),
            OrderRequest::Canary { percent: 100, .. }
        ));
    }
}

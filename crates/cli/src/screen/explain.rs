//! `tandem explain`: a request on its way through rules and groups, step by step.

use config::{Explanation, GroupVerdict, Question, ShareVerdict};

use super::table::{Align, Table, cell};
use super::words::{count, flow, sentence};

/// The screen of `tandem explain`.
pub(crate) fn explanation(question: &Question, explanation: &Explanation) -> String {
    let mut out = sentence("", 2, &heading(question));
    let by = match explanation.live {
        true => "the daemon",
        false => "a file: nothing is known of targets and cookies",
    };
    let listener = format!("listener {}", explanation.listener);
    out.push_str(&flow("", 2, &[listener, format!("by {by}")]));
    if let Some(tls) = &explanation.tls {
        out.push_str(&sentence("  ", 4, tls));
    }
    // A listener that reads no request knows no path.
    if !explanation.path.is_empty()
        && explanation.path != question.path.split('?').next().unwrap_or_default()
    {
        out.push_str(&sentence(
            "",
            2,
            &format!("rules see the path {}", explanation.path),
        ));
    }
    out.push_str(&rules(explanation));
    let decides = match &explanation.rule {
        Some(rule) => format!("rule {rule} decides"),
        None if explanation.rules.is_empty() => "the listener decides".to_owned(),
        None => "no rule is met; the listener decides".to_owned(),
    };
    out.push('\n');
    out.push_str(&flow("", 2, &[decides, explanation.action.clone()]));
    if !explanation.shares.is_empty() {
        out.push_str(&shares(&explanation.shares));
    }
    if let Some(sticky) = &explanation.sticky {
        out.push_str(&sentence("  ", 4, sticky));
    }
    for group in &explanation.groups {
        out.push('\n');
        out.push_str(&targets(group));
    }
    if let Some(answer) = &explanation.answer {
        out.push_str(&flow("", 2, &["answer".to_owned(), answer.clone()]));
    }
    out.push_str(&list("sent to the target", &explanation.sent));
    out.push_str(&list("changed in the answer", &explanation.answer_changes));
    out
}

fn heading(question: &Question) -> String {
    let Question {
        method,
        scheme,
        host,
        path,
        from,
        ..
    } = question;
    format!("{method} {scheme}://{host}{path} from {from}")
}

fn rules(explanation: &Explanation) -> String {
    if explanation.rules.is_empty() {
        return String::new();
    }
    let columns = [
        ("RULE", Align::Left),
        ("MET", Align::Left),
        ("BECAUSE", Align::Left),
    ];
    let mut table = Table::new(2, &columns);
    for rule in &explanation.rules {
        let (met, because) = match rule.matches {
            true => ("yes", rule.because.clone()),
            false => ("no", format!("not {}", rule.because)),
        };
        table.row(vec![cell(&rule.rule), cell(met), cell(because)]);
    }
    let mut out = table.draw();
    if explanation.rules_left_out > 0 {
        let left = count(explanation.rules_left_out as u64);
        out.push_str(&sentence(
            "  ",
            4,
            &format!("{left} rules before these are not met either"),
        ));
    }
    out
}

fn shares(shares: &[ShareVerdict]) -> String {
    let columns = [
        ("GROUP", Align::Left),
        ("WEIGHT", Align::Right),
        ("NOW", Align::Right),
        ("USABLE", Align::Right),
        ("", Align::Left),
    ];
    let mut table = Table::new(2, &columns);
    for share in shares {
        table.row(vec![
            cell(&share.group),
            cell(share.weight.to_string()),
            cell(share.effective_weight.to_string()),
            cell(share.usable.to_string()),
            cell(""),
        ]);
    }
    table.draw()
}

fn targets(group: &GroupVerdict) -> String {
    let mut words = vec![format!("group {}", group.group), group.algorithm.clone()];
    words.extend(group.speech.clone());
    let certain = group.certain.iter();
    words.extend(certain.map(|target| format!("goes to {target}")));
    let mut out = flow("", 2, &words);
    if let Some(sticky) = &group.sticky {
        out.push_str(&sentence("  ", 4, sticky));
    }
    let columns = [
        ("TARGET", Align::Left),
        ("CHANCE", Align::Left),
        ("WEIGHT", Align::Right),
        ("INFLIGHT", Align::Right),
        ("WHY", Align::Left),
    ];
    let mut table = Table::new(2, &columns);
    for target in &group.targets {
        table.row(vec![
            cell(&target.target),
            cell(&target.chance),
            cell(target.weight.to_string()),
            cell(count(u64::from(target.in_flight))),
            cell(&target.why),
        ]);
    }
    out.push_str(&table.draw());
    out
}

fn list(heading: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines = lines.iter().map(|line| sentence("  ", 6, line));
    format!("\n{heading}\n{}", lines.collect::<String>())
}

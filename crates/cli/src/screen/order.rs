//! What became of an order: `tandem reload` and `tandem handover`.

use std::fmt::Write as _;

use control::{HandoverResult, HandoverRouter, Problem, ReloadOutcome, ReloadResult, Severity};

use super::words::{exact, sentence};
use crate::commands::InForce;

/// The screen of `tandem reload`: a line for each problem of the file, the outcome, a line for each change.
pub(crate) fn reload(result: &ReloadResult) -> String {
    let mut out = String::new();
    for problem in &result.problems {
        out.push_str(&problem_line(&result.path, problem));
    }
    let generation = result.generation;
    let hash = result.hash.as_deref().unwrap_or("-");
    let _ = match result.outcome {
        ReloadOutcome::Applied => writeln!(
            out,
            "reloaded {}: generation {generation}, {hash}",
            result.path
        ),
        ReloadOutcome::Unchanged => {
            writeln!(out, "nothing to change: generation {generation}, {hash}")
        }
        ReloadOutcome::Refused => {
            writeln!(
                out,
                "{}. The running configuration (generation {generation}) was not changed.",
                tally(result)
            )
        }
        ReloadOutcome::Failed => {
            let error = result.error.as_deref().unwrap_or("no reason given");
            writeln!(
                out,
                "could not be put to work: {error}\nThe running configuration (generation {generation}) was not changed."
            )
        }
    };
    for change in &result.changes {
        let _ = writeln!(out, "  {change}");
    }
    out
}

/// What `tandem reload --wait` has waited for.
pub(crate) fn in_force(found: &InForce) -> String {
    let took = exact(u64::try_from(found.took.as_millis()).unwrap_or(u64::MAX));
    let words = &found.words;
    match found.yes {
        true => sentence("", 2, &format!("in force: {words}")),
        false => sentence("", 2, &format!("NOT IN FORCE after {took}: {words}")),
    }
}

/// `/etc/tandem/tandem.toml:41:1: error[E012]: unknown key `algoritm` in [group.api]; did you mean `algorithm`?`
fn problem_line(path: &str, problem: &Problem) -> String {
    let place = match (problem.line, problem.column) {
        (0, _) => String::new(),
        (line, 0) => format!(":{line}"),
        (line, column) => format!(":{line}:{column}"),
    };
    let word = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let remedy = problem
        .remedy
        .as_ref()
        .map_or(String::new(), |remedy| format!("; {remedy}"));
    format!(
        "{path}{place}: {word}[{}]: {}{remedy}\n",
        problem.code, problem.message
    )
}

/// `2 errors, 1 warning`
fn tally(result: &ReloadResult) -> String {
    let of = |severity| {
        result
            .problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    };
    let counted =
        |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    let warnings = if warnings == 0 {
        String::new()
    } else {
        format!(", {}", counted(warnings, "warning"))
    };
    format!("{}{warnings}", counted(errors, "error"))
}

/// The screen of `tandem handover`: how long it took and who took over, or why not.
pub(crate) fn handover(result: &HandoverResult) -> String {
    let took = exact(result.took_ms);
    let mut out = if result.handed_over {
        let to = result.to.as_deref().unwrap_or("the peer");
        format!("handed over to {to} in {took}\n")
    } else {
        let reason = result.reason.as_deref().unwrap_or("no reason given");
        format!("not handed over after {took}: {reason}\n")
    };
    for router in &result.routers {
        let _ = writeln!(out, "  {}", router_line(router));
    }
    out
}

fn router_line(router: &HandoverRouter) -> String {
    let took = exact(router.took_ms);
    if router.handed_over {
        let to = router
            .to
            .map_or("the peer".to_owned(), |address| address.to_string());
        return format!(
            "{}: {to} is active since {took} after the order",
            router.name
        );
    }
    let reason = router.reason.as_deref().unwrap_or("no reason given");
    format!("{}: still here after {took}: {reason}", router.name)
}

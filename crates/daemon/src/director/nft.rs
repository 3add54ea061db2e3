//! Running `nft`, the program that gives the kernel tables of rules, and taking away the tables of ours.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::oneshot;

/// What the names of all our tables begin with.
pub(super) const PREFIX: &str = "tandem_";
/// How long one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(2);
/// Callers whose rules are given to one run.
const TOGETHER: usize = 32;

/// Rules, and who waits for what becomes of them.
type Wanted = (String, oneshot::Sender<Result<(), String>>);

/// What waits for the run under way to end. Each caller waits for its own, so that their number is the limit.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Wanted>,
    running: bool,
}

thread_local! {
    static LINE: RefCell<Line> = RefCell::default();
}

/// Gives the kernel `rules`, all or none of them. One run at a time: what is wanted meanwhile goes together with the next, because each run
/// reads all the tables there are, and hundreds of virtual routers may have something to change at once.
///
/// # Errors
/// A sentence: `nft` is not there, does not end in time, or says no.
pub(super) async fn run(rules: &str) -> Result<(), String> {
    let (answer, outcome) = oneshot::channel();
    let runs = LINE.with_borrow_mut(|line| {
        line.waiting.push_back((rules.to_owned(), answer));
        std::mem::replace(&mut line.running, true)
    });
    if !runs {
        tokio::task::spawn_local(run_waiting());
    }
    outcome
        .await
        .unwrap_or_else(|_| Err("nft was not run".to_owned()))
}

/// Runs what waits, until nothing does.
async fn run_waiting() {
    loop {
        let wanted: Vec<Wanted> = LINE.with_borrow_mut(|line| {
            let count = line.waiting.len().min(TOGETHER);
            line.running = count > 0;
            line.waiting.drain(..count).collect()
        });
        if wanted.is_empty() {
            return;
        }
        let rules: Vec<&str> = wanted.iter().map(|(rules, _)| rules.as_str()).collect();
        let together = run_once(&rules.join("\n")).await;
        let alone = wanted.len() == 1;
        for (rules, answer) in wanted {
            let outcome = match &together {
                Err(_) if !alone => run_once(&rules).await,
                outcome => outcome.clone(),
            };
            // Whoever wanted it may have gone.
            let _ = answer.send(outcome);
        }
    }
}

async fn run_once(rules: &str) -> Result<(), String> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("start nft: {error}"))?;
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            stdin.write_all(rules.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(RUN_LIMIT, work)
        .await
        .map_err(|_| "nft did not end in time".to_owned())?;
    let output = output.map_err(|error| format!("run nft: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr)
        .lines()
        .next()
        .unwrap_or("nft failed without a word")
        .to_owned())
}

/// Removes every table of ours, all in one go: before the first is made, and when the process ends. Takes some milliseconds.
pub(super) fn remove_all() {
    let listed = std::process::Command::new("nft")
        .args(["list", "tables"])
        .stderr(Stdio::null())
        .output();
    let Ok(listed) = listed else { return };
    let rules = removal_of_all(&String::from_utf8_lossy(&listed.stdout));
    if !rules.is_empty()
        && let Err(error) = run_blocking(&rules)
    {
        tracing::warn!(error, "tables of ours not removed");
    }
}

fn run_blocking(rules: &str) -> Result<(), String> {
    let words = |error: std::io::Error| format!("run nft: {error}");
    let mut child = std::process::Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(words)?;
    // It ends with the input: nothing is written back that could fill up.
    let written = child
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(rules.as_bytes()));
    let status = child.wait().map_err(words)?;
    written.transpose().map_err(words)?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("nft ended with {status}")),
    }
}

/// Rules that remove those of ours among the listed tables. One that is gone by then is no error.
fn removal_of_all(listed: &str) -> String {
    (tables_of_ours(listed).into_iter())
        .map(|(family, name)| format!("add table {family} {name}\ndelete table {family} {name}\n"))
        .collect()
}

/// Family and name of those in what `nft list tables` prints, a line `table FAMILY NAME` each.
fn tables_of_ours(listed: &str) -> Vec<(&str, &str)> {
    listed
        .lines()
        .filter_map(|line| line.strip_prefix("table ")?.split_once(' '))
        .map(|(family, name)| (family, name.trim()))
        .filter(|(family, name)| matches!(*family, "netdev" | "inet") && name.starts_with(PREFIX))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_of_ours_are_swept() {
        let listed = "table netdev filter\ntable netdev tandem_51_3\ntable inet tandem_accept_51_3\n\
                      table ip tandem_x\ntable netdev mytandem_1\n";
        let ours = [("netdev", "tandem_51_3"), ("inet", "tandem_accept_51_3")];
        assert_eq!(tables_of_ours(listed), ours);
        assert_eq!(
            removal_of_all(listed),
            "add table netdev tandem_51_3\ndelete table netdev tandem_51_3\n\
             add table inet tandem_accept_51_3\ndelete table inet tandem_accept_51_3\n"
        );
        assert_eq!(removal_of_all("table netdev filter\n"), "");
    }
}

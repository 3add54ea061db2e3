//! `tandem`: shows what the daemon does and gives it orders, for a person at a terminal or a script.
//!
//! Everything it knows comes over the control socket (`control`), or for `check` and `diff` from a file (`config`). It decides
//! nothing: `commands` and `file` fetch, `screen` turns messages into text, `exit` turns outcomes into exit codes.

mod args;
mod commands;
mod exit;
mod file;
mod output;
mod restart;
mod screen;
mod simulate;

use std::io;
use std::process::ExitCode;

use clap::Parser;
use control::OrderRequest;

use args::{Args, Command};
use exit::{Code, Failure};
use output::Output;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let code = match run(&args).await {
        Ok(code) => code,
        Err(failure) if failure.is_broken_pipe() => Code::Good,
        Err(failure) => {
            output::complain(&failure);
            failure.code()
        }
    };
    code.into()
}

async fn run(args: &Args) -> Result<Code, Failure> {
    let call = commands::Call::new(args, Output::new(io::stdout().lock()));
    match &args.command {
        Command::Status => call.status().await,
        Command::Top { once, sort } => call.top(*once, *sort).await,
        Command::Pair => call.pair().await,
        Command::Vrrp { name } => call.vrrp(name.as_deref()).await,
        Command::Targets { group } => call.targets(group.as_deref()).await,
        Command::Rules { listener } => call.rules(listener.as_deref()).await,
        Command::Certs => call.certificates().await,
        Command::Events { follow, since } => call.events(*follow, *since).await,
        Command::Why { list: true, .. } => call.recordings().await,
        Command::Why {
            which: Some(word),
            target: Some(target),
            ..
        } => match word.as_str() {
            "target" => call.why_target(target).await,
            other => Err(Failure::Usage(format!(
                "`why {other} {target}`: of two words the first is `target`"
            ))),
        },
        Command::Why {
            which: Some(word), ..
        } if word == "target" => Err(Failure::Usage("which one? GROUP/TARGET".to_owned())),
        Command::Why { which, all, .. } => call.why(which.as_deref(), *all).await,
        Command::Reload { wait } => call.reload(*wait).await,
        Command::Simulate { what } => simulate::simulate(call, what.join(" ")).await,
        Command::Restart => restart::restart(call).await,
        Command::Handover { name } => call.handover(name.clone()).await,
        Command::Drain { target, terms } => {
            let (target, for_s, why) = (target.clone(), terms.for_s(), terms.why.clone());
            call.order(OrderRequest::Drain { target, for_s, why }).await
        }
        Command::Maint { what, terms } => {
            let order = commands::orders::maint(what, terms)?;
            call.order(order).await
        }
        Command::Ready { target } => {
            let target = target.clone();
            call.order(OrderRequest::Ready { target }).await
        }
        Command::Weight {
            subject,
            weights,
            reset,
            terms,
        } => {
            let order = commands::orders::weight(subject, weights, *reset, terms)?;
            call.order(order).await
        }
        Command::Canary { rule, share, terms } => {
            let order = commands::orders::canary(rule, share, terms)?;
            call.order(order).await
        }
        Command::Switch { rule, group, terms } => {
            let order = commands::orders::switch(rule, group, terms);
            call.order(order).await
        }
        Command::Sessions { which } => call.sessions(which).await,
        Command::Kill { sessions, which } => call.kill(sessions, which).await,
        Command::Metrics { prefix } => call.metrics(prefix.as_deref().unwrap_or("")).await,
        Command::Overrides {
            subject,
            clear: true,
        } => {
            let subject = subject.clone();
            call.order(OrderRequest::Clear { subject }).await
        }
        Command::Overrides {
            subject,
            clear: false,
        } => call.overrides(subject.as_deref()).await,
        Command::Explain(asked) => call.explain(asked).await,
        Command::Check {
            file,
            node,
            strict,
            peer,
        } => {
            let (strict, peer) = (*strict, *peer);
            let strictness = file::Strictness { strict, peer };
            call.check(file, node.clone(), strictness).await
        }
        Command::Diff {
            file,
            against,
            node,
        } => call.diff(file, against.as_deref(), node.clone()).await,
        Command::Completion { shell } => call.completion(*shell),
    }
}

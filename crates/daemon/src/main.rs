//! `tandemd`: one binary, up to four processes.
//!
//! The process that is started becomes the [`keeper`]; it starts the [`director`] and, when the configuration has listeners, the
//! [`forwarder process`](forwarding), when it has programs to run or checks to make, the [`runner`]. Each role owns a module; this file only chooses between them.

mod args;
mod director;
mod experiment;
mod explaining;
mod figures;
mod forwarding;
mod keeper;
mod log;
mod ordered;
mod process;
mod rates;
mod runner;
mod sessions;
mod stream;
mod waiting;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Args, Role};

/// Exit code of a director that does not speak the language of the processes that run.
const EXIT_LANGUAGE: u8 = 75;
/// Exit code of a daemon that lacks a power it needs.
const EXIT_PERMISSION: u8 = 77;
/// Exit code for a configuration with errors.
const EXIT_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(file) = &args.check {
        return check(file, args.node.clone());
    }
    let done = match args.role {
        None => keeper::run(&args),
        Some(Role::Director) => director::run(&args),
        Some(Role::Forwarder) => forwarding::run(&args),
        Some(Role::Runner) => runner::run(&args),
    };
    done.unwrap_or_else(|error| {
        log::last_words(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// `tandemd --check FILE`: every problem of the file on standard error; 0 or 78.
fn check(file: &std::path::Path, node: Option<String>) -> ExitCode {
    match director::load_from_disk(file, node) {
        Ok(loaded) => {
            log::last_words(&loaded.report_text);
            if loaded.config.is_some() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_CONFIGURATION)
            }
        }
        Err(error) => {
            log::last_words(&format!("{}: {error}", file.display()));
            ExitCode::from(EXIT_CONFIGURATION)
        }
    }
}

//! One program, from its start to the end of all that it started.
//!
//! ```text
//!   start ──► runs ──ends──► what is left of its group is killed ──► report
//!               │ time is over
//!               └──► TERM to the group ──500 ms──► KILL ──1 s──► reported as unkillable, and waited for
//! ```
//!
//! Each run has a thread of its own, because starting a program may wait for a disk. It blocks; nobody waits for it but by the two receivers
//! of [`Run`].

use std::io::{PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use control::internal::runner::{Program, RunEnd, RunReport};
use linux::process::{ChildFd, Signal, lead_group, signal_group};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::oneshot;

/// Where programs look for others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Between the request to end and the order.
const GRACE: Duration = Duration::from_millis(500);
/// After the order to end, how long until a program counts as one that cannot be ended.
const KILL_LIMIT: Duration = Duration::from_secs(1);
/// How much of the output is kept, in octets. The rest is read and forgotten.
const KEPT_OUTPUT: usize = 400;
/// How often the output is read again after the end, for what a program says last.
const LAST_READS: usize = 16;

/// A program that runs. Dropping it kills the program and its group.
pub(super) struct Run {
    /// What became of it, within its limit and two seconds; closed when the thread is stuck in starting it.
    report: oneshot::Receiver<RunReport>,
    /// Closed when nothing of it is left.
    gone: oneshot::Receiver<()>,
    began_at: Instant,
    limit: Duration,
    cancel: Option<PipeWriter>,
}

impl Run {
    /// Starts `program`; `held` is dropped when nothing of it is left.
    pub(super) fn start(program: Program, held: impl Send + 'static) -> Self {
        let (report_in, report) = oneshot::channel();
        let (gone_in, gone) = oneshot::channel();
        let limit = Duration::from_millis(program.limit_ms);
        let began_at = Instant::now();
        let mut run = Self {
            report,
            gone,
            began_at,
            limit,
            cancel: None,
        };
        let (cancelled, cancel) = match std::io::pipe() {
            Ok(ends) => ends,
            Err(error) => {
                drop(report_in.send(not_started(format!("no descriptor left: {error}"))));
                return run;
            }
        };
        run.cancel = Some(cancel);
        let thread = std::thread::Builder::new()
            .name("tandem-run".to_owned())
            .stack_size(256 * 1024);
        // A thread that cannot be started drops its end of the report, which `report` takes for a program that does not start.
        let _ = thread.spawn(move || {
            carry_out(&program, began_at, &cancelled, report_in);
            drop((held, gone_in));
        });
        run
    }

    /// What became of it. Comes in any case, at the latest some two seconds after its limit.
    pub(super) async fn report(&mut self) -> RunReport {
        let patience = self.limit + GRACE + KILL_LIMIT + Duration::from_millis(500);
        let end = match tokio::time::timeout(patience, &mut self.report).await {
            Ok(Ok(report)) => return report,
            Ok(Err(_)) => RunEnd::NotStarted("no thread to start it".to_owned()),
            Err(_) => RunEnd::Unkillable,
        };
        RunReport {
            took_ms: self.began_at.elapsed().as_millis() as u64,
            ..RunReport::without_run(end)
        }
    }

    /// Kills it and its group, if it has not ended.
    pub(super) fn cancel(&mut self) {
        self.cancel = None;
    }

    /// Waits until nothing of it is left.
    pub(super) async fn gone(self) {
        let _ = self.gone.await;
    }
}

fn carry_out(
    program: &Program,
    began_at: Instant,
    cancelled: &PipeReader,
    report: oneshot::Sender<RunReport>,
) {
    let started = spawn(program);
    let (child, output) = match started {
        Ok(started) => started,
        Err(error) => return drop(report.send(not_started(start_words(program, &error)))),
    };
    let mut watched = Watched {
        name: &program.run[0],
        child,
        output: Output::new(output),
        stage: Stage::Running {
            until: began_at + Duration::from_millis(program.limit_ms),
        },
        began_at,
        report: Some(report),
    };
    if let Err(error) = watched.watch(cancelled) {
        watched.signal(Signal::Kill);
        tracing::warn!(program = program.run[0], %error, "a program cannot be watched and was killed");
    }
    watched.finish();
}

fn spawn(program: &Program) -> std::io::Result<(Child, PipeReader)> {
    let (output, writer) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&output, true)?;
    let (path, arguments) = program
        .run
        .split_first()
        .ok_or_else(|| std::io::Error::other("no program is named"))?;
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C.UTF-8")
        .envs(program.environment.iter().cloned())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    lead_group(&mut command, Signal::Kill);
    Ok((command.spawn()?, output))
}

fn start_words(program: &Program, error: &std::io::Error) -> String {
    let path = program.run.first().map_or("", String::as_str);
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!("{path}, or the interpreter it names, does not exist")
        }
        std::io::ErrorKind::PermissionDenied => format!(
            "{path} may not be executed by user {}",
            nix::unistd::geteuid()
        ),
        _ => format!("{path}: {error}"),
    }
}

fn not_started(why: String) -> RunReport {
    RunReport::without_run(RunEnd::NotStarted(why))
}

/// How far a program is on its way out.
enum Stage {
    Running { until: Instant },
    Asked { until: Instant },
    Killed { until: Instant },
    Unkillable,
}

struct Watched<'p> {
    name: &'p str,
    child: Child,
    output: Output,
    stage: Stage,
    began_at: Instant,
    report: Option<oneshot::Sender<RunReport>>,
}

impl Watched<'_> {
    /// Until the program has ended, however long that takes. It has not been waited for then, so that its number still means its group.
    fn watch(&mut self, cancelled: &PipeReader) -> std::io::Result<()> {
        let end = ChildFd::open(self.child.id())?;
        let mut cancellable = true;
        loop {
            let mut polled = vec![PollFd::new(end.as_fd(), PollFlags::POLLIN)];
            if cancellable {
                polled.push(PollFd::new(cancelled.as_fd(), PollFlags::POLLIN));
            }
            if let Some(output) = &self.output.pipe {
                polled.push(PollFd::new(output.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut polled, self.timeout()) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ready = |at: usize| polled.get(at).is_some_and(|fd| fd.any().unwrap_or(false));
            let (ended, cancel) = (ready(0), cancellable && ready(1));
            drop(polled);
            if ended {
                return Ok(());
            }
            self.output.read();
            if cancel {
                cancellable = false;
                self.kill();
            }
            self.advance(Instant::now());
        }
    }

    fn timeout(&self) -> PollTimeout {
        let until = match self.stage {
            Stage::Running { until } | Stage::Asked { until } | Stage::Killed { until } => until,
            Stage::Unkillable => return PollTimeout::NONE,
        };
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
    }

    fn advance(&mut self, now: Instant) {
        match self.stage {
            Stage::Running { until } if until <= now => {
                self.signal(Signal::Term);
                self.stage = Stage::Asked { until: now + GRACE };
            }
            Stage::Asked { until } if until <= now => self.kill(),
            Stage::Killed { until } if until <= now => {
                self.stage = Stage::Unkillable;
                tracing::warn!(
                    program = self.name,
                    process = self.child.id(),
                    "a program was killed and is still there: it is waited for, and not started again meanwhile"
                );
                self.say(RunEnd::Unkillable);
            }
            Stage::Running { .. }
            | Stage::Asked { .. }
            | Stage::Killed { .. }
            | Stage::Unkillable => {}
        }
    }

    fn kill(&mut self) {
        self.signal(Signal::Kill);
        // That it cannot be ended is told once.
        if !matches!(self.stage, Stage::Unkillable) {
            self.stage = Stage::Killed {
                until: Instant::now() + KILL_LIMIT,
            };
        }
    }

    /// An error means that nobody of the group may be signalled, which shows soon enough.
    fn signal(&self, signal: Signal) {
        let _ = signal_group(self.child.id(), signal);
    }

    /// The program has ended: ends the rest of its group, and says how it went.
    fn finish(mut self) {
        self.output.read_rest();
        self.signal(Signal::Kill);
        let end = match (self.child.wait(), &self.stage) {
            (Ok(status), Stage::Running { .. }) => end_of(status),
            (Ok(_), _) => RunEnd::TimedOut,
            (Err(error), _) => RunEnd::Lost(error.to_string()),
        };
        self.say(end);
    }

    /// Reports once; whoever wanted to know may have gone.
    fn say(&mut self, end: RunEnd) {
        if let Some(report) = self.report.take() {
            let _ = report.send(RunReport {
                end,
                took_ms: self.began_at.elapsed().as_millis() as u64,
                output: self.output.line(),
            });
        }
    }
}

fn end_of(status: ExitStatus) -> RunEnd {
    match (status.code(), status.signal()) {
        (Some(code), _) => RunEnd::Exited(code),
        (None, Some(signal)) => RunEnd::Signalled(signal),
        (None, None) => RunEnd::Lost("an unknown end".to_owned()),
    }
}

/// What a program writes: the beginning of it.
struct Output {
    pipe: Option<PipeReader>,
    kept: Vec<u8>,
}

impl Output {
    fn new(pipe: PipeReader) -> Self {
        Self {
            pipe: Some(pipe),
            kept: Vec::new(),
        }
    }

    /// Reads what is there, once; false when there is nothing.
    fn read(&mut self) -> bool {
        let Some(pipe) = &mut self.pipe else {
            return false;
        };
        let mut buffer = [0; 4096];
        match pipe.read(&mut buffer) {
            Ok(count) if count > 0 => {
                let room = KEPT_OUTPUT.saturating_sub(self.kept.len());
                self.kept.extend_from_slice(&buffer[..count.min(room)]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Ok(_) | Err(_) => {
                self.pipe = None;
                false
            }
        }
    }

    fn read_rest(&mut self) {
        for _ in 0..LAST_READS {
            if !self.read() {
                return;
            }
        }
    }

    /// As one line, for a log: white space and what cannot be shown become single spaces.
    fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let words: Vec<&str> = text
            .split(|c: char| c.is_whitespace() || c.is_control())
            .filter(|word| !word.is_empty())
            .collect();
        words.join(" ")
    }
}

#[cfg(test)]
mod tests;

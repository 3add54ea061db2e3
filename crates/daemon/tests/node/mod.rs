//! A running `tandemd` in a folder of its own, and an origin behind it. Both end with the test that made them.

#![allow(dead_code, clippy::unwrap_used)] // each test file uses its own part

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

/// How long any fact may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// How long an answer on the control socket may take: longer than the daemon itself waits for anything, also where whole groups of
/// processes stand still for a while.
const ANSWER_LIMIT: Duration = Duration::from_secs(150);
/// User and group `nobody`.
pub(crate) const NOBODY: u32 = 65_534;

/// Waits for a fact; panics with its name when it does not come.
pub(crate) fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let began = Instant::now();
    while !fact() {
        assert!(began.elapsed() < LIMIT, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port of loopback that nobody has, and that nobody is given who does not ask for it by its number: it is below those the kernel hands
/// out, so that it is still free when the daemon binds it.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let end: u32 = range.split_whitespace().next().unwrap().parse().unwrap();
    let (first, all) = (end / 2, end - end / 2);
    // Other programs of the same tests begin elsewhere.
    let begin = std::process::id().wrapping_mul(331);
    for _ in 0..all {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % all;
        let port = u16::try_from(first + number).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port below {end} is free");
}

/// SIGKILL.
pub(crate) fn kill(pid: u32) {
    send(Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
}

/// SIGSTOP.
pub(crate) fn freeze(pid: u32) {
    send(Pid::from_raw(pid as i32), Signal::SIGSTOP).unwrap();
}

/// SIGCONT.
pub(crate) fn thaw(pid: u32) {
    send(Pid::from_raw(pid as i32), Signal::SIGCONT).unwrap();
}

/// Memory that a process has made for itself, in KiB. The pages of the program are not in it: how they are shared out depends on who
/// else runs it at that moment.
pub(crate) fn memory_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"));
    let value = line.unwrap().trim().trim_end_matches("kB").trim();
    value.parse().unwrap()
}

/// The head of a message, its empty line included.
pub(crate) fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let (mut head, mut octet) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet)?;
        head.push(octet[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A daemon and its folder.
pub(crate) struct Node {
    folder: tempfile::TempDir,
    command: Command,
    process: Option<Child>,
}

impl Node {
    /// A daemon that is not started yet.
    pub(crate) fn prepare(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("tandem.toml"), config).unwrap();
        std::fs::create_dir(at("state")).unwrap();
        let log = std::fs::File::create(at("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandemd"));
        command
            .arg("--config")
            .arg(at("tandem.toml"))
            .arg("--socket")
            .arg(at("socket"))
            .arg("--state-dir")
            .arg(at("state"));
        command.stdin(Stdio::null()).stderr(log);
        Self {
            folder,
            command,
            process: None,
        }
    }

    /// One HTTP listener before one origin.
    pub(crate) fn balancer_config(port: u16, origin: &Origin) -> String {
        format!(
            "[listener.web]\nbind = \"127.0.0.1:{port}\"\nprotocol = \"http\"\nforward = \"app\"\n\
             [group.app]\ntargets = [\"127.0.0.1:{}\"]\nhealth = {{ tcp = true, every = \"1s\" }}\n",
            origin.port
        )
    }

    pub(crate) fn environment(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.command.env(name, value);
    }

    /// The daemon and all that belongs to it run without privileges.
    pub(crate) fn run_as_nobody(&mut self) {
        let binary = self.folder.path().join("tandemd");
        std::fs::copy(env!("CARGO_BIN_EXE_tandemd"), &binary).unwrap();
        let mut command = Command::new(&binary);
        command
            .args(self.command.get_args())
            .uid(NOBODY)
            .gid(NOBODY)
            .stdin(Stdio::null());
        command.stderr(std::fs::File::create(self.folder.path().join("log")).unwrap());
        self.command = command;
        for path in [self.folder.path(), &self.folder.path().join("state")] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
    }

    pub(crate) fn start(&mut self) {
        self.process = Some(self.command.spawn().unwrap());
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn write_config(&self, config: &str) {
        std::fs::write(self.folder.path().join("tandem.toml"), config).unwrap();
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// SIGTERM to the keeper.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// A signal to the keeper.
    pub(crate) fn signal(&self, signal: Signal) {
        send(Pid::from_raw(self.keeper() as i32), signal).unwrap();
    }

    /// Whoever the forwarder runs as may write to the folder.
    pub(crate) fn open_folder(&self) {
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(self.folder.path(), open).unwrap();
    }

    /// Waits for the end of the keeper.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let process = self.process.as_mut().unwrap();
        let mut status = None;
        wait_until("the keeper has ended", || {
            status = process.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn keeper(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// The keeper's child of this name.
    pub(crate) fn child(&self, name: &str) -> Option<u32> {
        children(self.keeper()).into_iter().find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|comm| comm.trim() == name)
        })
    }

    /// `GET /status`, when it answers.
    pub(crate) fn status(&self) -> Option<serde_json::Value> {
        self.request("GET", "/status", "")
    }

    /// A `GET` of another path.
    pub(crate) fn get(&self, path: &str) -> Option<serde_json::Value> {
        self.request("GET", path, "")
    }

    /// A `POST` without a body.
    pub(crate) fn post(&self, path: &str) -> Option<serde_json::Value> {
        self.request("POST", path, "")
    }

    /// `POST /reload`, which has to be answered.
    pub(crate) fn reload(&self) -> serde_json::Value {
        let answer = self.post("/reload");
        answer.unwrap_or_else(|| panic!("the reload is not answered:\n{}", self.log()))
    }

    /// A `POST` of an order.
    pub(crate) fn order(&self, body: &serde_json::Value) -> serde_json::Value {
        let answer = self.request("POST", "/orders", &body.to_string());
        answer.unwrap_or_else(|| panic!("no answer to {body}"))
    }

    /// A `GET` whose answer is text.
    pub(crate) fn text(&self, path: &str) -> String {
        self.ask("GET", path, "").unwrap_or_default()
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Option<serde_json::Value> {
        serde_json::from_str(&self.ask(method, path, body)?).ok()
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.folder.path().join("socket")).ok()?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    }

    /// Waits until the origin answers through the listener.
    pub(crate) fn wait_for_service(&self, port: u16) {
        wait_until("the origin answers through the listener", || {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
                return false;
            };
            let mut answer = String::new();
            write!(
                stream,
                "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            .is_ok()
                && stream.read_to_string(&mut answer).is_ok()
                && answer.starts_with("HTTP/1.1 200")
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            for pid in children(process.id()).into_iter().chain([process.id()]) {
                // It may have ended by itself.
                let _ = send(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
            let _ = process.wait();
        }
    }
}

fn children(pid: u32) -> Vec<u32> {
    let path: PathBuf = format!("/proc/{pid}/task/{pid}/children").into();
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// An HTTP origin: `/slow` waits until released, everything else answers at once.
pub(crate) struct Origin {
    pub(crate) port: u16,
    slow: Arc<AtomicUsize>,
    gate: Arc<(Mutex<bool>, Condvar)>,
}

impl Origin {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = Self {
            port: listener.local_addr().unwrap().port(),
            slow: Arc::default(),
            gate: Arc::default(),
        };
        let (slow, gate) = (Arc::clone(&origin.slow), Arc::clone(&origin.gate));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (slow, gate) = (Arc::clone(&slow), Arc::clone(&gate));
                std::thread::spawn(move || serve(stream, &slow, &gate));
            }
        });
        origin
    }

    /// How many slow requests have arrived.
    pub(crate) fn slow_requests(&self) -> usize {
        self.slow.load(Ordering::SeqCst)
    }

    /// Lets the slow ones be answered.
    pub(crate) fn release(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

fn serve(mut stream: TcpStream, slow: &AtomicUsize, gate: &(Mutex<bool>, Condvar)) {
    let Ok(copy) = stream.try_clone() else { return };
    let mut reader = BufReader::new(copy);
    let mut first = String::new();
    while reader.read_line(&mut first).is_ok_and(|count| count > 0) {
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
            line.clear();
        }
        let body = if first.starts_with("GET /slow") {
            "slow"
        } else {
            "fine"
        };
        if body == "slow" {
            slow.fetch_add(1, Ordering::SeqCst);
            let _open = gate
                .1
                .wait_while(gate.0.lock().unwrap(), |open| !*open)
                .unwrap();
        }
        if write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .is_err()
        {
            return;
        }
        first.clear();
    }
}

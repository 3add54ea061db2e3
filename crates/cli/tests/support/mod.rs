//! What the tests of the program share: a folder, a daemon that answers from a list, and a way to run the program.
#![allow(clippy::unwrap_used, dead_code)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub(crate) const STATUS: &str = include_str!("../../../control/tests/recorded/status.json");
pub(crate) const VRRP: &str = include_str!("../../../control/tests/recorded/vrrp.json");
pub(crate) const EVENTS: &str = include_str!("../../../control/tests/recorded/events.json");
pub(crate) const WHY: &str = include_str!("../../../control/tests/recorded/why.json");

/// A folder of its own for each test, removed with it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("tandem-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A daemon that answers from a list, one connection after the other, until it is dropped.
pub(crate) struct Daemon {
    pub(crate) socket: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _folder: Folder,
}

impl Daemon {
    /// `answers`: request line without version (`GET /status`) and what is written back, byte for byte.
    pub(crate) fn new(answers: Vec<(&'static str, Vec<u8>)>) -> Self {
        let folder = Folder::new();
        let socket = folder.path("sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (requests, stop) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, stopped) = (requests.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut connection = connection.unwrap();
                let request = read_request(&mut connection);
                let answer = answers
                    .iter()
                    .find(|(line, _)| request.starts_with(&format!("{line} HTTP/1.1\r\n")));
                let missing = json_answer(404, r#"{"error": "no such path"}"#);
                // The program may have seen enough and be gone.
                let _ = connection.write_all(answer.map_or(&missing, |(_, answer)| answer));
                seen.lock().unwrap().push(request);
            }
        });
        Self {
            socket,
            requests,
            stop,
            thread: Some(thread),
            _folder: folder,
        }
    }

    /// One that knows a single good answer.
    pub(crate) fn knowing(line: &'static str, json: &str) -> Self {
        Self::new(vec![(line, json_answer(200, json))])
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        run(tandem().arg("--socket").arg(&self.socket).args(args))
    }

    /// The requests so far, whole.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.socket);
        let joined = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            joined.unwrap();
        }
    }
}

/// Reads a request with its body.
pub(crate) fn read_request(connection: &mut UnixStream) -> String {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        let count = connection.read(&mut piece).unwrap();
        assert!(count > 0, "request ended early: {text}");
        request.extend_from_slice(&piece[..count]);
    }
}

pub(crate) fn json_answer(status: u16, json: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        json.len()
    );
    (head + json).into_bytes()
}

/// The program, with no terminal and no input.
pub(crate) fn tandem() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.stdin(Stdio::null());
    command
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The program on files, with a socket on which nobody listens.
pub(crate) fn without_daemon(folder: &Folder, args: &[&str], files: &[&Path]) -> Output {
    run(tandem()
        .arg("--socket")
        .arg(folder.path("nobody"))
        .args(args)
        .args(files))
}

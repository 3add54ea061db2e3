//! What the service manager is told (sd_notify(3)).
//!
//! It is never waited for: a manager that does not read must not keep the keeper from what only the keeper can do. What it does not take
//! is said again with the next sign of life.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// Signs of life are this far apart at least, and a quarter of what the manager allows.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Octets that may wait for the manager; the oldest words are given up first.
const WAITING: usize = 2048;

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub(super) struct Manager {
    address: Option<OsString>,
    pause: Duration,
    fed_at: Option<Instant>,
    waiting: String,
}

impl Manager {
    /// As the environment says.
    pub(super) fn of_environment() -> Self {
        let limit = std::env::var("WATCHDOG_USEC").ok();
        let limit = limit.and_then(|text| text.parse().ok());
        let limit = limit.map_or(LONGEST_PAUSE * 4, Duration::from_micros);
        Self {
            address: std::env::var_os("NOTIFY_SOCKET"),
            pause: LONGEST_PAUSE.min(limit / 4),
            fed_at: None,
            waiting: String::new(),
        }
    }

    /// The service lives.
    pub(super) fn feed(&mut self, now: Instant) {
        let lately = |at: Instant| now.saturating_duration_since(at) < self.pause;
        if self.waiting.is_empty() && self.fed_at.is_some_and(lately) {
            return;
        }
        if self.say(&format!("WATCHDOG=1\n{}", self.waiting)) {
            self.fed_at = Some(now);
            self.waiting.clear();
        }
    }

    /// The service serves; `status` is for people.
    pub(super) fn ready(&mut self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}\n", status.replace('\n', " ")));
    }

    /// The service has been asked to stop.
    pub(super) fn stopping(&mut self) {
        self.tell("STOPPING=1\n");
    }

    /// Stopping takes this long at most from here on.
    pub(super) fn needs_time(&mut self, limit: Duration) {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}\n", limit.as_micros()));
    }

    fn tell(&mut self, words: &str) {
        if self.waiting.len() + words.len() > WAITING {
            self.waiting.clear();
        }
        self.waiting.push_str(words);
        if self.say(&self.waiting) {
            self.waiting.clear();
        }
    }

    /// Whether it was taken; without a manager everything is.
    fn say(&self, words: &str) -> bool {
        let Some(address) = &self.address else {
            return true;
        };
        let send = || {
            let bytes = address.as_bytes();
            let address = match bytes.strip_prefix(b"@") {
                Some(name) => SocketAddr::from_abstract_name(name)?,
                None => SocketAddr::from_pathname(address)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.send_to_addr(words.as_bytes(), &address)
        };
        match send() {
            Ok(_) => true,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn manager() -> (Manager, UnixDatagram) {
        let name = format!("tandem-manager-{:?}", std::thread::current().id());
        let name = format!("{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let manager = Manager {
            address: Some(format!("@{name}").into()),
            pause: Duration::from_secs(1),
            fed_at: None,
            waiting: String::new(),
        };
        (manager, socket)
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut buffer = [0; 4096];
        let len = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..len]).into_owned())
    }

    #[test]
    fn signs_of_life_are_a_second_apart() {
        let (mut manager, socket) = manager();
        let start = Instant::now();
        for tenth in 0..20 {
            manager.feed(start + Duration::from_millis(100 * tenth));
        }
        let all: Vec<String> = std::iter::from_fn(|| heard(&socket)).collect();
        assert_eq!(all, ["WATCHDOG=1\n", "WATCHDOG=1\n"]);
    }

    #[test]
    fn a_manager_that_does_not_read_is_not_waited_for_and_hears_it_later() {
        let (mut manager, socket) = manager();
        while manager.say("x") {}
        let start = Instant::now();
        manager.ready("lb1");
        manager.stopping();
        manager.feed(start);
        while heard(&socket).is_some() {}
        manager.feed(start);
        let told = "WATCHDOG=1\nREADY=1\nSTATUS=lb1\nSTOPPING=1\n";
        assert_eq!(heard(&socket).as_deref(), Some(told));
        for _ in 0..1000 {
            manager.ready("lb1");
        }
        assert!(manager.waiting.len() <= WAITING);
    }
}

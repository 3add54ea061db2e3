//! The proxies, each set up for the same work: one thread, one origin, kept connections on both sides.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

use super::Speech;
use super::datagrams::Flows;
use super::secrecy::Files;
use super::setups::Setup;
use crate::device::program;
use crate::process::{Process, process_tree};
use crate::wait::wait_until;
use crate::{NetNs, memory_kib};

/// Where the origin listens.
pub(super) const ORIGIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9_000);
/// The core the proxies have for themselves.
const PROXY_CORE: usize = 0;
/// The core of clients and origin.
pub(super) const LOAD_CORE: usize = 1;
/// Longest start of a proxy.
const START: Duration = Duration::from_secs(10);

/// A proxy under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rival {
    /// Ours, with every process it needs.
    Tandem,
    /// Debian's HAProxy.
    Haproxy,
    /// Debian's nginx.
    Nginx,
}

impl Rival {
    /// All of them, ours first.
    pub const ALL: [Rival; 3] = [Rival::Tandem, Rival::Haproxy, Rival::Nginx];

    /// For the head of a column.
    pub fn title(self) -> &'static str {
        match self {
            Rival::Tandem => "Tandem",
            Rival::Haproxy => "HAProxy",
            Rival::Nginx => "nginx",
        }
    }

    /// Where it takes those who speak so.
    pub(super) fn speaking(self, speech: Speech) -> SocketAddr {
        match speech {
            Speech::Clear => self.http(),
            Speech::Tls { .. }
            | Speech::Http2 {
                encrypted: true, ..
            } => self.https(),
            Speech::Http2 {
                encrypted: false, ..
            } => self.h2c(),
        }
    }

    fn https(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port() + 4))
    }

    fn h2c(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port() + 5))
    }

    /// Where it takes HTTP.
    pub(super) fn http(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port()))
    }

    /// Where it relays the bytes of TCP.
    pub(super) fn tcp(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port() + 1))
    }

    /// Where it passes on datagrams. HAProxy has no such thing.
    pub(super) fn udp(self, flows: Flows) -> SocketAddr {
        let port = match flows {
            Flows::Short => self.port() + 2,
            Flows::Long => self.port() + 3,
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Where it tells its figures, if it is set up to.
    pub(super) fn metrics(self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port() + 6))
    }

    fn port(self) -> u16 {
        match self {
            Rival::Tandem => 8_100,
            Rival::Haproxy => 8_200,
            Rival::Nginx => 8_300,
        }
    }

    /// Starts it on its core and waits until it listens. Its files go to `folder`.
    pub(super) fn start(
        self,
        namespace: &NetNs,
        folder: &Path,
        setup: Setup,
    ) -> anyhow::Result<Running> {
        let file = self.configure(folder, setup)?;
        let mut command = self.command(&file, folder)?;
        let mut core = CpuSet::new();
        core.set(PROXY_CORE)?;
        // The child is this thread's until it runs its program: it inherits the core.
        let process = namespace.enter(|| -> anyhow::Result<Process> {
            sched_setaffinity(Pid::from_raw(0), &core)?;
            Process::start_here(self.title(), &mut command)
        })??;
        let mut running = Running { process };
        for address in [self.http(), self.tcp()] {
            wait_until(&format!("{} listens", self.title()), START, || {
                !running.process.running() || namespace.enter(|| connects(address)).unwrap_or(false)
            })
            .with_context(|| running.process.log().join("\n"))?;
        }
        anyhow::ensure!(
            running.process.running(),
            "{} ended at once:\n{}",
            self.title(),
            running.process.log().join("\n")
        );
        Ok(running)
    }

    /// Writes its configuration.
    pub(super) fn configure(self, folder: &Path, setup: Setup) -> anyhow::Result<PathBuf> {
        let file = folder.join(format!("{}.conf", self.title()));
        let certificate = Files::of(folder)?;
        std::fs::write(&file, self.config(folder, &certificate, setup))?;
        Ok(file)
    }

    /// Starts it with this configuration.
    pub(super) fn command(self, file: &Path, folder: &Path) -> anyhow::Result<Command> {
        let mut command = match self {
            Rival::Tandem => {
                let mut command = Command::new(program("tandemd")?);
                command.arg("--config").arg(file).args(["--node", "bench"]);
                command.arg("--socket").arg(folder.join("tandem.sock"));
                command.arg("--state-dir").arg(folder.join("state"));
                command
            }
            Rival::Haproxy => {
                let mut command = Command::new("haproxy");
                command.args(["-db", "-f"]).arg(file);
                command
            }
            Rival::Nginx => {
                let mut command = Command::new("nginx");
                command.args(["-e", "stderr", "-c"]).arg(file);
                command
            }
        };
        command.process_group(0);
        Ok(command)
    }

    fn config(self, folder: &Path, certificate: &Files, setup: Setup) -> String {
        let (http, tcp) = (self.http(), self.tcp());
        let (short, long) = (self.udp(Flows::Short), self.udp(Flows::Long));
        let (https, h2c) = (self.https(), self.h2c());
        let Files {
            certificate,
            key,
            both,
        } = certificate;
        let (certificate, key, both) = (certificate.display(), key.display(), both.display());
        match self {
            Rival::Tandem => format!(
                "{web}\n\
                 [listener.secure]\nbind = \"{https}\"\nprotocol = \"https\"\nforward = \"app\"\ntls = {{ certificates = [\"bench\"] }}\n\n\
                 [certificate.bench]\ncert = \"{certificate}\"\nkey = \"{key}\"\n\n\
                 [listener.knowing]\nbind = \"{h2c}\"\nprotocol = \"http\"\nh2c = true\nforward = \"app\"\n\n\
                 [listener.raw]\nbind = \"{tcp}\"\nprotocol = \"tcp\"\nforward = \"raw\"\n\n\
                 [group.raw]\ntargets = [\"{ORIGIN}\"]\n\n\
                 [listener.short]\nbind = \"{short}\"\nprotocol = \"udp\"\nforward = \"short\"\n\n\
                 [listener.long]\nbind = \"{long}\"\nprotocol = \"udp\"\nforward = \"long\"\n\n\
                 [group.short]\ntargets = [\"{ORIGIN}\"]\nhealth = \"off\"\nudp = {{ responses = 1 }}\n\n\
                 [group.long]\ntargets = [\"{ORIGIN}\"]\nhealth = \"off\"\n",
                web = setup.tandem(folder),
            ),
            // It writes no files, so that it has no access log in any case.
            Rival::Haproxy => {
                let (front, in_flight, others) = setup.haproxy();
                format!(
                    "global\n  nbthread 1\n  maxconn 9000\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n\n\
                 defaults\n  timeout connect 3s\n  timeout client 75s\n  timeout server 60s\n  timeout http-request 10s\n  option http-keep-alive\n  http-reuse always\n\n\
                 frontend web\n  mode http\n  bind {http}\n  bind {https} ssl crt {both} alpn h2,http/1.1\n  bind {h2c} proto h2\n  option forwardfor\n{front}\n\
                 backend app\n  mode http\n  option httpchk GET /s/2\n  server one {ORIGIN} check inter 5s{in_flight}\n{others}\n\
                 listen raw\n  mode tcp\n  bind {tcp}\n  server one {ORIGIN} check inter 5s\n"
                )
            }
            Rival::Nginx => {
                const FORWARD: &str = "proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                    proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
                let parts = setup.nginx(folder, FORWARD);
                let (log, limits, in_flight) = (parts.log, parts.limits, parts.in_flight);
                let (places, servers) = (parts.places, parts.servers);
                let folder = folder.display();
                format!(
                    "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nuser root;\nerror_log stderr crit;\n\
                     events {{ worker_connections 9000; }}\n\
                     http {{\n  access_log {log};\n  keepalive_requests 1000000000;\n  client_body_buffer_size 128k;\n  client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
                     fastcgi_temp_path {folder}/f;\n  uwsgi_temp_path {folder}/u;\n  scgi_temp_path {folder}/s;\n  {limits}\n  \
                     upstream app {{ server {ORIGIN}{in_flight}; keepalive 1024; keepalive_requests 1000000000; }}\n  \
                     ssl_certificate {certificate};\n  ssl_certificate_key {key};\n  ssl_protocols TLSv1.3;\n  ssl_session_tickets on;\n  \
                     server {{\n    listen {http} backlog=4096 default_server;\n    listen {https} ssl http2 backlog=4096;\n    listen {h2c} http2 backlog=4096;\n    location / {{ {FORWARD} }}\n{places}  }}\n{servers}}}\n\
                     stream {{\n  server {{ listen {tcp} backlog=4096; proxy_pass {ORIGIN}; }}\n  \
                     server {{ listen {short} udp reuseport; proxy_pass {ORIGIN}; proxy_responses 1; proxy_requests 1; }}\n  \
                     server {{ listen {long} udp reuseport; proxy_pass {ORIGIN}; }}\n}}\n",
                )
            }
        }
    }
}

pub(super) fn connects(address: SocketAddr) -> bool {
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

/// A proxy that runs; dropping it ends its whole tree.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Process,
}

impl Running {
    /// Its processes, parents before children.
    pub(super) fn tree(&self) -> Vec<u32> {
        process_tree(self.process.pid())
    }

    /// CPU time of every task of every process so far, user and system together, as the scheduler counts it.
    pub(super) fn cpu(&self) -> Duration {
        let tasks = self.tree().into_iter().flat_map(|pid| {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
            tasks
                .into_iter()
                .flatten()
                .flatten()
                .map(|task| task.path())
        });
        let spent = |task: PathBuf| -> u64 {
            let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            let first = text.split_whitespace().next();
            first.and_then(|first| first.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(tasks.map(spent).sum())
    }

    /// Proportional memory of all its processes, in KiB.
    pub(super) fn memory_kib(&self) -> u64 {
        self.tree()
            .into_iter()
            .filter_map(|pid| memory_kib(pid).ok())
            .sum()
    }
}

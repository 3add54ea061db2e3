//! What a proxy does besides forwarding, in the words of each: the same for all of them.

use std::fmt::Write as _;
use std::path::Path;

use super::rivals::{ORIGIN, Rival};

/// What a proxy is set up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Forwarding and a health check.
    Plain,
    /// An access log in a file as well, where the proxy writes such.
    Logged,
    /// That, twenty rules of which the last is met, limits, and figures for Prometheus (nginx has none of its own).
    Full,
}

/// Rules of [`Setup::Full`]: half go by host and path, the others by path alone.
const RULES: usize = 20;
/// Connections that a proxy, and one client address, may have: more than there are.
const CONNECTIONS: u32 = 9_000;
/// Requests that the origin may have at a time.
const IN_FLIGHT: u32 = 500;

/// Host, if it goes by one, and path of each rule; that of the last is the one that is asked for.
fn rules() -> impl Iterator<Item = (Option<String>, String)> {
    (1..=RULES).map(|number| match number {
        RULES => (None, "/s/".to_owned()),
        _ if number <= RULES / 2 => (
            Some(format!("app{number}.example.com")),
            format!("/api/{number}/"),
        ),
        _ => (None, format!("/part{number}/")),
    })
}

impl Setup {
    /// The access log that is written to, if any. HAProxy writes none to files.
    fn log(self, folder: &Path, rival: Rival) -> Option<String> {
        let file = folder.join(format!("{}.access", rival.title()));
        (self != Setup::Plain && rival != Rival::Haproxy).then(|| file.display().to_string())
    }

    /// The configuration of the part of Tandem that speaks HTTP.
    pub(super) fn tandem(self, folder: &Path) -> String {
        let rival = Rival::Tandem;
        let (http, metrics) = (rival.http(), rival.metrics());
        let log = self.log(folder, rival).unwrap_or("off".to_owned());
        let mut text = format!("[global]\nthreads = 1\naccess_log = {{ to = \"{log}\" }}\n");
        if self == Setup::Full {
            let _ = writeln!(text, "metrics = \"{metrics}\"");
        }
        text += &format!(
            "\n[listener.web]\nbind = \"{http}\"\nprotocol = \"http\"\nforward = \"app\"\n"
        );
        if self == Setup::Full {
            let _ = writeln!(
                text,
                "limits = {{ connections = {CONNECTIONS}, per_ip = {CONNECTIONS} }}"
            );
            for (host, path) in rules() {
                let host = host.map_or(String::new(), |host| format!("host = \"{host}\", "));
                let when = format!("{{ {host}path = \"{path}*\" }}");
                let _ = writeln!(
                    text,
                    "\n[[listener.web.rule]]\nname = \"{path}\"\nwhen = {when}\nforward = \"app\""
                );
            }
        }
        text += &format!(
            "\n[group.app]\ntargets = [\"{ORIGIN}\"]\nhealth = {{ http = \"/s/2\", every = \"5s\" }}\n"
        );
        if self == Setup::Full {
            let _ = writeln!(
                text,
                "limits = {{ per_target = {IN_FLIGHT}, queue = 1000, queue_for = \"5s\" }}"
            );
        }
        text
    }

    /// What stands in HAProxy's `frontend` besides `bind`, what its `server` has besides its check, and other sections.
    pub(super) fn haproxy(self) -> (String, String, String) {
        if self != Setup::Full {
            return (
                "  default_backend app\n".to_owned(),
                String::new(),
                String::new(),
            );
        }
        let mut front = format!(
            "  maxconn {CONNECTIONS}\n  stick-table type ip size 100k store conn_cur\n  tcp-request connection track-sc0 src\n  \
             tcp-request connection reject if {{ src_conn_cur gt {CONNECTIONS} }}\n"
        );
        for (host, path) in rules() {
            let host = host.map_or(String::new(), |host| format!("{{ hdr(host) -i {host} }} "));
            let _ = writeln!(front, "  use_backend app if {host}{{ path_beg {path} }}");
        }
        front += "  default_backend app\n";
        let metrics = Rival::Haproxy.metrics();
        let figures = format!(
            "\nfrontend figures\n  mode http\n  bind {metrics}\n  http-request use-service prometheus-exporter if {{ path /metrics }}\n"
        );
        (front, format!(" maxconn {IN_FLIGHT}"), figures)
    }

    /// What stands in nginx's `http` before its server, that server's place for everything, further places of it, and other servers.
    pub(super) fn nginx(self, folder: &Path, forward: &str) -> Nginx {
        let to = self.log(folder, Rival::Nginx);
        let mut nginx = Nginx {
            log: to.unwrap_or("off".to_owned()),
            ..Nginx::default()
        };
        if self != Setup::Full {
            return nginx;
        }
        let http = Rival::Nginx.http();
        nginx.limits =
            "limit_conn_zone $binary_remote_addr zone=clients:1m; limit_conn clients 9000;"
                .to_owned();
        nginx.in_flight = format!(" max_conns={IN_FLIGHT}");
        for (host, path) in rules() {
            let place = format!("location {path} {{ {forward} }}");
            match host {
                Some(host) => {
                    let _ = writeln!(
                        nginx.servers,
                        "  server {{ listen {http}; server_name {host}; {place} }}"
                    );
                }
                None => {
                    let _ = writeln!(nginx.places, "    {place}");
                }
            }
        }
        nginx
    }
}

/// Parts of nginx's configuration.
#[derive(Debug, Default)]
pub(super) struct Nginx {
    /// Where its access log goes.
    pub(super) log: String,
    /// Limits on connections.
    pub(super) limits: String,
    /// The limit of the origin, behind its address.
    pub(super) in_flight: String,
    /// Places of the server besides `/`.
    pub(super) places: String,
    /// Servers besides the one for every host.
    pub(super) servers: String,
}

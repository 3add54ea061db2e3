//! What many rules and many targets cost the forwarder: the processor time of a request with 10 rules and with 10,000, and of the checks
//! of 1,000 targets.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::NetNs;
use crate::device::program;
use crate::process::{Process, comm, cpu_time, process_tree};
use crate::wait::wait_until;

/// Longest start; ten thousand rules are read and compared in it.
const START: Duration = Duration::from_secs(60);
/// Where the node with few rules listens.
const FEW: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8_101);
/// Where the node with many rules listens.
const MANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8_102);
/// The port of the targets.
const TARGETS: u16 = 9_000;

/// Processor time of a request that meets the last rule.
#[derive(Clone, Copy, Debug)]
pub struct RuleCost {
    /// Microseconds with few rules.
    pub few_us: f64,
    /// Microseconds with many.
    pub many_us: f64,
}

/// Measures a round with `few` rules and one with `many`, by turns; each of `time`.
///
/// # Errors
/// When a node does not start or does not answer.
pub fn measure_rules(
    few: usize,
    many: usize,
    rounds: usize,
    time: Duration,
) -> anyhow::Result<Vec<RuleCost>> {
    let namespace = NetNs::create(&format!("tdm-{}-rules", std::process::id()))?;
    let folder = tempfile::tempdir()?;
    let nodes = [
        start(
            &namespace,
            &folder.path().join("few"),
            &with_rules(FEW, few),
        )?,
        start(
            &namespace,
            &folder.path().join("many"),
            &with_rules(MANY, many),
        )?,
    ];
    namespace.enter(|| -> anyhow::Result<Vec<RuleCost>> {
        let last = [(FEW, few), (MANY, many)];
        let mut costs = Vec::new();
        for round in 0..=rounds {
            let mut each = [0.0; 2];
            for ((node, (address, rules)), cost) in nodes.iter().zip(last).zip(&mut each) {
                *cost = cost_of_a_request(node, address, rules, time)?;
            }
            // The first round warms up.
            if round > 0 {
                costs.push(RuleCost {
                    few_us: each[0],
                    many_us: each[1],
                });
            }
        }
        Ok(costs)
    })?
}

/// The part of a core that the forwarder needs to check so many targets each `every`, when nothing else is to be done.
///
/// # Errors
/// When the node does not start, or a check fails.
pub fn measure_checks(targets: usize, every: Duration, time: Duration) -> anyhow::Result<f64> {
    let namespace = NetNs::create(&format!("tdm-{}-checks", std::process::id()))?;
    let folder = tempfile::tempdir()?;
    let origin = namespace.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGETS)))??;
    drop(namespace.thread("targets", move || {
        answer_all(&origin);
        Ok(())
    })?);
    let mut addresses = String::new();
    for number in 0..targets {
        let (high, low) = (1 + number / 250, 1 + number % 250);
        write!(addresses, "\"127.0.{high}.{low}:{TARGETS}\", ")?;
    }
    let config = format!(
        "[listener.web]\nbind = \"{FEW}\"\nprotocol = \"http\"\nforward = \"app\"\n\
         [group.app]\ntargets = [{addresses}]\nhealth = {{ http = \"/healthz\", every = \"{}ms\" }}\n",
        every.as_millis()
    );
    let node = start(&namespace, folder.path(), &config)?;
    let forwarder = node.forwarder()?;
    // Each has been asked once, and those due meanwhile again.
    std::thread::sleep(every + Duration::from_secs(1));
    let before = (cpu_time(forwarder)?, Instant::now());
    std::thread::sleep(time);
    let spent = cpu_time(forwarder)?.saturating_sub(before.0);
    Ok(spent.as_secs_f64() / before.1.elapsed().as_secs_f64())
}

/// A node that runs; it ends with the value.
struct Node {
    process: Process,
}

impl Node {
    fn forwarder(&self) -> anyhow::Result<u32> {
        let tree = process_tree(self.process.pid());
        let found = tree.into_iter().find(|pid| comm(*pid) == "tandem-forward");
        found.context("no forwarder runs")
    }
}

fn start(namespace: &NetNs, folder: &Path, config: &str) -> anyhow::Result<Node> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join("tandem.toml");
    std::fs::write(&file, config)?;
    let mut command = Command::new(program("tandemd")?);
    command.arg("--config").arg(&file).args(["--node", "bench"]);
    command.arg("--socket").arg(folder.join("tandem.sock"));
    command.arg("--state-dir").arg(folder.join("state"));
    let mut node = Node {
        process: Process::start(namespace, "tandemd", &mut command)?,
    };
    let address = if config.contains(&MANY.to_string()) {
        MANY
    } else {
        FEW
    };
    wait_until("the node listens", START, || {
        let connects = || TcpStream::connect(address).is_ok();
        !node.process.running() || namespace.enter(connects).unwrap_or(false)
    })
    .with_context(|| node.process.log().join("\n"))?;
    anyhow::ensure!(node.process.running(), "{}", node.process.log().join("\n"));
    Ok(node)
}

/// Rules that differ in host and path, each with an answer of its own.
fn with_rules(address: SocketAddr, rules: usize) -> String {
    let mut text = format!(
        "[global]\nthreads = 1\n[listener.web]\nbind = \"{address}\"\nprotocol = \"http\"\nrespond = 404\n"
    );
    for number in 1..=rules {
        text += &format!(
            "[[listener.web.rule]]\nwhen = {{ host = \"h{number}.example.com\", path = \"/p{number}/*\" }}\nrespond = 200\n"
        );
    }
    text
}

/// Asks for what the last rule answers, for so long; what a request cost the forwarder, in microseconds.
fn cost_of_a_request(
    node: &Node,
    address: SocketAddr,
    rules: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let request = format!(
        "GET /p{rules}/x HTTP/1.1\r\nHost: h{rules}.example.com\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let forwarder = node.forwarder()?;
    let (before, begun_at) = (cpu_time(forwarder)?, Instant::now());
    let (mut count, mut answer) = (0_u32, [0; 1024]);
    while begun_at.elapsed() < time {
        stream.write_all(request.as_bytes())?;
        let length = stream.read(&mut answer)?;
        let good = answer[..length].starts_with(b"HTTP/1.1 200");
        anyhow::ensure!(good, "{}", String::from_utf8_lossy(&answer[..length]));
        count += 1;
    }
    let spent = cpu_time(forwarder)?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / f64::from(count.max(1)))
}

/// Answers every check and closes.
fn answer_all(listener: &TcpListener) {
    for mut stream in listener.incoming().map_while(Result::ok) {
        // Who is gone needs no answer.
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.read(&mut [0; 1024]);
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
}

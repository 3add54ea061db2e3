//! The topology, and taking it down again.
//!
//! ```text
//!   lb1 10.0.0.2 ──┐                       ┌── client   10.0.0.100
//!   lb2 10.0.0.3 ──┼── switch (a bridge) ──┼── backend1 10.0.0.21
//!   watch (no address, sees what is flooded) ┴── backend2 10.0.0.22
//! ```
//!
//! Every host has one link `eth0` with an IPv4, a unique local (`fd00::N`) and a link-local IPv6 address. The
//! switch knows no spanning tree and no multicast snooping.
//!
//! Measurements disturb each other, so there is one laboratory at a time on a machine: the next one waits.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::namespace::{NetNs, PREFIX, sweep_stale};
use crate::origin::Origin;
use crate::wait::wait_until;

/// A host of the laboratory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// The first node of the pair, the preferred one.
    Lb1,
    /// The second node of the pair.
    Lb2,
    /// Where the probes come from, and strangers' packets.
    Client,
    /// The first origin server.
    Backend1,
    /// The second origin server.
    Backend2,
    /// Has no address; sees broadcasts and multicasts only.
    Watch,
}

impl Host {
    const ALL: [Host; 6] = [
        Host::Lb1,
        Host::Lb2,
        Host::Client,
        Host::Backend1,
        Host::Backend2,
        Host::Watch,
    ];

    /// Its name in namespaces, configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Host::Lb1 => "lb1",
            Host::Lb2 => "lb2",
            Host::Client => "client",
            Host::Backend1 => "backend1",
            Host::Backend2 => "backend2",
            Host::Watch => "watch",
        }
    }

    fn number(self) -> u8 {
        match self {
            Host::Lb1 => 2,
            Host::Lb2 => 3,
            Host::Client => 100,
            Host::Backend1 => 21,
            Host::Backend2 => 22,
            Host::Watch => 200,
        }
    }

    /// The other node of the pair; a host that is no node is its own other.
    pub fn other(self) -> Host {
        match self {
            Host::Lb1 => Host::Lb2,
            Host::Lb2 => Host::Lb1,
            Host::Client | Host::Backend1 | Host::Backend2 | Host::Watch => self,
        }
    }

    /// Its IPv4 address.
    pub fn v4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, self.number())
    }

    /// Its unique local IPv6 address.
    pub fn v6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(self.number()))
    }

    /// Its link-local IPv6 address, made from its hardware address.
    pub fn link_local(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x00ff, 0xfe00, u16::from(self.number()))
    }

    /// Its hardware address.
    pub fn mac(self) -> [u8; 6] {
        [0x02, 0, 0, 0, 0, self.number()]
    }
}

/// The virtual addresses the laboratory uses.
#[derive(Clone, Copy, Debug)]
pub struct Address;

impl Address {
    /// The floating IPv4 address, in 10.0.0.0/24.
    pub const VIP4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
    /// The floating unique local IPv6 address.
    pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x10);
    /// The floating link-local IPv6 address, first in every IPv6 advertisement (RFC 9568 §5.2.9).
    pub const VIP6_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x10);
    /// The port listeners have on the floating address.
    pub const HTTP: u16 = 80;
    /// The port of the origins.
    pub const ORIGIN: u16 = 8080;
}

/// The running topology. Dropping it ends every process in it and removes it.
#[derive(Debug)]
pub struct Lab {
    // Dropped in this order: origins, then namespaces, then the undertaker that would have done it for us.
    origins: Vec<Origin>,
    hosts: Vec<(Host, NetNs)>,
    switch: NetNs,
    folder: PathBuf,
    undertaker: Child,
    _turn: Flock<File>,
}

/// For a namespace to be as it was asked to be.
const LIMIT: Duration = Duration::from_secs(30);

static SWEPT: Once = Once::new();
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// Builds the topology with two HTTP origins, and waits until every host can reach the others.
    ///
    /// # Errors
    /// Without root or iproute2; the words of the command that failed are in the error.
    pub fn new() -> anyhow::Result<Lab> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the laboratory needs root: it makes network namespaces"
        );
        let turn = wait_turn()?;
        SWEPT.call_once(sweep_stale);
        raise_descriptor_limit()?;
        let base = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(&base);
        std::fs::create_dir_all(&folder)?;
        let undertaker = start_undertaker(&base, &folder)?;
        let switch = NetNs::create(&format!("{base}-switch"))?;
        switch.ip_batch(
            "link add br0 type bridge stp_state 0 mcast_snooping 0 forward_delay 0\nlink set br0 up\n",
        )?;
        let mut lab = Lab {
            origins: Vec::new(),
            hosts: Vec::new(),
            switch,
            folder,
            undertaker,
            _turn: turn,
        };
        for host in Host::ALL {
            let net = NetNs::create(&format!("{base}-{}", host.name()))?;
            lab.hosts.push((host, net));
            lab.plug(host)?;
        }
        for host in [Host::Backend1, Host::Backend2] {
            let origin = Origin::start(lab.net(host), host.name(), Address::ORIGIN)?;
            lab.origins.push(origin);
        }
        lab.wait_reachable()?;
        Ok(lab)
    }

    /// Gives a host its link `eth0` with its addresses, up, and a port of the switch: as at the start, or again after the link was deleted.
    ///
    /// # Errors
    /// When it has such a link.
    pub fn plug(&self, host: Host) -> anyhow::Result<()> {
        let (net, port) = (self.net(host), host.name());
        let [a, b, c, d, e, f] = host.mac();
        self.switch.ip_batch(&format!(
            "link add {port} type veth peer name eth0 address {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} netns {}\n\
             link set {port} master br0\nlink set {port} up\n",
            net.name()
        ))?;
        if host == Host::Watch {
            net.sysctl("ipv6/conf/eth0/disable_ipv6", "1")?;
            net.ip("link set eth0 up promisc on")?;
        } else {
            net.ip_batch(&format!(
                "addr add {}/24 dev eth0\naddr add {}/64 dev eth0 nodad\nlink set eth0 up\n",
                host.v4(),
                host.v6()
            ))?;
        }
        Ok(())
    }

    fn wait_reachable(&self) -> anyhow::Result<()> {
        let client = self.net(Host::Client);
        for host in [Host::Backend1, Host::Backend2] {
            let target = std::net::SocketAddr::from((host.v4(), Address::ORIGIN));
            wait_until(
                &format!("{} answers the client", host.name()),
                LIMIT,
                || {
                    let connected = client.enter(|| {
                        std::net::TcpStream::connect_timeout(&target, Duration::from_millis(200))
                            .is_ok()
                    });
                    connected.unwrap_or(false)
                },
            )?;
        }
        for host in [Host::Lb1, Host::Lb2] {
            let net = self.net(host);
            wait_until(
                &format!("{} has its link-local address", host.name()),
                LIMIT,
                || {
                    net.has_address(IpAddr::V6(host.link_local()))
                        && net
                            .ip("-o link show dev eth0")
                            .is_ok_and(|text| text.contains("state UP"))
                },
            )?;
        }
        Ok(())
    }

    /// The namespace of a host.
    ///
    /// # Panics
    /// Never for a `Lab` that was made: every host is plugged in by `new`.
    pub fn net(&self, host: Host) -> &NetNs {
        let found = self.hosts.iter().find(|(name, _)| *name == host);
        &found
            .expect("every host is plugged in when the laboratory is made")
            .1
    }

    /// The switch's namespace; its ports are named like the hosts.
    pub fn switch(&self) -> &NetNs {
        &self.switch
    }

    /// The origin on `Backend1` or `Backend2`.
    pub fn origin(&self, host: Host) -> Option<&Origin> {
        self.origins
            .iter()
            .find(|origin| origin.name() == host.name())
    }

    /// A folder for configurations and sockets; removed with the laboratory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The switch no longer learns where the nodes are, and floods what is for them: the watching host sees their unicast, too.
    ///
    /// # Errors
    /// When the switch refuses.
    pub fn flood_to_nodes(&self) -> anyhow::Result<()> {
        for host in [Host::Lb1, Host::Lb2] {
            let port = host.name();
            self.switch
                .bridge(&format!("link set dev {port} learning off"))?;
            self.switch
                .ip(&format!("link set dev {port} type bridge_slave fdb_flush"))?;
        }
        Ok(())
    }

    /// Pulls the cable: the host loses its carrier.
    ///
    /// # Errors
    /// When the switch refuses.
    pub fn cut_cable(&self, host: Host) -> anyhow::Result<()> {
        self.switch
            .ip(&format!("link set {} down", host.name()))
            .map(drop)
    }

    /// Plugs the cable in again.
    ///
    /// # Errors
    /// When the switch refuses.
    pub fn mend_cable(&self, host: Host) -> anyhow::Result<()> {
        self.switch
            .ip(&format!("link set {} up", host.name()))
            .map(drop)
    }

    /// Makes the switch drop all of the host's frames; its carrier stays.
    ///
    /// # Errors
    /// When the switch refuses.
    pub fn partition(&self, host: Host) -> anyhow::Result<()> {
        self.switch
            .bridge(&format!("link set dev {} state 0", host.name()))
            .map(drop)
    }

    /// Ends the partition.
    ///
    /// # Errors
    /// When the switch refuses.
    pub fn heal(&self, host: Host) -> anyhow::Result<()> {
        self.switch
            .bridge(&format!("link set dev {} state 3", host.name()))
            .map(drop)
    }

    /// The nodes that hold `address` at this moment.
    pub fn holders(&self, address: impl Into<IpAddr>) -> Vec<Host> {
        let address = address.into();
        [Host::Lb1, Host::Lb2]
            .into_iter()
            .filter(|host| self.net(*host).has_address(address))
            .collect()
    }

    /// Waits until exactly `host` holds `address`, and says how long that took.
    ///
    /// # Errors
    /// When it does not within `limit`; the error says who did.
    pub fn wait_holder(
        &self,
        address: impl Into<IpAddr>,
        host: Host,
        limit: Duration,
    ) -> anyhow::Result<Duration> {
        let address = address.into();
        let mut last = Vec::new();
        wait_until(
            &format!("{address} is on {} alone", host.name()),
            limit,
            || {
                last = self.holders(address);
                last == [host]
            },
        )
        .with_context(|| format!("holders of {address} at the end: {last:?}"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for (_, net) in &self.hosts {
            net.kill_all();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
        // The undertaker works when its standard input closes; killed, it never does.
        let _ = self.undertaker.kill();
        let _ = self.undertaker.wait();
    }
}

/// Starts a process that outlives us and cleans up if we die without doing so (SIGINT, SIGKILL, abort): it waits
/// for the end of its standard input, whose other end is ours alone.
fn start_undertaker(base: &str, folder: &Path) -> anyhow::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    const SCRIPT: &str = r#"
        read -r _
        for path in /run/netns/"$1"-*; do
            ns=${path##*/}
            for pid in $(ip netns pids "$ns" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
            ip netns del "$ns" 2>/dev/null
        done
        rm -rf -- "$2"
    "#;
    Command::new("sh")
        .args(["-c", SCRIPT, "undertaker", base])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("start the undertaker")
}

/// Waits until no other laboratory stands on this machine. The turn ends when the lock is dropped, or with the process.
fn wait_turn() -> anyhow::Result<Flock<File>> {
    let path = std::env::temp_dir().join("tdm.lock");
    let file = File::create(&path).with_context(|| format!("open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| anyhow::Error::new(error).context("wait for the laboratory"))
}

fn raise_descriptor_limit() -> anyhow::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(65_536);
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    }
    Ok(())
}

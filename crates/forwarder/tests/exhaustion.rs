//! A storm of connections against a process with few descriptors; alone in its process because the limit is the
//! process's. `TANDEM_STORM_CONNECTIONS` says how many connects in all, 600 at a time (1,200 unless given).
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

mod steady;

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use balancer::{Check, GroupSettings, ListenerSettings, Protocol};
use forwarder::{Forwarder, ForwarderSettings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use steady::{Base, ask, connect, eventually, origin, place, shown};

/// Connects at a time.
const WAVE: usize = 600;
/// Connections there is room for, each with one to its target.
const ROOM: u32 = 100;
/// What a forwarder keeps for everything else.
const RESERVED: u64 = 256;
/// Clients that are there all the time.
const BASE: usize = 4;

/// Takes connections into its queue, where they need no descriptor of this process.
fn sink() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).unwrap();
    socket.listen(4096).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// One of the storm: it never waits, and leaves with a reset.
fn stormer() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    socket
}

/// Leaves this process so many descriptors more than it has open.
fn leave_descriptors(count: u64) {
    let open = u64::try_from(File::open("/dev/null").unwrap().as_raw_fd()).unwrap();
    let before = getrlimit(Resource::Nofile);
    let limit = Rlimit {
        current: Some(open + count),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn a_storm_of_connections_harms_nobody_who_is_there_and_leaves_nothing_behind() {
    let total = std::env::var("TANDEM_STORM_CONNECTIONS").map_or(2 * WAVE, |n| n.parse().unwrap());
    let (web_holder, web) = place(Ipv4Addr::LOCALHOST);
    let (raw_holder, raw) = place(Ipv4Addr::LOCALHOST);
    let (queue, sink) = sink();
    let mut wave: Vec<Socket> = (0..WAVE).map(|_| stormer()).collect();
    leave_descriptors(RESERVED + 2 * u64::from(ROOM));

    let forwarder = Forwarder::start(ForwarderSettings { threads: 1 }).unwrap();
    let group = |name: &str, target| {
        let mut group = GroupSettings::new(name, [target]);
        group.health.check = Check::Off;
        group
    };
    let groups = vec![group("app", origin()), group("sink", sink)];
    let listeners = vec![
        ListenerSettings::new("web", Protocol::Http, vec![web], "app"),
        ListenerSettings::new("raw", Protocol::Tcp, vec![raw], "sink"),
    ];
    forwarder.apply(listeners, groups).unwrap();
    drop((web_holder, raw_holder));

    let (base, clients) = Base::start(&[web; BASE]);
    base.wait_for_more(100);

    let mut connects = 0;
    while connects < total {
        for socket in &wave {
            // It is on its way, or refused for now: it is a storm.
            let _ = socket.connect(&raw.into());
        }
        connects += wave.len();
        let full = ROOM - BASE as u32;
        eventually("there is no room left", || {
            shown(&forwarder, "raw").connections >= full
        });
        base.wait_for_more(500);
        assert!(shown(&forwarder, "raw").connections <= full);
        wave.clear();
        // Those of the wave that are over.
        while queue.accept().is_ok() {}
        if connects < total {
            wave.extend((0..WAVE).map(|_| stormer()));
        }
    }
    let over_at = Instant::now();
    let mut new = connect(web);
    ask(&mut new).unwrap();
    let new_after = over_at.elapsed();
    eventually("nothing is left", || {
        shown(&forwarder, "raw").connections == 0
    });
    let left_after = over_at.elapsed();
    base.wait_for_more(100);
    base.leave(clients);

    let good = base.answers();
    eprintln!(
        "{connects} connects, {good} requests beside them; then a new client was served after {new_after:?}, nothing was left after {left_after:?}"
    );
    assert_eq!(shown(&forwarder, "web").causes, []);
    let causes = shown(&forwarder, "raw").causes;
    assert!(
        causes.iter().all(|(word, _)| *word != "used-up@connect"),
        "{causes:?}"
    );
}

//! What happens when the process has no descriptor left; alone in its process because the limit is the process's.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use balancer::{Check, GroupSettings, ListenerSettings, Protocol};
use forwarder::{Forwarder, ForwarderSettings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

const LIMIT: Duration = Duration::from_secs(10);

/// Sends back all it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else {
                // No descriptor here either: not to be counted as the forwarder's spinning.
                std::thread::sleep(Duration::from_millis(10));
                continue;
            };
            std::thread::spawn(move || {
                let mut all = Vec::new();
                let _ = stream.read_to_end(&mut all);
                let _ = stream.write_all(&all);
            });
        }
    });
    address
}

/// The number the next descriptor gets: as a limit it leaves none.
fn next_descriptor() -> u64 {
    u64::try_from(File::open("/dev/null").unwrap().as_raw_fd()).unwrap()
}

/// CPU time this process has used, in ticks of 10 ms; `stat` was opened while that was possible.
fn cpu_ticks(stat: &File) -> u64 {
    let mut text = [0; 1024];
    let count = stat.read_at(&mut text, 0).unwrap();
    let text = String::from_utf8_lossy(&text[..count]).into_owned();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_descriptors_accepting_pauses_and_then_goes_on() {
    let holder = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    holder.set_reuse_port(true).unwrap();
    holder
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    let address = holder.local_addr().unwrap();
    let mut group = GroupSettings::new("g", [echo()]);
    group.health.check = Check::Off;
    let listener =
        ListenerSettings::new("l", Protocol::Tcp, vec![address.as_socket().unwrap()], "g");
    let forwarder = Forwarder::start(ForwarderSettings { threads: 1 }).unwrap();
    forwarder.apply(vec![listener], vec![group]).unwrap();

    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let stat = File::open("/proc/self/stat").unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(next_descriptor()),
            maximum: before.maximum,
        },
    )
    .unwrap();
    client.connect(&address).unwrap();
    let mut client = TcpStream::from(client);
    client.write_all(b"hello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();

    let used = cpu_ticks(&stat);
    client
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let mut answer = Vec::new();
    assert!(
        client.read_to_end(&mut answer).is_err(),
        "served without a descriptor"
    );
    assert!(
        cpu_ticks(&stat) - used < 15,
        "accepting spins: the wait was 50 ticks"
    );
    assert_eq!(forwarder.snapshot().listeners[0].connections_total, 0);

    setrlimit(Resource::Nofile, before).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"hello");
}

//! A service that speaks UDP, as DNS does, behind the floating address: a question each 5 ms from one client, through a
//! target that dies, a planned move and a node that is killed.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{LIMIT, assert_within, measured};
use netns_tests::{Address, Device as _, Host, Lab, PairConfig, Part, Tandem, wait_until};

/// Where the targets and the listener take questions.
const PORT: u16 = 5353;
/// From one question to the next.
const PACE: Duration = Duration::from_millis(5);
/// A question not answered by then is lost: the client of a real service would ask again.
const PATIENCE: Duration = Duration::from_secs(1);

fn config() -> PairConfig {
    let (vip, one, two) = (Address::VIP4, Host::Backend1.v4(), Host::Backend2.v4());
    PairConfig {
        extra: format!(
            "\n[listener.dns]\nbind = \"{vip}:{PORT}\"\nprotocol = \"udp\"\nforward = \"dns\"\n\
             [group.dns]\ntargets = [\"{one}:{PORT}\", \"{two}:{PORT}\"]\n\
             health = {{ udp = {{ send = \"hex:ffffffff\", expect = \"hex:ffffffff\" }}, every = \"200ms\", timeout = \"100ms\" }}\n\
             udp = {{ idle = \"2s\", responses = 1 }}\n"
        ),
        ..PairConfig::default()
    }
}

/// A target that sends back what it is asked, until it is dropped.
struct Target {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Target {
    fn start(lab: &Lab, host: Host) -> Target {
        let (stop, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&asked));
        let serve = move || {
            let socket = UdpSocket::bind(SocketAddr::from((host.v4(), PORT)))?;
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            let mut room = [0; 512];
            while !stopped.load(Relaxed) {
                if let Ok((length, peer)) = socket.recv_from(&mut room) {
                    count.fetch_add(u64::from(room[..length] != [0xff; 4]), Relaxed);
                    socket.send_to(&room[..length], peer)?;
                }
            }
            Ok(())
        };
        let thread = lab.net(host).thread("udp-target", serve).unwrap();
        Target {
            stop,
            asked,
            thread: Some(thread),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// When each question was sent, and whether it was answered.
type Asked = Arc<Mutex<Vec<(Instant, bool)>>>;

/// A client that asks on and on.
struct Client {
    stop: Arc<AtomicBool>,
    asked: Asked,
}

impl Client {
    fn start(lab: &Lab) -> Client {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Asked::default());
        let (stopped, noted) = (Arc::clone(&stop), Arc::clone(&asked));
        let ask = move || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect((Address::VIP4, PORT))?;
            let mut next_at = Instant::now();
            let mut room = [0; 512];
            while !stopped.load(Relaxed) {
                let number = noted.lock().unwrap().len() as u32;
                noted.lock().unwrap().push((Instant::now(), false));
                // That nobody is there now is what is measured.
                let _ = socket.send(&number.to_be_bytes());
                next_at += PACE;
                while let Some(left) = next_at.checked_duration_since(Instant::now())
                    && !left.is_zero()
                {
                    socket.set_read_timeout(Some(left))?;
                    if let Ok(4) = socket.recv(&mut room) {
                        let number = u32::from_be_bytes([room[0], room[1], room[2], room[3]]);
                        noted.lock().unwrap()[number as usize].1 = true;
                    }
                }
            }
            Ok(())
        };
        drop(lab.net(Host::Client).thread("udp-client", ask).unwrap());
        Client { stop, asked }
    }

    /// Waits until so many questions in a row were answered, all sent after `from`.
    fn wait_steady(&self, from: Instant, count: usize) {
        wait_until("questions are answered", LIMIT, || {
            let asked = self.asked.lock().unwrap();
            let since = asked.iter().rev().skip(5).take_while(|(at, _)| *at > from);
            since.take(count).filter(|(_, answered)| *answered).count() == count
        })
        .unwrap();
    }

    /// How many of the questions sent since were lost, and the longest time from one that was not to the next.
    fn lost_since(&self, from: Instant) -> (usize, Duration) {
        let asked = self.asked.lock().unwrap();
        let judged = asked
            .iter()
            .filter(|(at, answered)| *at >= from && (*answered || at.elapsed() > PATIENCE));
        let (mut lost, mut longest, mut last) = (0, Duration::ZERO, from);
        for (at, answered) in judged {
            match answered {
                true => {
                    longest = longest.max(*at - last);
                    last = *at;
                }
                false => lost += 1,
            }
        }
        (lost, longest)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

#[test]
fn questions_are_answered_through_a_dead_target_a_move_and_a_killed_node() {
    measured(|| {
        let lab = Lab::new().unwrap();
        let config = config();
        let mut targets = vec![
            Target::start(&lab, Host::Backend1),
            Target::start(&lab, Host::Backend2),
        ];
        let (one, two) = Tandem::pair(&lab, &config).unwrap();
        let client = Client::start(&lab);
        let begun = Instant::now();
        client.wait_steady(begun, 200);
        for target in &targets {
            assert!(target.asked.load(Relaxed) > 50, "both are asked");
        }

        // A target whose process ends. Its machine says so a few times, then once a second (net.ipv4.icmp_ratelimit): three
        // checks, 200 ms apart and with 100 ms each, find it dead.
        let died = Instant::now();
        drop(targets.pop());
        client.wait_steady(died + PATIENCE, 200);
        let (lost, gap) = client.lost_since(died);
        assert_within("the gap as a target dies", gap, Duration::from_secs(1));
        assert!(lost > 0, "it was asked when it died");

        // A planned move.
        let moved = Instant::now();
        let (code, out, err) = one.cli(&["handover"]).unwrap();
        assert_eq!(code, 0, "{out}{err}");
        two.wait_state("active", LIMIT).unwrap();
        client.wait_steady(moved + PATIENCE, 200);
        let (_, gap) = client.lost_since(moved);
        assert_within("the gap of a planned move", gap, Duration::from_millis(100));

        // A node that is killed whole: three intervals and the skew of priority 200, 22 ms.
        let killed = two.kill(Part::All).unwrap();
        lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT).unwrap();
        client.wait_steady(killed + PATIENCE, 200);
        let (_, gap) = client.lost_since(killed);
        assert_within(
            "the gap as a node is killed",
            gap,
            Duration::from_millis(400),
        );

        let status = one.status().unwrap();
        let listener = status["listeners"]
            .as_array()
            .unwrap()
            .iter()
            .find(|listener| listener["name"] == "dns")
            .unwrap();
        assert_eq!(listener["protocol"], "udp");
        assert!(
            listener["datagrams"]["to_clients"].as_u64().unwrap() > 200,
            "{listener:#}"
        );
        let metrics = one.metrics().unwrap();
        let line = "tandem_listener_datagrams_total{listener=\"dns\",to=\"targets\"}";
        assert!(metrics.contains(line), "{metrics}");
    });
}

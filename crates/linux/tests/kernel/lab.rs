//! Two network namespaces with one cable between them, and what tests do in them.
//!
//! A namespace ends with the last descriptor and socket of it, so nothing is left behind, however a test ends.

use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use linux::address::{Address, Kernel, Link, Vip};
use linux::monitor::{Change, Monitor};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::link::{LinkAttribute, State};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// No fact that a test waits for takes longer, except the end of a lease.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const LEFT_V4: &str = "10.0.0.1";
pub(crate) const RIGHT_V4: &str = "10.0.0.2";
pub(crate) const LEFT_V6: &str = "2001:db8::1";
pub(crate) const RIGHT_V6: &str = "2001:db8::2";
pub(crate) const LEFT_LOCAL: &str = "fe80::1";
pub(crate) const RIGHT_LOCAL: &str = "fe80::2";

/// One end of the cable with its namespace.
pub(crate) struct Side {
    namespace: File,
    /// Requests of the test itself, for all that is not ours.
    pub(crate) handle: Handle,
    pub(crate) link: Link,
}

impl Side {
    /// Brings this thread here: sockets opened from now on belong to this side.
    pub(crate) fn enter(&self) {
        setns(&self.namespace, CloneFlags::CLONE_NEWNET).unwrap();
    }

    pub(crate) fn mac(&self) -> [u8; 6] {
        self.link.mac.unwrap()
    }

    pub(crate) fn vip(&self, address: &str, prefix_len: u8, lease_s: Option<u64>) -> Vip {
        Vip {
            ifindex: self.link.index,
            address: ip(address),
            prefix_len,
            lease: lease_s.map(Duration::from_secs),
            parent: None,
        }
    }

    /// Adds an address that is not ours; returns when the kernel answers for it.
    pub(crate) async fn add_foreign(&self, address: &str, prefix_len: u8) {
        let address = ip(address);
        let mut request = self
            .handle
            .address()
            .add(self.link.index, address, prefix_len);
        if address.is_ipv6() {
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            request.message_mut().attributes.push(flags);
        }
        request.execute().await.unwrap();
        let deadline = Instant::now() + SOON;
        while !self.is_own(address).await {
            assert!(Instant::now() < deadline, "{address} has no local route");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn is_own(&self, address: IpAddr) -> bool {
        let builder = match address {
            IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(address, 32)
                .output_interface(self.link.index)
                .build(),
            IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(address, 128)
                .output_interface(self.link.index)
                .build(),
        };
        let route = self.handle.route().get(builder).execute().try_next().await;
        matches!(route, Ok(Some(route)) if route.header.kind == RouteType::Local)
    }

    /// Removes an address as somebody else would.
    pub(crate) async fn remove_foreign(&self, address: &str) {
        let addresses = self
            .handle
            .address()
            .get()
            .set_address_filter(ip(address))
            .execute();
        for message in addresses.try_collect::<Vec<_>>().await.unwrap() {
            self.handle.address().del(message).execute().await.unwrap();
        }
    }

    pub(crate) async fn set_up(&self, up: bool) {
        let link = LinkUnspec::new_with_index(self.link.index);
        let link = if up { link.up() } else { link.down() };
        self.handle
            .link()
            .set(link.build())
            .execute()
            .await
            .unwrap();
    }

    /// How many routes this side has out of its link to just this prefix.
    pub(crate) async fn prefix_routes(&self, prefix: &str, prefix_len: u8) -> usize {
        let prefix = ip(prefix);
        let dump = match prefix {
            IpAddr::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            IpAddr::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let routes = self.handle.route().get(dump).execute();
        let routes: Vec<RouteMessage> = routes.try_collect().await.unwrap();
        let wanted = match prefix {
            IpAddr::V4(prefix) => RouteAddress::Inet(prefix),
            IpAddr::V6(prefix) => RouteAddress::Inet6(prefix),
        };
        let out = RouteAttribute::Oif(self.link.index);
        routes
            .iter()
            .filter(|route| route.header.destination_prefix_length == prefix_len)
            .filter(|route| route.attributes.contains(&out))
            .filter(|route| {
                route
                    .attributes
                    .contains(&RouteAttribute::Destination(wanted.clone()))
            })
            .count()
    }
}

/// The two sides. The thread is on the left one when a test begins.
pub(crate) struct Lab {
    pub(crate) left: Side,
    pub(crate) right: Side,
}

/// Held shared by each lab: making and ending namespaces holds up every other request to the kernel, so what measures
/// a time wants none beside it.
static OTHERS: RwLock<()> = RwLock::new(());

/// Runs `body` on a thread of its own with a fresh lab.
pub(crate) fn run(body: impl AsyncFnOnce(Lab) + Send + 'static) {
    let _beside_others = OTHERS.read().unwrap_or_else(PoisonError::into_inner);
    run_unlocked(body);
}

/// Runs every one of `bodies` as [`run`] does, at the same time and with no other lab beside them.
pub(crate) fn run_alone<B: AsyncFnOnce(Lab) + Send + 'static>(bodies: Vec<B>) {
    let _alone = OTHERS.write().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for body in bodies {
            scope.spawn(|| run_unlocked(body));
        }
    });
}

/// Runs a scenario that measures what the kernel does. Namespaces that end meanwhile hold its network lock for up to a second, so a
/// scenario that fails is run again, four times at most; the failure is printed and counted.
pub(crate) fn measured(scenario: impl Fn()) {
    for attempt in 1..=5 {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(&scenario)) {
            Ok(()) => return,
            Err(panic) if attempt == 5 => std::panic::resume_unwind(panic),
            Err(_) => {
                // Straight to the terminal, where `scripts/test` counts it.
                let thread = std::thread::current();
                let name = thread.name().unwrap_or_default();
                let _ = writeln!(
                    std::io::stderr(),
                    "\nREPEATED {name} (attempt {attempt}): it failed"
                );
            }
        }
    }
}

fn run_unlocked(body: impl AsyncFnOnce(Lab) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        let (right, left) = (namespace(), namespace());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move { body(build(left, right).await).await });
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A fresh network namespace, which this thread is in afterwards.
pub(crate) fn namespace() -> File {
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests make network namespaces and must be run as root"
    );
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    File::open("/proc/thread-self/ns/net").unwrap()
}

async fn build(left: File, right: File) -> Lab {
    let handle = requests();
    let cable = LinkVeth::new("left0", "right0").build();
    handle.link().add(cable).execute().await.unwrap();
    let away = LinkUnspec::new_with_name("right0").setns_by_fd(right.as_raw_fd());
    handle.link().set(away.build()).execute().await.unwrap();

    setns(&right, CloneFlags::CLONE_NEWNET).unwrap();
    let right_sockets = set_up("right0").await;
    setns(&left, CloneFlags::CLONE_NEWNET).unwrap();
    let left_sockets = set_up("left0").await;

    let right = side(right, right_sockets, "right0").await;
    for (address, prefix_len) in [(RIGHT_V4, 24), (RIGHT_V6, 64), (RIGHT_LOCAL, 64)] {
        right.add_foreign(address, prefix_len).await;
    }
    let left = side(left, left_sockets, "left0").await;
    for (address, prefix_len) in [(LEFT_V4, 24), (LEFT_V6, 64), (LEFT_LOCAL, 64)] {
        left.add_foreign(address, prefix_len).await;
    }
    Lab { left, right }
}

/// What a side asks of its own namespace.
struct Sockets {
    handle: Handle,
    kernel: Kernel,
    monitor: Monitor,
}

/// Sets both links up in the namespace this thread is in, with no addresses of the kernel's own on `link_name`.
async fn set_up(link_name: &str) -> Sockets {
    let setting = format!("/proc/sys/net/ipv6/conf/{link_name}/addr_gen_mode");
    std::fs::write(setting, "1").unwrap();
    let sockets = Sockets {
        handle: requests(),
        kernel: Kernel::open().unwrap(),
        monitor: Monitor::open().unwrap(),
    };
    for name in ["lo", link_name] {
        let link = LinkUnspec::new_with_name(name).up().build();
        sockets.handle.link().set(link).execute().await.unwrap();
    }
    sockets
}

/// The side once its link carries frames. The kernel gets there some time after both ends are up, and drops what is
/// sent before.
async fn side(namespace: File, mut sockets: Sockets, link_name: &str) -> Side {
    let carries = LinkAttribute::OperState(State::Up);
    loop {
        let request = sockets.handle.link().get().match_name(link_name.to_owned());
        let found: Vec<_> = request.execute().try_collect().await.unwrap();
        if found[0].attributes.contains(&carries) {
            break;
        }
        wait_for(&mut sockets.monitor, |change| {
            matches!(change, Change::Link(_))
        })
        .await;
    }
    let links = sockets.kernel.links().await.unwrap();
    let link = links
        .into_iter()
        .find(|link| link.name == link_name)
        .unwrap();
    let handle = sockets.handle;
    Side {
        namespace,
        handle,
        link,
    }
}

fn requests() -> Handle {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    tokio::spawn(connection);
    handle
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The address as it is on the link now.
pub(crate) async fn find(kernel: &Kernel, address: &str) -> Option<Address> {
    let all = kernel.addresses().await.unwrap();
    all.into_iter().find(|found| found.address == ip(address))
}

/// Waits for a change that `wanted` accepts; how long it took.
pub(crate) async fn wait_for(monitor: &mut Monitor, wanted: impl Fn(&Change) -> bool) -> Duration {
    let started_at = Instant::now();
    let seen = async { while !wanted(&monitor.next().await) {} };
    tokio::time::timeout(SOON, seen)
        .await
        .expect("the change was not told");
    started_at.elapsed()
}

pub(crate) fn removed(address: &str) -> impl Fn(&Change) -> bool {
    let address = ip(address);
    move |change| matches!(change, Change::AddressRemoved(gone) if gone.address == address)
}

pub(crate) fn added(address: &str) -> impl Fn(&Change) -> bool {
    let address = ip(address);
    move |change| matches!(change, Change::AddressAdded(new) if new.address == address)
}

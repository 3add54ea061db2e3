//! Many leases renewed at once.

use std::time::{Duration, Instant};

use linux::address::{Kernel, Vip};
use linux::monitor::{Change, Monitor};

use crate::lab::{Lab, SOON, removed, run, wait_for};

/// More than a batch, in both families, with leases that a busy machine does not let run out before they are renewed.
fn crowd(lab: &Lab) -> Vec<Vip> {
    let lease = Some(5);
    let v4 = (1..=100).map(|last| lab.left.vip(&format!("10.0.0.{}", 100 + last), 24, lease));
    let v6 = (1..=50).map(|last| lab.left.vip(&format!("2001:db8::1:{last}"), 64, lease));
    v4.chain(v6).collect()
}

fn soon() -> Instant {
    Instant::now() + SOON
}

#[test]
fn all_that_are_renewed_stay_and_what_is_not_goes() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let all = crowd(&lab);
        for vip in &all {
            kernel.add(vip).await.unwrap();
        }
        let left_out = all[7];
        let kept: Vec<Vip> = all.iter().copied().filter(|vip| *vip != left_out).collect();
        let began = Instant::now();
        let mut there = kernel.addresses().await.unwrap();
        while there.iter().any(|found| found.address == left_out.address) {
            assert!(began.elapsed() < SOON, "{left_out} stays");
            assert!(kernel.renew(&kept, soon()).await.is_empty());
            tokio::time::sleep(Duration::from_millis(500)).await;
            there = kernel.addresses().await.unwrap();
        }
        let ours = there.iter().filter(|address| address.ours).count();
        assert_eq!(ours, kept.len());
    });
}

/// A renewal that was queued before a removal must not bring the address back.
#[test]
fn what_was_removed_or_never_added_is_passed_over() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let vip = lab.left.vip("10.0.0.101", 24, Some(60));
        let stranger = lab.left.vip("10.0.0.102", 24, Some(60));
        kernel.add(&vip).await.unwrap();
        kernel.remove(&vip).await.unwrap();
        assert!(kernel.renew(&[vip, stranger], soon()).await.is_empty());
        let late = Instant::now() - Duration::from_millis(1);
        assert!(kernel.renew(&[vip], late).await.is_empty());
        let there = kernel.addresses().await.unwrap();
        assert!(!there.iter().any(|address| address.ours));
    });
}

#[test]
fn a_renewal_does_not_cut_a_longer_lease_short() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let vip = lab.left.vip("10.0.0.101", 24, Some(2));
        let prolonged = Vip {
            lease: Some(Duration::from_secs(60)),
            ..vip
        };
        kernel.add(&vip).await.unwrap();
        kernel.add(&prolonged).await.unwrap();
        assert!(kernel.renew(&[vip], soon()).await.is_empty());
        let there = kernel.addresses().await.unwrap();
        let found = there.iter().find(|found| found.address == vip.address);
        let left = found.unwrap().valid.unwrap();
        assert!(left > Duration::from_secs(50), "{left:?}");
    });
}

#[test]
fn what_the_kernel_refuses_is_told_and_the_rest_is_done() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let first = lab.left.vip("10.0.0.101", 24, Some(60));
        let last = lab.left.vip("2001:db8::101", 64, Some(60));
        kernel.add(&first).await.unwrap();
        kernel.add(&last).await.unwrap();
        // The kernel takes no IPv6 address any more.
        std::fs::write("/proc/sys/net/ipv6/conf/left0/disable_ipv6", "1").unwrap();
        let refused = kernel.renew(&[first, last], soon()).await;
        let refused: Vec<Vip> = refused.into_iter().map(|(vip, _)| vip).collect();
        assert_eq!(refused, [last]);
        let there = kernel.addresses().await.unwrap();
        assert!(there.iter().any(|found| found.address == first.address));
    });
}

#[test]
fn a_monitor_can_pass_over_renewals_and_tells_everything_else() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let mut monitor = Monitor::open().unwrap();
        monitor.pass_over_renewals(kernel.renewal_port()).unwrap();
        let vip = lab.left.vip("10.0.0.101", 24, Some(60));
        kernel.add(&vip).await.unwrap();
        for _ in 0..5 {
            assert!(kernel.renew(&[vip], soon()).await.is_empty());
        }
        kernel.remove(&vip).await.unwrap();
        let mut told = 0;
        loop {
            match monitor.next().await {
                Change::AddressAdded(added) if added.address == vip.address => told += 1,
                Change::AddressRemoved(gone) if gone.address == vip.address => break,
                Change::AddressAdded(_) | Change::AddressRemoved(_) | Change::Link(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(told, 1, "the addition is told, the renewals are not");
        lab.left.add_foreign("10.0.0.103", 24).await;
        lab.left.remove_foreign("10.0.0.103").await;
        wait_for(&mut monitor, removed("10.0.0.103")).await;
    });
}

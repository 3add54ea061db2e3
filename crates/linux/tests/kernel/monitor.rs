//! What is told, and what is told when too much happens.

use linux::address::Kernel;
use linux::monitor::{Change, Monitor};

use crate::lab::{Lab, SOON, added, removed, run, wait_for};

#[test]
fn removal_by_somebody_else_is_told() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let mut monitor = Monitor::open().unwrap();
        for (address, prefix_len) in [("10.0.0.101", 24), ("2001:db8::101", 64)] {
            kernel
                .add(&lab.left.vip(address, prefix_len, Some(60)))
                .await
                .unwrap();
            wait_for(&mut monitor, added(address)).await;
            lab.left.remove_foreign(address).await;
            wait_for(&mut monitor, removed(address)).await;
        }
    });
}

#[test]
fn own_addition_and_renewal_are_told_as_ours() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let mut monitor = Monitor::open().unwrap();
        let vip = lab.left.vip("10.0.0.101", 24, Some(60));
        for _ in 0..2 {
            kernel.add(&vip).await.unwrap();
            let told = loop {
                match monitor.next().await {
                    Change::AddressAdded(told) if told.address == vip.address => break told,
                    Change::AddressAdded(_) | Change::Link(_) => {}
                    other => panic!("{other:?}"),
                }
            };
            assert!(told.ours && told.address == vip.address && told.valid == vip.lease);
        }
    });
}

#[test]
fn carrier_administration_and_end_of_a_link_are_told() {
    run(async |lab: Lab| {
        let index = lab.left.link.index;
        let mut monitor = Monitor::open().unwrap();
        let state = |up: bool, running: bool| {
            move |change: &Change| {
                matches!(change, Change::Link(link)
                    if link.index == index && link.up == up && link.running == running)
            }
        };
        lab.right.set_up(false).await;
        wait_for(&mut monitor, state(true, false)).await;
        lab.right.set_up(true).await;
        wait_for(&mut monitor, state(true, true)).await;
        lab.left.set_up(false).await;
        wait_for(&mut monitor, state(false, false)).await;
        lab.left.handle.link().del(index).execute().await.unwrap();
        wait_for(&mut monitor, |change| {
            matches!(change, Change::LinkGone { index: gone, name } if *gone == index && name == "left0")
        })
        .await;
    });
}

#[test]
fn too_many_changes_are_an_overrun_and_then_go_on() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let mut monitor = Monitor::with_receive_buffer(4096).unwrap();
        let vip = lab.left.vip("10.0.0.101", 24, None);
        for _ in 0..200 {
            kernel.add(&vip).await.unwrap();
            kernel.remove(&vip).await.unwrap();
        }
        wait_for(&mut monitor, |change| *change == Change::Overrun).await;
        kernel
            .add(&lab.left.vip("10.0.0.102", 24, None))
            .await
            .unwrap();
        // What was told before the loss is older than what is asked for after it.
        let next = tokio::time::timeout(SOON, monitor.next()).await.unwrap();
        assert!(added("10.0.0.102")(&next), "{next:?}");
    });
}

#[test]
fn default_buffer_holds_a_thousand_changes() {
    run(async |lab: Lab| {
        let kernel = Kernel::open().unwrap();
        let mut monitor = Monitor::open().unwrap();
        let vip = lab.left.vip("10.0.0.101", 24, None);
        for _ in 0..1000 {
            kernel.add(&vip).await.unwrap();
        }
        let mut told = 0;
        while told < 1000 {
            match tokio::time::timeout(SOON, monitor.next()).await.unwrap() {
                Change::AddressAdded(new) if new.address == vip.address => told += 1,
                Change::AddressAdded(_) | Change::Link(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

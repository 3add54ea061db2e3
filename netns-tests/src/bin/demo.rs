//! A pair of Tandem nodes lives through a bad minute while a client keeps asking.
#![allow(clippy::print_stdout)] // A program for the terminal.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use netns_tests::{
    Address, Device as _, Host, Lab, PairConfig, Part, ProbeSettings, Prober, Summary, Tandem,
    VipWatch,
};

/// For what takes milliseconds or will not happen.
const LIMIT: Duration = Duration::from_secs(20);
/// How long the client is watched when things have calmed down.
const CALM: Duration = Duration::from_millis(1200);

/// Show a failover of every kind, in about a minute. Needs root.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Args {
    /// Advertisement interval in milliseconds
    #[arg(long, default_value_t = 100)]
    interval_ms: u64,
}

/// What the client saw in one chapter.
struct Line {
    event: &'static str,
    hit: Summary,
    both: Duration,
    moved: Option<Duration>,
    back: Option<Summary>,
}

struct Story<'lab> {
    lab: &'lab Lab,
    one: Tandem<'lab>,
    two: Tandem<'lab>,
    prober: Prober,
    watch: VipWatch,
    lines: Vec<Line>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let begun = Instant::now();
    println!("Building two nodes, a switch, a client and two backends in network namespaces.");
    let lab = Lab::new()?;
    let config = PairConfig {
        interval: Duration::from_millis(args.interval_ms),
        ..PairConfig::default()
    };
    let (one, two) = Tandem::pair(&lab, &config)?;
    println!(
        "lb1 {} and lb2 {} share the address {} and send their requests to {} and {}.\n",
        Host::Lb1.v4(),
        Host::Lb2.v4(),
        Address::VIP4,
        Host::Backend1.v4(),
        Host::Backend2.v4()
    );
    println!(
        "Their configuration, the same file on both:\n\n{}",
        indent(&config.tandem(Host::Lb1))
    );
    show_status(&one)?;
    show_status(&two)?;

    let settings = ProbeSettings::new((Address::VIP4, Address::HTTP));
    let prober = Prober::start(lab.net(Host::Client), settings)?;
    prober.wait_steady(500, LIMIT)?;
    println!(
        "A client asks {} for a page 1,000 times a second from here on, each time on a new connection.\n",
        Address::VIP4
    );
    let watch = VipWatch::start(&lab, Address::VIP4)?;
    let mut story = Story {
        lab: &lab,
        one,
        two,
        prober,
        watch,
        lines: Vec::new(),
    };
    tell(&mut story)?;

    let total = story.prober.finish()?.summary(None);
    println!("{}", table(&story.lines));
    println!(
        "In all the client asked {} times and got {} answers; {} were lost. It took {} s.",
        total.probes,
        total.answered,
        total.lost,
        begun.elapsed().as_secs()
    );
    Ok(())
}

fn tell(story: &mut Story<'_>) -> anyhow::Result<()> {
    story.chapter(
        "forwarder killed",
        "kill -9 of the process that moves the bytes on lb1. The director sees it end and gives the address away at once;\n\
         the keeper starts a new one, and lb1 takes the address back when that is ready.",
        |story| story.one.kill(Part::Forwarder),
        |_| Ok(()),
    )?;
    story.chapter(
        "director killed",
        "kill -9 of the process that speaks VRRP on lb1. The keeper executes its last will: \"priority 0\", address away.",
        |story| story.one.kill(Part::Director),
        |_| Ok(()),
    )?;
    story.chapter(
        "all three killed",
        "kill -9 of keeper, director and forwarder on lb1. Nobody is left to say anything: lb2 notices the silence, and\n\
         the kernel of lb1 takes the address away when its lease ends. Then lb1 is started again.",
        |story| story.one.kill(Part::All),
        |story| {
            story.lab.wait_holder(Address::VIP4, Host::Lb2, LIMIT)?;
            story.one.start()
        },
    )?;
    story.chapter(
        "all three frozen",
        "SIGSTOP to all three on lb1 for four seconds, as a hypervisor does to a machine. When they wake up they listen\n\
         before they claim anything.",
        |story| story.one.freeze(Part::All),
        |story| {
            // Long enough for the lease to end with a margin.
            std::thread::sleep(Duration::from_secs(4));
            story.one.thaw(Part::All).map(drop)
        },
    )?;
    story.chapter(
        "cable pulled",
        "The cable of lb1 is pulled, and plugged in again when lb2 has taken over.",
        |story| {
            let moment = Instant::now();
            story.lab.cut_cable(Host::Lb1).map(|()| moment)
        },
        |story| story.lab.mend_cable(Host::Lb1),
    )?;
    story.chapter(
        "stopped for work",
        "SIGTERM to lb1, as `systemctl stop` does. It leaves when the other one has taken over; then it is started again.",
        |story| story.one.stop(LIMIT),
        |story| story.one.start(),
    )?;
    story.chapter(
        "handed over",
        "`tandem handover` on lb1: lb2 is to take the address now. Then `tandem handover` on lb2, to give it back.",
        |story| story.one.handover()?.context("tandem hands over"),
        |story| story.two.handover().map(drop),
    )
}

impl<'lab> Story<'lab> {
    /// Does `event` to lb1, waits until lb2 serves, shows what the client saw; then `undo`, and waits until lb1 serves.
    fn chapter(
        &mut self,
        event: &'static str,
        words: &str,
        act: impl FnOnce(&mut Self) -> anyhow::Result<Instant>,
        undo: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        println!("{}. {words}", self.lines.len() + 1);
        let moment = act(self).with_context(|| event.to_owned())?;
        netns_tests::wait_until("lb2 has taken over", LIMIT, || {
            self.watch.log().gained_after(Host::Lb2, moment).is_some()
        })?;
        self.prober
            .wait_steady(200, LIMIT)
            .context("after the event")?;
        self.prober.settle();
        let hit = self.prober.run().summary(Some(moment));
        let moved = self.watch.log().gained_after(Host::Lb2, moment);
        println!("   {}", sentence(&hit));
        if event == "cable pulled" {
            show_status(&self.one)?;
            show_status(&self.two)?;
        }

        let returning = Instant::now();
        undo(self).with_context(|| format!("after: {event}"))?;
        self.lab.wait_holder(Address::VIP4, Host::Lb1, LIMIT)?;
        self.one.wait_state("active", LIMIT)?;
        self.two.wait_ready(LIMIT)?;
        self.one.wait_ready(LIMIT)?;
        std::thread::sleep(CALM);
        self.prober
            .wait_steady(200, LIMIT)
            .context("after the return")?;
        let back = self.prober.run().summary(Some(returning));
        println!("   lb1 has the address again: {}\n", sentence(&back));
        let both = self.watch.log().longest_overlap(moment);
        self.lines.push(Line {
            event,
            hit,
            both,
            moved,
            back: Some(back),
        });
        Ok(())
    }
}

fn sentence(summary: &Summary) -> String {
    match summary.lost {
        0 => format!(
            "the client noticed nothing (longest wait between two answers {:.0} ms).",
            summary.blackout_ms
        ),
        lost => format!(
            "the client was without an answer for {:.0} ms and lost {lost} of {} requests.",
            summary.blackout_ms, summary.probes
        ),
    }
}

fn show_status(node: &Tandem<'_>) -> anyhow::Result<()> {
    let (_, out, err) = node.cli(&["status"])?;
    println!(
        "   {}$ tandem status\n{}",
        node.host().name(),
        indent(&format!("{out}{err}"))
    );
    Ok(())
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("      {line}\n")).collect()
}

fn table(lines: &[Line]) -> String {
    let mut text = format!(
        "{:<18} {:>12} {:>8} {:>14} {:>14} {:>16}\n{}\n",
        "what happened",
        "no answer",
        "lost",
        "lb2 took over",
        "on both nodes",
        "lost at return",
        "-".repeat(87)
    );
    for line in lines {
        let millis = |length: Duration| format!("{} ms", length.as_millis());
        text += &format!(
            "{:<18} {:>12} {:>8} {:>14} {:>14} {:>16}\n",
            line.event,
            format!("{:.0} ms", line.hit.blackout_ms),
            line.hit.lost,
            line.moved
                .map_or_else(|| "-".into(), |moved| format!("after {}", millis(moved))),
            millis(line.both),
            line.back
                .as_ref()
                .map_or_else(|| "-".into(), |back| back.lost.to_string()),
        );
    }
    text
}

//! `scripts`, `files`, `processes` and `probes` of `[vrrp.NAME.track]`: what they have in common.

use std::time::Duration;

use super::{probes, programs, too_many, weight};
use crate::Code;
use crate::model::{Effect, FileExpectation, Probe, ProcessName, TrackedCheck, Watch};
use crate::read::Files;
use crate::tree::{At, Item, Section};
use crate::units::show_duration;

/// How often, how long and how patiently, where the file does not say.
struct Usual {
    every: Duration,
    timeout: Duration,
    rise: u32,
    fall: u32,
}

const SCRIPT: Usual = Usual {
    every: Duration::from_secs(5),
    timeout: Duration::from_secs(2),
    rise: 1,
    fall: 2,
};
const FILE: Usual = Usual {
    every: Duration::from_secs(1),
    timeout: Duration::from_millis(500),
    rise: 1,
    fall: 1,
};
const PROCESS: Usual = Usual {
    every: Duration::from_secs(1),
    timeout: Duration::from_millis(500),
    rise: 1,
    fall: 2,
};
const PROBE: Usual = Usual {
    every: Duration::from_secs(1),
    timeout: Duration::from_millis(500),
    rise: 2,
    fall: 3,
};

pub(super) fn read(section: &Section<'_>, files: Files<'_>) -> Vec<At<TrackedCheck>> {
    let mut checks = Vec::new();
    let mut part = |key, form: &str, usual: &Usual, probe: &ReadProbe<'_>| {
        if let Some(item) = section.get(key) {
            checks.extend(entries(&item, form, usual, probe));
        }
    };
    let form = "a table like { disk = { run = [\"/usr/local/bin/disk-ok\"] } }";
    part("scripts", form, &SCRIPT, &|section| script(section, files));
    let form = "a table like { manual = { path = \"/etc/tandem/weight\" } }";
    part("files", form, &FILE, &file);
    let form = "a table like { time = { name = \"chronyd\" } }";
    part("processes", form, &PROCESS, &process);
    let form = "a table like { gateway = { ping = \"10.0.0.1\" } }";
    part("probes", form, &PROBE, &probes::read);
    checks
}

type ReadProbe<'a> = dyn Fn(&Section<'_>) -> Option<Probe> + 'a;

fn entries(
    item: &Item<'_>,
    form: &str,
    usual: &Usual,
    probe: &ReadProbe<'_>,
) -> Vec<At<TrackedCheck>> {
    let Some(section) = item.section_or(form) else {
        return Vec::new();
    };
    let entries = section.entries();
    too_many(item, entries.len());
    let one = |(name, item): (String, Item<'_>)| {
        let section = item.section()?;
        let probe = probe(&section);
        let times = times(&section, usual);
        let effect = effect(&section, probe.as_ref());
        let count = |key, usual| match section.get(key) {
            Some(item) => item.number(1..=100),
            None => Some(usual),
        };
        let (rise, fall) = (count("rise", usual.rise), count("fall", usual.fall));
        section.finish();
        let (every, timeout) = times?;
        let check = TrackedCheck {
            name,
            watch: Watch {
                probe: probe?,
                every,
                timeout,
            },
            rise: rise?,
            fall: fall?,
            effect: effect?,
        };
        Some(At {
            value: check,
            place: item.key_place(),
        })
    };
    entries.into_iter().filter_map(one).collect()
}

/// Interval and time limit. A limit nobody wrote is four fifths of the interval at most.
fn times(section: &Section<'_>, usual: &Usual) -> Option<(Duration, Duration)> {
    let limits = Duration::from_millis(100)..=Duration::from_secs(3600);
    let every = match section.get("every") {
        Some(item) => item.duration_in(limits.clone()),
        None => Some(usual.every),
    };
    let written = section.get("timeout");
    let timeout = match &written {
        Some(item) => item.duration_in(Duration::from_millis(10)..=*limits.end()),
        None => every.map(|every| usual.timeout.min(every * 4 / 5)),
    };
    let (every, timeout) = (every?, timeout?);
    if let Some(item) = written
        && timeout >= every
    {
        let (limit, every) = (show_duration(timeout), show_duration(every));
        let message = format!("`timeout` must be shorter than `every`, got {limit} and {every}");
        item.error(Code::OutOfRange, message, None);
        return None;
    }
    Some((every, timeout))
}

/// What it does to the priority: with a file that holds a number, `weight` is what the number is multiplied by.
fn effect(section: &Section<'_>, probe: Option<&Probe>) -> Option<Effect> {
    let holds_number = matches!(
        probe,
        Some(Probe::File {
            expect: FileExpectation::Number,
            ..
        })
    );
    let weight = section.get("weight").map(|item| weight(&item));
    match (weight, holds_number) {
        (None, false) => Some(Effect::Fault),
        (None, true) => Some(Effect::Number(1)),
        (Some(weight), false) => weight.map(Effect::Weight),
        (Some(weight), true) => weight.map(Effect::Number),
    }
}

fn script(section: &Section<'_>, files: Files<'_>) -> Option<Probe> {
    let run = section.require("run", "run = [\"/usr/local/bin/disk-ok\"]")?;
    let run = programs::command(&run, files)?;
    Some(Probe::Script { run })
}

fn file(section: &Section<'_>) -> Option<Probe> {
    const WORDS: &[(&str, FileExpectation)] = &[
        ("number", FileExpectation::Number),
        ("present", FileExpectation::Present),
        ("absent", FileExpectation::Absent),
    ];
    let path = section.require("path", "path = \"/etc/tandem/weight\"");
    let expect = match section.get("expect") {
        Some(item) => item.word(WORDS),
        None => Some(FileExpectation::Number),
    };
    Some(Probe::File {
        path: path
            .and_then(|item| absolute(&item, "/etc/tandem/weight"))?
            .into(),
        expect: expect?,
    })
}

/// A path that begins with `/`.
pub(crate) fn absolute(item: &Item<'_>, example: &str) -> Option<String> {
    let path = item.string_like(&format!("an absolute path like {example:?}"))?;
    if !path.starts_with('/') || path.contains('\0') {
        let message = format!("{path:?} is not an absolute path");
        item.error(Code::OutOfRange, message, None);
        return None;
    }
    Some(path.to_owned())
}

fn process(section: &Section<'_>) -> Option<Probe> {
    let text = |item: &Item<'_>| item.string().map(str::to_owned);
    let mut ways = Vec::new();
    if let Some(item) = section.get("name") {
        ways.push((item.clone(), text(&item).map(ProcessName::Name)));
    }
    if let Some(item) = section.get("command") {
        ways.push((item.clone(), text(&item).map(ProcessName::Command)));
    }
    if let Some(item) = section.get("pid_file") {
        let path = absolute(&item, "/run/chronyd.pid");
        let path = path.map(|path| ProcessName::PidFile(path.into()));
        ways.push((item, path));
    }
    let min = match section.get("min") {
        Some(item) => item.number(1..=100_000),
        None => Some(1),
    };
    let max = section.get("max");
    let most = max.as_ref().map(|item| item.number(1..=100_000));
    if let (Some(item), Some(Some(most)), Some(least)) = (&max, most, min)
        && most < least
    {
        let message = format!("`max` must not be below `min`, got {most} and {least}");
        item.error(Code::OutOfRange, message, None);
        return None;
    }
    let which = only_one(
        section,
        ways,
        "name = \"chronyd\"",
        "`name`, `command` and `pid_file`",
    )?;
    Some(Probe::Process {
        which,
        min: min?,
        max: most.unwrap_or(Some(u32::MAX)).filter(|max| *max < u32::MAX),
    })
}

/// Exactly one of several keys; `all` names them.
pub(super) fn only_one<T>(
    section: &Section<'_>,
    mut ways: Vec<(Item<'_>, Option<T>)>,
    example: &str,
    all: &str,
) -> Option<T> {
    if let [_, (second, _), ..] = &ways[..] {
        let message = format!("more than one of {all}");
        let remedy = "remove all but one".to_owned();
        second.error(Code::Duplicate, message, remedy);
        return None;
    }
    let Some((_, value)) = ways.pop() else {
        let message = format!("{} needs one of {all}", section.label());
        section.found().error(
            Code::MissingKey,
            section.place(),
            message,
            format!("add for example `{example}`"),
        );
        return None;
    };
    value
}

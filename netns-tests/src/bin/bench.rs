//! Measures Tandem beside others in one run: failover as a client sees it and what many virtual routers need, beside Debian's
//! Keepalived; what a request costs, beside Debian's HAProxy and nginx.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program for the terminal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use netns_tests::{
    Comparison, Flows, Measure, Product, Rival, Row, ScaleProduct, Scenario, Speech, compare,
    compare_datagrams, idle_memory, instructions, measure, measure_checks, measure_rules,
    measure_scale,
};
use serde::Serialize;

/// Measure Tandem beside others.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How long a client goes without an answer, in each kind of failure
    Failover {
        /// Measurements of each kind
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Where to write every single measurement
        #[arg(
            long,
            value_name = "FILE",
            default_value = "target/bench-failover.json"
        )]
        json: PathBuf,
        /// Only scenarios whose title contains this
        #[arg(long, value_name = "WORDS")]
        only: Option<String>,
        /// Only products whose title contains this
        #[arg(long, value_name = "WORDS")]
        product: Option<String>,
    },
    /// What 250 and 1,000 virtual routers on one node need, at one second
    Scale {
        /// How long each crowd is watched, in seconds
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// How many virtual routers
        #[arg(
            long,
            value_name = "N",
            value_delimiter = ',',
            default_value = "250,1000"
        )]
        routers: Vec<usize>,
        /// Where to write every figure
        #[arg(long, value_name = "FILE", default_value = "target/bench-scale.json")]
        json: PathBuf,
    },
    /// What many rules and many targets cost
    Crowds {
        /// Rounds of the rules
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// How long each of them is, in milliseconds
        #[arg(long, default_value_t = 2000)]
        time: u64,
        /// How long checks are watched, in seconds
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// What a request costs the proxy: CPU time, latency, memory of idle connections
    Http(Traffic),
    /// The same in TLS 1.3, with a certificate of ECDSA P-256: handshakes and what comes after
    Tls(Traffic),
    /// The same in HTTP/2, forwarded to an origin that speaks HTTP/1.1
    H2(Traffic),
    /// The same for connections whose bytes are relayed
    Tcp(Traffic),
    /// The same for datagrams, beside nginx: HAProxy passes on none
    Udp(Traffic),
    /// User instructions of a request, as callgrind counts them
    Instructions {
        /// Only work whose title contains this
        #[arg(long, value_name = "WORDS", default_value = "1 KiB")]
        only: Option<String>,
        /// Only proxies whose title contains this
        #[arg(long, value_name = "WORDS")]
        proxy: Option<String>,
        /// Folder to leave callgrind's own files in, for `callgrind_annotate`
        #[arg(long, value_name = "FOLDER")]
        keep: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Traffic {
    /// Rounds of each kind of work
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds of each round
    #[arg(long, default_value_t = 3000)]
    time: u64,
    /// Idle connections whose memory is measured; 0 = none
    #[arg(long, default_value_t = 5000)]
    idle: u32,
    /// Where to write every single measurement
    #[arg(long, value_name = "FILE", default_value = "target/bench-traffic.json")]
    json: PathBuf,
    /// Only work whose title contains this
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
    /// Only proxies whose title contains this
    #[arg(long, value_name = "WORDS")]
    proxy: Option<String>,
}

fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Scale {
            seconds,
            routers,
            json,
        } => scale(&routers, Duration::from_secs(seconds), &json),
        What::Failover {
            rounds,
            json,
            only,
            product,
        } => {
            let scenarios: Vec<_> = Scenario::ALL
                .into_iter()
                .filter(|one| wanted(one.title(), &only))
                .collect();
            let products: Vec<_> = Product::ALL
                .into_iter()
                .filter(|one| wanted(one.title(), &product))
                .collect();
            let measures = failover(rounds, &scenarios, &products);
            print!("{}", table(&measures, &scenarios, &products));
            let report = Report {
                rounds,
                measures: &measures,
            };
            write_json(&json, &report)
        }
        What::Crowds {
            rounds,
            time,
            seconds,
        } => crowds(
            rounds,
            Duration::from_millis(time),
            Duration::from_secs(seconds),
        ),
        What::Http(options) => traffic(&options, &Comparison::http(), Some(Speech::Clear)),
        What::Tls(options) => {
            let idle = Speech::Tls { resumes: false };
            traffic(&options, &Comparison::tls(), Some(idle))
        }
        What::H2(options) => {
            let idle = Speech::Http2 {
                streams: 1,
                encrypted: true,
            };
            traffic(&options, &Comparison::http2(), Some(idle))
        }
        What::Tcp(options) => traffic(&options, &Comparison::tcp(), None),
        What::Udp(options) => datagrams(&options),
        What::Instructions { only, proxy, keep } => counts(&only, &proxy, keep.as_deref()),
    }
}

/// Does a title contain the words, or are there none?
fn wanted(title: &str, words: &Option<String>) -> bool {
    words
        .as_ref()
        .is_none_or(|words| title.to_lowercase().contains(&words.to_lowercase()))
}

fn traffic(options: &Traffic, all: &[Comparison], idle: Option<Speech>) -> anyhow::Result<()> {
    let rivals: Vec<Rival> = Rival::ALL
        .into_iter()
        .filter(|rival| wanted(rival.title(), &options.proxy))
        .collect();
    println!(
        "CPU time of a request in microseconds (every process of the proxy, one core); x = median of the ratios to HAProxy in\n\
         the same round; requests a second, and how long the answer took. Medians of {} rounds of {} ms.\n",
        options.rounds, options.time
    );
    println!(
        "{:<26} {:<8} {:>9} {:>6} {:>9} {:>9} {:>9} {:>6}",
        "", "", "CPU us", "x", "per s", "p50 us", "p99 us", "bad"
    );
    let (mut rows, mut failed) = (Vec::new(), 0);
    for comparison in all.iter().filter(|one| wanted(one.title, &options.only)) {
        let time = std::time::Duration::from_millis(options.time);
        let measured = compare(comparison, &rivals, options.rounds, time, |row| match row {
            Ok(row) => eprintln!(
                "  round {}  {:<24} {:<8} {:>8.2} us",
                row.round,
                row.title,
                row.rival.title(),
                row.cpu_us
            ),
            Err(error) => {
                failed += 1;
                eprintln!("  a round failed: {error:#}");
            }
        })?;
        for rival in &rivals {
            let line = line(comparison.title, *rival, Rival::Haproxy, &measured);
            println!("{line}");
        }
        rows.extend(measured);
    }
    if let Some(speech) = idle
        && options.idle > 0
    {
        println!(
            "\nMemory of an idle keep-alive connection, {} of them:",
            options.idle
        );
        for rival in &rivals {
            let octets = idle_memory(*rival, speech, options.idle)?;
            println!("{:<35} {octets:>9.0} octets", rival.title());
        }
    }
    write_json(&options.json, &rows)?;
    anyhow::ensure!(failed == 0, "{failed} rounds failed, see above");
    Ok(())
}

/// As above, without HAProxy; the ratio is to nginx.
fn datagrams(options: &Traffic) -> anyhow::Result<()> {
    let rivals: Vec<Rival> = [Rival::Tandem, Rival::Nginx]
        .into_iter()
        .filter(|rival| wanted(rival.title(), &options.proxy))
        .collect();
    println!(
        "CPU time of a question with its answer in microseconds; x = median of the ratios to nginx in the same round; questions a\n\
         second, and how long the answer took. Medians of {} rounds of {} ms.\n",
        options.rounds, options.time
    );
    println!(
        "{:<26} {:<8} {:>9} {:>6} {:>9} {:>9} {:>9} {:>6}",
        "", "", "CPU us", "x", "per s", "p50 us", "p99 us", "bad"
    );
    let mut rows = Vec::new();
    for flows in Flows::ALL {
        if !wanted(flows.title(), &options.only) {
            continue;
        }
        let time = std::time::Duration::from_millis(options.time);
        let measured = compare_datagrams(flows, &rivals, options.rounds, time, |row| {
            eprintln!(
                "  round {}  {:<24} {:<8} {:>8.2} us",
                row.round,
                row.title,
                row.rival.title(),
                row.cpu_us
            );
        })?;
        for rival in &rivals {
            println!("{}", line(flows.title(), *rival, Rival::Nginx, &measured));
        }
        rows.extend(measured);
    }
    write_json(&options.json, &rows)
}

/// What callgrind counts; about the same in each run.
fn counts(
    only: &Option<String>,
    proxy: &Option<String>,
    keep: Option<&Path>,
) -> anyhow::Result<()> {
    println!("User instructions of a request in the process that serves it.\n");
    let mut rivals = Rival::ALL.to_vec();
    rivals.retain(|rival| wanted(rival.title(), proxy));
    let titles: Vec<_> = rivals
        .iter()
        .map(|rival| format!("{:>9}", rival.title()))
        .collect();
    println!("{:<26} {}", "", titles.join(" "));
    let all = Comparison::http();
    for comparison in all.iter().filter(|one| wanted(one.title, only)) {
        let mut row = format!("{:<26}", comparison.title);
        for rival in &rivals {
            row += &format!(" {:>9.0}", instructions(comparison, *rival, keep)?);
        }
        println!("{row}");
    }
    Ok(())
}

fn line(title: &str, rival: Rival, base: Rival, rows: &[Row]) -> String {
    let own: Vec<&Row> = rows.iter().filter(|row| row.rival == rival).collect();
    let of = |value: fn(&Row) -> f64| median(&sorted(own.iter().map(|row| value(row))));
    let ratios = own.iter().filter_map(|row| {
        let other = rows
            .iter()
            .find(|other| other.rival == base && other.round == row.round)?;
        Some(row.cpu_us / other.cpu_us)
    });
    let bad: u64 = own.iter().map(|row| row.bad).sum();
    format!(
        "{title:<26} {:<8} {:>9.2} {:>6.2} {:>9.0} {:>9.0} {:>9.0} {bad:>6}",
        rival.title(),
        of(|row| row.cpu_us),
        median(&sorted(ratios)),
        of(|row| row.per_second),
        of(|row| row.p50_us),
        of(|row| row.p99_us),
    )
}

fn write_json<T: Serialize>(path: &Path, report: &T) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(report)?)
        .with_context(|| path.display().to_string())?;
    println!("\nevery measurement: {}", path.display());
    Ok(())
}

/// A request with few rules and with many, and the checks of many targets.
fn crowds(rounds: usize, time: Duration, watch: Duration) -> anyhow::Result<()> {
    const RULES: [usize; 2] = [10, 10_000];
    const TARGETS: usize = 1_000;
    let costs = measure_rules(RULES[0], RULES[1], rounds, time)?;
    let few = median(&sorted(costs.iter().map(|cost| cost.few_us)));
    let many = median(&sorted(costs.iter().map(|cost| cost.many_us)));
    let ratio = median(&sorted(costs.iter().map(|cost| cost.many_us / cost.few_us)));
    println!("CPU time of a request that meets the last of the rules, medians of {rounds} rounds:");
    println!("  {:>6} rules {few:>8.2} us", RULES[0]);
    println!("  {:>6} rules {many:>8.2} us   x {ratio:.2}", RULES[1]);
    let every = Duration::from_secs(5);
    let share = measure_checks(TARGETS, every, watch)?;
    println!(
        "{TARGETS} targets checked by HTTP each {} s: {:.1} % of a core",
        every.as_secs(),
        share * 100.0
    );
    Ok(())
}

/// Each number of routers of Tandem, and of Keepalived beside it.
fn scale(routers: &[usize], watch: Duration, json: &Path) -> anyhow::Result<()> {
    println!(
        "Virtual routers on one node, an advertisement a second each, watched for {} s.\n",
        watch.as_secs()
    );
    println!(
        "{:<12} {:>7} {:>14} {:>8} {:>14} {:>9} {:>12} {:>12}",
        "", "routers", "all active", "missed", "longest gap", "cpu", "memory", "status"
    );
    let mut measures = Vec::new();
    for routers in routers {
        for product in [ScaleProduct::Tandem, ScaleProduct::Keepalived] {
            let measure = measure_scale(product, *routers, watch)?;
            let active = measure
                .all_active_ms
                .map_or("never".to_owned(), |ms| format!("{ms:.0} ms"));
            let status = measure
                .status_ms
                .map_or_else(String::new, |ms| format!("{ms:.0} ms"));
            println!(
                "{:<12} {:>7} {:>14} {:>8} {:>11.0} ms {:>7.2} % {:>8} KiB {:>12}",
                format!("{product:?}"),
                measure.routers,
                active,
                measure.adverts.missed,
                measure.adverts.longest_gap_ms,
                measure.cpu_percent,
                measure.memory_kib,
                status
            );
            measures.push(measure);
        }
    }
    write_json(json, &measures)
}

#[derive(Serialize)]
struct Report<'a> {
    rounds: usize,
    measures: &'a [Measure],
}

/// Rounds on the outside: what the machine does meanwhile hits all products alike.
fn failover(rounds: usize, scenarios: &[Scenario], products: &[Product]) -> Vec<Measure> {
    let mut measures = Vec::new();
    for round in 1..=rounds {
        for scenario in scenarios {
            for product in products {
                eprint!(
                    "round {round}/{rounds}  {:<24} {:<20} ",
                    scenario.title(),
                    product.title()
                );
                match measure(*product, *scenario) {
                    Ok(Some(measure)) => {
                        eprintln!("{:>8.1} ms, {} lost", measure.blackout_ms, measure.lost);
                        measures.push(measure);
                    }
                    Ok(None) => eprintln!("has no such thing"),
                    Err(error) => eprintln!("failed: {error:#}"),
                }
            }
        }
    }
    measures
}

fn table(measures: &[Measure], scenarios: &[Scenario], products: &[Product]) -> String {
    let mut groups: BTreeMap<(Scenario, Product), Vec<&Measure>> = BTreeMap::new();
    for measure in measures {
        groups
            .entry((measure.scenario, measure.product))
            .or_default()
            .push(measure);
    }
    let mut text = String::from(
        "\nA client asks 1,000 times a second through the floating address. In each field: the longest time without an\n\
         answer in ms (median, worst), the answers lost (median), and the longest time both nodes held the address in ms\n\
         (worst; \"stays\" if they still did at the end).\n\n",
    );
    text += &format!("{:<24}", "");
    for product in products {
        text += &format!(" | {:<30}", product.title());
    }
    text += &format!("\n{:<24}", "");
    for _ in products {
        text += &format!(
            " | {:>7} {:>7} {:>6} {:>7}",
            "median", "worst", "lost", "both"
        );
    }
    text += "\n";
    text += &"-".repeat(24 + products.len() * 33);
    text += "\n";
    for scenario in scenarios {
        text += &format!("{:<24}", scenario.title());
        for product in products {
            text += " | ";
            text += &groups
                .get(&(*scenario, *product))
                .map_or_else(|| format!("{:>30}", "-"), |found| field(found));
        }
        text += "\n";
    }
    text
}

fn field(found: &[&Measure]) -> String {
    let blackouts = sorted(found.iter().map(|one| one.blackout_ms));
    let lost = sorted(found.iter().map(|one| one.lost as f64));
    let both = if found.iter().any(|one| one.holders > 1) {
        "stays".to_owned()
    } else {
        found
            .iter()
            .map(|one| one.both_ms)
            .max()
            .unwrap_or(0)
            .to_string()
    };
    format!(
        "{:>7.1} {:>7.1} {:>6.0} {both:>7}",
        median(&blackouts),
        blackouts[blackouts.len() - 1],
        median(&lost)
    )
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Not a number where there is nothing.
fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

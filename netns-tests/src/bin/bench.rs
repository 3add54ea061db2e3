//! Measures failover as a client sees it, Tandem beside Debian's Keepalived with HAProxy, in one run.
#![allow(clippy::print_stdout, clippy::print_stderr)] // A program for the terminal.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use netns_tests::{Measure, Product, Scenario, measure};
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
}

fn main() -> anyhow::Result<()> {
    match Args::parse().what {
        What::Failover {
            rounds,
            json,
            only,
            product,
        } => {
            let wanted = |title: &str, words: &Option<String>| {
                words
                    .as_ref()
                    .is_none_or(|words| title.to_lowercase().contains(&words.to_lowercase()))
            };
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
            if let Some(folder) = json.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let report = Report {
                rounds,
                measures: &measures,
            };
            std::fs::write(&json, serde_json::to_string_pretty(&report)?)
                .with_context(|| json.display().to_string())?;
            println!("\nevery measurement: {}", json.display());
            Ok(())
        }
    }
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

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

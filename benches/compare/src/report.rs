//! The page that tells what was measured, in Markdown.

use std::fmt::{Error, Write};
use std::fs;
use std::time::SystemTime;

use crate::measured::Measured;
use crate::outcome::{Outcome, spread};
use crate::peer::Peer;
use crate::run::Figure;
use crate::spread::Spread;

pub fn page(outcomes: &[Outcome], measured: &Measured, how: &str) -> Result<String, Error> {
    let mut page = format!(
        "# What was promised, and what was measured\n\n{}; {how}\n",
        machine()
    );
    page += "\nMedians over the rounds (lowest–highest). What is × another server is a ratio within a round. Server CPU is for each connection, message or MB.\n";
    page += "\n| row | what | goal | measured | met | |\n|---|---|---|---|---|---|\n";
    for outcome in outcomes {
        let (name, what, goal) = (outcome.row.name, outcome.what(), outcome.goal());
        let measured = outcome.measured(|spread| spread.to_string());
        let met = outcome
            .met
            .map_or("–", |met| if met { "yes" } else { "no" });
        // What a server has said may hold anything.
        let remark = outcome.remark.replace('|', "\\|");
        writeln!(
            page,
            "| `{name}` | {what} | {goal} | {measured} | {met} | {remark} |"
        )?;
    }

    page += "\n## Noise\n\nThe second run of the reference in a round as a ratio to its first: what is nearer to 1 than that says nothing.\n";
    page += "\n| load | rate | CPU | p99 |\n|---|---|---|---|\n";
    for (load, _) in measured
        .each()
        .into_iter()
        .filter(|(_, peer)| *peer == Peer::TokioEcho)
    {
        let [rate, cpu, p99] = [Figure::Rate, Figure::Cpu, Figure::P99]
            .map(|figure| told(Spread::of(measured.noise(load, figure))));
        writeln!(page, "| {load} | {rate} | {cpu} | {p99} |")?;
    }

    let heads = Figure::ALL
        .map(|figure| figure.words().concat())
        .join(" | ");
    let bars = "---|".repeat(2 + Figure::ALL.len());
    write!(
        page,
        "\n## Figures\n\n| load | server | {heads} |\n|{bars}\n"
    )?;
    for (load, peer) in measured.each() {
        let figures = Figure::ALL.map(|figure| told(spread(measured, load, peer, figure)));
        writeln!(
            page,
            "| {load} | {} | {} |",
            peer.name(),
            figures.join(" | ")
        )?;
    }
    Ok(page)
}

fn told(spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |spread| spread.to_string())
}

fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let mut models = processors
        .lines()
        .filter_map(|line| line.strip_prefix("model name\t: "));
    let (model, others) = (models.next().unwrap_or("processor"), models.count());
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    format!(
        "{now}, {} × {model}, Linux {}",
        others + 1,
        read("/proc/sys/kernel/osrelease").trim()
    )
}

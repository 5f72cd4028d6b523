//! Connections that have had one answer and then wait: what each holds, and whether it answers again.

use anyhow::anyhow;
use futures_util::{StreamExt, stream};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Client, Faults};
use crate::run::{Figure, Pace, Run};
use crate::{memory, process};

/// Connections that are opened, or asked, at once.
const AT_ONCE: usize = 64;

/// Connections opened and closed before, so that what is there once is not charged to those held.
const BEFORE: usize = 32;

pub async fn run(client: &Client, pid: u32, count: usize, pace: &Pace) -> anyhow::Result<Run> {
    let resting = process::tree(pid).len();
    drop(open(client, BEFORE).await?);
    process::settle(pid, resting).await;
    let before = memory::held(pid);
    let mut streams = open(client, count).await?;
    sleep(pace.hold).await;
    let each = (memory::held(pid) - before) / count as f64;

    let ask = |stream| client.ask(stream);
    let mut asking = stream::iter(streams.iter_mut())
        .map(ask)
        .buffer_unordered(AT_ONCE);
    let (mut answering, mut faults) = (0, Faults::new());
    while let Some(answer) = asking.next().await {
        match answer {
            Ok(()) => answering += 1,
            Err(fault) => *faults.entry(fault).or_default() += 1,
        }
    }
    let answering = f64::from(answering) / count as f64;
    let figures = [(Figure::Memory, each), (Figure::Answering, answering)].into();
    Ok(Run { figures, faults })
}

/// All of them, each with one answer, or why not.
pub async fn open(client: &Client, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    let mut opening = stream::iter(0..count)
        .map(|_| client.open())
        .buffer_unordered(AT_ONCE);
    let mut streams = Vec::with_capacity(count);
    while let Some(opened) = opening.next().await {
        let open = streams.len();
        streams.push(opened.map_err(|fault| anyhow!("{open} of {count} connections: {fault}"))?);
    }
    drop(opening);
    Ok(streams)
}

//! Bulk: streams that are written and read at once. Every byte that returns is compared with a pattern
//! that starts elsewhere on each connection; after the half-close the rest has to come, then the end.

use std::cell::Cell;
use std::cmp::Ordering;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::{Client, Fault, Faults, PATIENCE};
use crate::cpu::Meter;
use crate::run::{Pace, Run};

/// Bytes of one write or read.
const CHUNK: usize = 64 * 1024;

/// When the pattern begins again: a prime, so that a buffer lost, repeated or out of turn shows.
const PERIOD: usize = 65_521;

pub async fn run(client: &Client, pid: u32, streams: usize, pace: &Pace) -> anyhow::Result<Run> {
    let pattern: Vec<u8> = (0..PERIOD).map(|_| fastrand::u8(..)).collect();
    let pattern = pattern.repeat(3);
    let meter = Meter::new(pid);
    let before = meter.read().await?;
    let end = Instant::now() + pace.window;
    let flow = |_| timeout(pace.window + PATIENCE, flow(client, &pattern, end));
    let mut flows: FuturesUnordered<_> = (0..streams).map(flow).collect();
    let (mut in_time, mut all, mut faults) = (0, 0, Faults::new());
    while let Some(flow) = flows.next().await {
        match flow.unwrap_or(Err(Fault::Late)) {
            Ok(bytes) => (in_time, all) = (in_time + bytes.in_time, all + bytes.all),
            Err(fault) => *faults.entry(fault).or_default() += 1,
        }
    }
    let cpu = meter.read().await?.saturating_sub(before);
    let rate = in_time as f64 / 1e6 / pace.window.as_secs_f64();
    Ok(Run::new(rate, all as f64 / 1e6, cpu, faults))
}

/// That came back.
struct Bytes {
    in_time: usize,
    all: usize,
}

async fn flow(client: &Client, pattern: &[u8], end: Instant) -> Result<Bytes, Fault> {
    let origin = fastrand::usize(..PERIOD);
    let next = |at: usize| &pattern[(origin + at) % PERIOD..][..CHUNK];
    let mut stream = client.connect().await?;
    let (mut reader, mut writer) = stream.split();
    let sent = Cell::new(0);
    let writing = async {
        while Instant::now() < end {
            sent.set(sent.get() + writer.write(next(sent.get())).await?);
        }
        Ok(writer.shutdown().await?)
    };
    let reading = async {
        let (mut bytes, mut chunk) = (Bytes { in_time: 0, all: 0 }, vec![0; CHUNK]);
        loop {
            let length = reader.read(&mut chunk).await?;
            if chunk[..length] != next(bytes.all)[..length] {
                return Err(Fault::Wrong);
            }
            bytes.all += length;
            if Instant::now() <= end {
                bytes.in_time = bytes.all;
            }
            if length == 0 {
                return Ok(bytes);
            }
        }
    };
    let ((), bytes) = tokio::try_join!(writing, reading)?;
    match bytes.all.cmp(&sent.get()) {
        Ordering::Less => Err(Fault::Short),
        Ordering::Equal => Ok(bytes),
        Ordering::Greater => Err(Fault::Wrong),
    }
}

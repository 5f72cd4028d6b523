//! Connections by the second: each slot opens one, asks, has its answer, closes, and opens the next.

use std::cell::RefCell;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep};

use super::Client;
use super::tally::Tally;
use crate::cpu::Meter;
use crate::run::{Pace, Run};

/// Of a slot after a fault, so that a server that refuses everybody does not make the client spin.
const PAUSE: Duration = Duration::from_millis(5);

pub async fn run(client: &Client, pid: u32, slots: usize, pace: &Pace) -> anyhow::Result<Run> {
    let meter = Meter::new(pid);
    drive(client, slots, pace.warm_up).await;
    let before = meter.read().await?;
    let tally = drive(client, slots, pace.window).await;
    Ok(tally.run(pace.window, meter.read().await?.saturating_sub(before)))
}

async fn drive(client: &Client, slots: usize, window: Duration) -> Tally {
    let end = Instant::now() + window;
    let tally = RefCell::new(Tally::until(end));
    let slot = async |_| {
        while Instant::now() < end {
            let begun = Instant::now();
            let answer = client.open().await;
            tally.borrow_mut().note(begun, &answer);
            if answer.is_err() {
                sleep(PAUSE).await;
            }
        }
    };
    (0..slots)
        .map(slot)
        .collect::<FuturesUnordered<_>>()
        .collect::<()>()
        .await;
    tally.into_inner()
}

//! Round trips: open connections that all send a message, have it back, and send the next.

use std::cell::RefCell;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::tally::Tally;
use super::{Client, idle};
use crate::cpu;
use crate::run::{Pace, Run};

pub async fn run(client: &Client, pid: u32, streams: usize, pace: &Pace) -> anyhow::Result<Run> {
    // Each has answered once, so that its handler runs before the clock does.
    let mut streams = idle::open(client, streams).await?;
    let before = cpu::used(pid)?;
    let end = Instant::now() + pace.window;
    let tally = RefCell::new(Tally::until(end));
    let talk = async |stream: &mut TcpStream| {
        let mut answer = Ok(());
        // A connection that had a fault is used no more.
        while answer.is_ok() && Instant::now() < end {
            let begun = Instant::now();
            answer = client.ask(stream).await;
            tally.borrow_mut().note(begun, &answer);
        }
    };
    let talks: FuturesUnordered<_> = streams.iter_mut().map(talk).collect();
    talks.collect::<()>().await;
    let cpu = cpu::used(pid)?.saturating_sub(before);
    Ok(tally.into_inner().run(pace.window, cpu))
}

//! The rounds. In each, every load meets its servers one after the other, in an order that turns from
//! round to round, with the reference before and after them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, anyhow};

use crate::client::{Dialogue, bulk, conns, idle, rtt};
use crate::launch::Launch;
use crate::load::Load;
use crate::measured::Measured;
use crate::peer::Peer;
use crate::places::Places;
use crate::row::Row;
use crate::run::{Pace, Run};
use crate::server::{SERVED, Server};
use crate::{start, triggers};

/// Connections to guests beside the native job.
const BESIDE: usize = 10_000;

pub struct Bench {
    pub places: Places,
    pub pace: Pace,
    /// Or why not. Left running: who has no connection costs nothing.
    pub servers: BTreeMap<Peer, Result<Server, String>>,
}

impl Bench {
    /// Measures what the rows want, and says each run when it is done.
    pub async fn rounds(&mut self, rows: &[&Row], rounds: u32) -> Measured {
        let mut wanted: BTreeMap<Load, BTreeSet<Peer>> = BTreeMap::new();
        for row in rows {
            let peers = wanted.entry(row.load.at(&self.pace)).or_default();
            peers.extend([Some(row.subject), row.beside].into_iter().flatten());
        }
        let mut measured = Measured::default();
        for round in 0..rounds {
            for (&load, peers) in &wanted {
                let others = peers
                    .iter()
                    .copied()
                    .filter(|peer| *peer != Peer::TokioEcho);
                let mut order: Vec<_> = others.collect();
                let turn = round as usize % order.len().max(1);
                order.rotate_left(turn);
                if !load.wants_a_fresh_server() {
                    order.insert(0, Peer::TokioEcho);
                    order.push(Peer::TokioEcho);
                }
                for peer in order {
                    let run = self
                        .run(load, peer)
                        .await
                        .map_err(|error| format!("{error:#}"));
                    let said = run.as_ref().map_or_else(Clone::clone, ToString::to_string);
                    eprintln!("compare: {}: {load}: {}: {said}", round + 1, peer.name());
                    measured.add(round, load, peer, run);
                }
            }
        }
        measured
    }

    async fn run(&mut self, load: Load, peer: Peer) -> anyhow::Result<Run> {
        let pace = self.pace;
        let fresh;
        let server = if load.wants_a_fresh_server() {
            let launch = Launch::of(peer, &self.places)?;
            let log = self.places.work.join(format!("{peer:?}-fresh.log"));
            if load == Load::Start {
                return start::run(&launch, &log).await;
            }
            fresh = Server::start(&launch, &log).await?;
            &fresh
        } else {
            self.server(peer).await?
        };
        let client = server.client(SERVED, peer.dialogue())?;
        // No figure counts of a server that does not do its work.
        client
            .open()
            .await
            .map_err(|fault| anyhow!("its first answer: {fault}"))?;
        let mut _beside = Vec::new();
        if peer == Peer::NativeBeside {
            let guests = server.client(triggers::BESIDE, Dialogue::Echo)?;
            _beside = idle::open(&guests, BESIDE / pace.fewer)
                .await
                .context("beside it")?;
        }
        match load {
            Load::Conns(slots) => conns::run(&client, server.pid, slots, &pace).await,
            Load::Rtt(streams) => rtt::run(&client, server.pid, streams, &pace).await,
            Load::Bulk(streams) => bulk::run(&client, server.pid, streams, &pace).await,
            Load::Idle(count) => idle::run(&client, server.pid, count, &pace).await,
            Load::Start => unreachable!("it has no client"),
        }
    }

    async fn server(&mut self, peer: Peer) -> anyhow::Result<&Server> {
        if !self.servers.contains_key(&peer) {
            let log = self.places.work.join(format!("{peer:?}.log"));
            let start = async { Server::start(&Launch::of(peer, &self.places)?, &log).await };
            let started = start.await.map_err(|error| format!("{error:#}"));
            self.servers.insert(peer, started);
        }
        self.servers[&peer]
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }
}

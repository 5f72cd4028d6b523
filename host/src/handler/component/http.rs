//! Components that are given HTTP requests. The host speaks HTTP/1.1 with keep-alive and HTTP/2 with
//! prior knowledge; a component of WASI 0.2 gets a fresh instance for each request, one of 0.3 a fresh
//! instance for each connection, which serves its requests side by side. Everything of a connection
//! runs in its one task and ends with it.

mod executor;
mod request;
mod response;
mod talk;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore, mpsc};
use wasmtime::Store;
use wasmtime::component::{Accessor, InstancePre};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p3::{self, bindings::ServicePre};

use super::bytes::finish;
use super::state::{Gift, Said, State, Stdio};
use super::{not_started, outcome};
use crate::connection::Connection;
use crate::engine::Metered as _;
use crate::handler::watch::{Time, watch};
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::preopen::env::Facts;
use crate::preopen::network::Outlet;
use crate::preopen::told::Told;
use crate::preopen::wire::Connected;
use crate::shutdown::Drain;
use request::Client;
use talk::{Exchange, REQUESTS, talk};

/// Where an instance is entered.
pub enum Entry {
    /// For one request.
    Request(ProxyPre<State>),
    /// For all requests of a connection.
    Connection(ServicePre<State>),
}

/// What one connection's instances have in common.
struct Served<'a> {
    id: u64,
    gift: &'a Gift,
    told: Told,
    /// One for all of them, so that many requests take no more than one.
    outlet: Outlet,
    said: Said,
    meter: &'a Arc<Meter>,
    /// Told when the connection is to take no further request.
    enough: &'a Notify,
    wire: &'a Connected,
}

impl Entry {
    pub fn request(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        ProxyPre::new(pre).map(Self::Request)
    }

    pub fn connection(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        ServicePre::new(pre).map(Self::Connection)
    }

    /// Serves all requests of one connection.
    pub async fn run(
        &self,
        gift: &Gift,
        connection: Connection,
        facts: Arc<Facts>,
        drain: &Drain,
    ) -> Outcome {
        let client = Client::of(&connection);
        let Connection {
            id,
            peer,
            stream,
            meter,
            permits,
            ..
        } = connection;
        let time = Time::of_guest(&gift.limits, &stream);
        let wire = Connected::new(stream, meter.clone());
        let (ask, asked) = mpsc::channel(1);
        let enough = Notify::new();
        let served = Served {
            id,
            gift,
            told: gift.told(facts, peer),
            outlet: gift.network.outlet(),
            said: gift.said(id),
            meter: &meter,
            enough: &enough,
            wire: &wire,
        };
        let both = async {
            let enough = async {
                tokio::select! {
                    () = drain.begun() => {}
                    () = enough.notified() => {}
                }
            };
            let talk = talk(wire.clone(), client, ask, gift.limits.idle, enough);
            let work = async {
                let worked = match self {
                    Self::Request(pre) => served.each(pre, asked).await,
                    Self::Connection(pre) => served.all(pre, asked).await,
                };
                // Nobody is there to serve another request.
                served.enough.notify_one();
                worked
            };
            let (talked, worked) = tokio::join!(talk, work);
            worked.unwrap_or(talked)
        };
        let outcome = tokio::select! {
            biased;
            outcome = both => outcome,
            outcome = watch(time, &meter, drain) => outcome,
        };
        // The socket is closed before the place is given back.
        drop(wire);
        drop(permits);
        outcome
    }
}

impl Served<'_> {
    fn store(&self, meter: &Arc<Meter>) -> Store<State> {
        let outlet = self.outlet.clone();
        self.gift
            .store(self.told.clone(), Stdio::Log, outlet, &self.said, meter)
    }

    /// Serves each request with an instance of its own. Gives the first failure.
    async fn each(
        &self,
        pre: &ProxyPre<State>,
        mut asked: mpsc::Receiver<Exchange>,
    ) -> Option<Outcome> {
        // One instance has its place in the pool by being this connection's; more take what is spare.
        let own = Semaphore::new(1);
        let mut running = FuturesUnordered::new();
        let mut failure = None;
        loop {
            tokio::select! {
                biased;
                Some(ended) = running.next(), if !running.is_empty() => {
                    failure = failure.or(failed(ended));
                }
                Some(asked) = asked.recv(), if running.len() < REQUESTS as usize => {
                    running.push(async {
                        let place = tokio::select! {
                            biased;
                            place = own.acquire() => place,
                            // Files are counted for one instance, and have to suffice for all.
                            place = self.gift.engine.spare(), if self.gift.dirs.files() == 0 => place,
                        };
                        let ended = self.one(pre, asked).await;
                        drop(place);
                        ended
                    });
                }
                else => return failure,
            }
        }
    }

    /// Serves one request with one fresh instance.
    async fn one(&self, pre: &ProxyPre<State>, asked: Exchange) -> Outcome {
        let meter = Arc::new(Meter::new(Instant::now()));
        let mut store = self.store(&meter);
        let failed = Arc::new(AtomicBool::new(false));
        let call = async {
            let proxy = pre.instantiate_async(&mut store).await;
            let proxy = proxy.map_err(not_started)?;
            let mut http = store.data_mut().http();
            let request = http.new_incoming_request(Scheme::Http, asked.request)?;
            let (answer, failed) = (asked.answer, failed.clone());
            let out = http.new_response_outparam_from_callback(move |given| {
                let given = given.ok().map(|given| response::unless(given, failed));
                // A client that has gone needs no answer.
                let _ = answer.send(given);
            })?;
            let handler = proxy.wasi_http_incoming_handler();
            handler.call_handle(&mut store, request, out).await?;
            Ok(0)
        };
        let ended = meter.run(pin!(call)).await;
        self.meter.add(&meter);
        let outcome = outcome(&ended, self.wire.hangup(), store.data_mut().budget());
        // Before the store is dropped, and with it what an unfinished body comes from.
        failed.store(outcome != Outcome::Done, Relaxed);
        if let Some(fault) = self.gift.fault(self.id, ended, &outcome) {
            Box::pin(fault.dump(store)).await.tell().await;
        }
        outcome
    }

    /// Serves all requests with one fresh instance, which is made for the first.
    async fn all(
        &self,
        pre: &ServicePre<State>,
        mut asked: mpsc::Receiver<Exchange>,
    ) -> Option<Outcome> {
        let first = asked.recv().await?;
        let mut store = self.store(self.meter);
        let broken = Arc::new(AtomicBool::new(false));
        // It has its time on the processor for all requests: past the half, the client is to go on with
        // a new connection.
        let half = self.gift.limits.cpu / 2;
        let call = async {
            let service = pre.instantiate_async(&mut store).await;
            let service = service.map_err(not_started)?;
            let serve = async |store: &Accessor<State>| {
                let answer = async |asked: Exchange| {
                    let Exchange { request, answer } = asked;
                    let (request, sent) = store.with(|mut store| {
                        let hooks = store.data_mut().http().hooks;
                        let (request, sent) = p3::Request::from_http(hooks, request);
                        let sent: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(sent);
                        (request, sent)
                    });
                    let given = match service.handle(store, request).await? {
                        Ok(given) => {
                            let given = store.with(|store| given.into_http(store, sent))?;
                            Some(response::unless(given, broken.clone()))
                        }
                        Err(_) => None,
                    };
                    let _ = answer.send(given);
                    wasmtime::error::Ok(())
                };
                let mut running = FuturesUnordered::new();
                running.push(answer(first));
                loop {
                    if self.meter.cpu() >= half {
                        self.enough.notify_one();
                    }
                    tokio::select! {
                        biased;
                        Some(ended) = running.next(), if !running.is_empty() => ended?,
                        Some(asked) = asked.recv(), if running.len() < REQUESTS as usize => {
                            running.push(answer(asked));
                        }
                        else => break,
                    }
                }
                finish(store).await;
                Ok(0)
            };
            store.run_concurrent(serve).await?
        };
        let ended = self.meter.run(pin!(call)).await;
        let budget = store.data_mut().budget();
        let outcome = outcome(&ended, self.wire.hangup(), budget);
        broken.store(outcome != Outcome::Done, Relaxed);
        if let Some(fault) = self.gift.fault(self.id, ended, &outcome) {
            Box::pin(fault.dump(store)).await.tell().await;
        }
        failed(outcome)
    }
}

fn failed(ended: Outcome) -> Option<Outcome> {
    (ended != Outcome::Done).then_some(ended)
}

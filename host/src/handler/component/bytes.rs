//! Components that are given the bytes of their connection: as a resource of our typed world, or as
//! stdin and stdout; on the streams of WASI 0.2 or of 0.3.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Accessor, InstancePre};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{WasiView as _, p3};

use super::state::{Gift, State, Stdio};
use super::{not_started, outcome};
use crate::connection::Connection;
use crate::engine::Metered as _;
use crate::handler::watch::{Time, watch};
use crate::outcome::Outcome;
use crate::preopen::bridge::streams::AsyncServicePre;
use crate::preopen::bridge::{Accepted, ServicePre};
use crate::preopen::env::Facts;
use crate::preopen::wire::Connected;
use crate::shutdown::Drain;

/// Where an instance is entered.
pub enum Entry {
    Handler(ServicePre<State>),
    AsyncHandler(AsyncServicePre<State>),
    Run2(CommandPre<State>),
    Run3(p3::bindings::CommandPre<State>),
}

impl Entry {
    pub fn handler(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        ServicePre::new(pre).map(Self::Handler)
    }

    pub fn async_handler(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        AsyncServicePre::new(pre).map(Self::AsyncHandler)
    }

    pub fn run2(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        CommandPre::new(pre).map(Self::Run2)
    }

    pub fn run3(pre: InstancePre<State>) -> wasmtime::Result<Self> {
        p3::bindings::CommandPre::new(pre).map(Self::Run3)
    }

    /// Serves one connection with one fresh instance.
    pub async fn run(
        &self,
        gift: &Gift,
        connection: Connection,
        facts: Arc<Facts>,
        drain: &Drain,
    ) -> Outcome {
        let Connection {
            id,
            peer,
            local,
            stream,
            meter,
            permits,
            ..
        } = connection;
        let time = Time::of_guest(&gift.limits, &stream);
        let wire = Connected::new(stream, meter.clone());
        let stdio = match self {
            Self::Run2(_) | Self::Run3(_) => Stdio::Connection(wire.clone()),
            Self::Handler(_) | Self::AsyncHandler(_) => Stdio::Log,
        };
        let accepted = Accepted::new(wire.clone(), peer, local, gift.trigger.clone());
        let said = gift.said(id);
        let mut store = gift.store(
            gift.told(facts, peer),
            stdio,
            gift.network.outlet(),
            &said,
            &meter,
        );
        let ended = {
            let served = pin!(async {
                let ended = self.call(&mut store, accepted).await;
                wire.finish().await;
                ended.map(|result| i32::from(result.is_err()))
            });
            let served = pin!(wire.sending(served));
            tokio::select! {
                biased;
                ended = meter.run(served) => Ok(ended),
                outcome = watch(time, &meter, drain) => Err(outcome),
            }
        };
        let (outcome, fault) = match ended {
            Ok(ended) => {
                let outcome = outcome(&ended, wire.hangup(), store.data_mut().budget());
                let fault = gift.fault(id, ended, &outcome);
                (outcome, fault)
            }
            Err(outcome) => (outcome, None),
        };
        // The socket is closed and the slot of the instance free before the place is given back.
        drop(wire);
        let Some(fault) = fault else {
            drop(store);
            drop(permits);
            return outcome;
        };
        let fault = Box::pin(fault.dump(store)).await;
        drop(permits);
        Box::pin(fault.tell()).await;
        outcome
    }

    async fn call(
        &self,
        store: &mut Store<State>,
        accepted: Accepted,
    ) -> wasmtime::Result<Result<(), ()>> {
        // Boxed is what is large: instantiation, which is soon over while the call that follows may
        // wait for hours, and what only WASI 0.3 needs.
        match self {
            Self::Run2(pre) => {
                let command = Box::pin(pre.instantiate_async(&mut *store)).await;
                let command = command.map_err(not_started)?;
                command.wasi_cli_run().call_run(store).await
            }
            Self::Handler(pre) => {
                let service = Box::pin(pre.instantiate_async(&mut *store)).await;
                let service = service.map_err(not_started)?;
                let connection = store.data_mut().ctx().table.push(accepted)?;
                let handler = service.portcullis_bridge_handler();
                handler.call_handle(store, connection).await
            }
            Self::Run3(pre) => {
                let command = Box::pin(pre.instantiate_async(&mut *store)).await;
                let command = command.map_err(not_started)?;
                let run = async |store: &Accessor<State>| {
                    let ended = command.wasi_cli_run().call_run(store).await?;
                    finish(store).await;
                    Ok(ended)
                };
                Box::pin(store.run_concurrent(run)).await?
            }
            Self::AsyncHandler(pre) => {
                let service = Box::pin(pre.instantiate_async(&mut *store)).await;
                let service = service.map_err(not_started)?;
                let connection = store.data_mut().ctx().table.push(accepted)?;
                let handler = service.portcullis_bridge_async_handler();
                let run = async |store: &Accessor<State>| {
                    let ended = handler.call_handle(store, connection).await?;
                    finish(store).await;
                    Ok(ended)
                };
                Box::pin(store.run_concurrent(run)).await?
            }
        }
    }
}

/// Waits for what a guest goes on with after it has returned.
pub(super) async fn finish(store: &Accessor<State>) {
    poll_fn(|cx| store.poll_no_interesting_tasks(cx)).await;
}

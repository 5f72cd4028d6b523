//! The sockets of WASI 0.3: the bytes of a connection are streams that outlive the socket they are of, so
//! they hold its place, too.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use wasmtime::component::{
    Access, FutureConsumer, FutureReader, Linker, Resource, Source, StreamReader,
};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::p3::bindings::sockets::types::{
    ErrorCode, HostTcpSocket, HostTcpSocketWithStore as _, HostUdpSocket, IpAddressFamily,
};
use wasmtime_wasi::sockets::{TcpSocket, UdpSocket, WasiSockets, WasiSocketsView as _};

use super::sockets::{Networked, hold, place, release};

/// The interface of WASI 0.3, as wasmtime-wasi defines it.
const TYPES: &str = "wasi:sockets/types@0.3.0";

/// Counts the sockets of components of WASI 0.3.
///
/// # Errors
/// When `linker` does not take it.
pub fn count_sockets_3<T: Networked>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    /// What is said in place of an error that 0.3 has no word for.
    fn limit() -> ErrorCode {
        ErrorCode::Other(Some("as many sockets are open as may be".to_owned()))
    }
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[static]tcp-socket.create",
        |mut store, (family,): (IpAddressFamily,)| {
            let state = store.data_mut();
            let Some(place) = place(state) else {
                return Ok((Err(limit()),));
            };
            let made = HostTcpSocket::create(&mut state.sockets(), family);
            Ok((hold(state, made, place)?,))
        },
    )?;
    types.func_wrap_async(
        "[static]udp-socket.create",
        |mut store, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                let state = store.data_mut();
                let Some(place) = place(state) else {
                    return Ok((Err(limit()),));
                };
                let made = HostUdpSocket::create(&mut state.sockets(), family).await;
                Ok((hold(state, made, place)?,))
            })
        },
    )?;
    types.func_wrap(
        "[method]tcp-socket.receive",
        |mut store, (socket,): (Resource<TcpSocket>,)| {
            let place = store.data_mut().held().get(socket.rep());
            let access = Access::<T, WasiSockets>::new(store.as_context_mut(), T::sockets);
            let (bytes, ended): (StreamReader<u8>, _) = WasiSockets::receive(access, socket)?;
            Ok(((bytes, kept(store, ended, place)?),))
        },
    )?;
    types.func_wrap(
        "[method]tcp-socket.send",
        |mut store, (socket, bytes): (Resource<TcpSocket>, StreamReader<u8>)| {
            let place = store.data_mut().held().get(socket.rep());
            let access = Access::<T, WasiSockets>::new(store.as_context_mut(), T::sockets);
            let ended = WasiSockets::send(access, socket, bytes)?;
            Ok((kept(store, ended, place)?,))
        },
    )?;
    release::<T, TcpSocket>(&mut types, "tcp-socket")?;
    release::<T, UdpSocket>(&mut types, "udp-socket")?;
    linker.allow_shadowing(false);
    Ok(())
}

/// How the bytes of a direction ended.
type Ended = Result<(), ErrorCode>;

/// The same future, but until it is decided the socket has its `place`: wasmtime-wasi decides it when
/// it lets go of the socket.
fn kept<T: 'static>(
    mut store: StoreContextMut<'_, T>,
    ended: FutureReader<Ended>,
    place: Option<Arc<OwnedSemaphorePermit>>,
) -> wasmtime::Result<FutureReader<Ended>> {
    let Some(place) = place else {
        return Ok(ended);
    };
    let (tell, told) = oneshot::channel();
    let keeper = Keeper(Some((tell, place)));
    ended.pipe(&mut store, keeper)?;
    FutureReader::new(&mut store, told)
}

struct Keeper(Option<(oneshot::Sender<Ended>, Arc<OwnedSemaphorePermit>)>);

impl<T> FutureConsumer<T> for Keeper {
    type Item = Ended;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, T>,
        mut source: Source<'_, Ended>,
        _: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut ended = None;
        source.read(store, &mut ended)?;
        if let (Some(ended), Some((tell, _))) = (ended, self.0.take()) {
            // A guest that does not ask is not told.
            let _ = tell.send(ended);
        }
        Poll::Ready(Ok(()))
    }
}

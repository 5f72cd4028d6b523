//! The sockets that guests make themselves, counted: each takes one of its connection's places, and gives it
//! back when the last that is left of it is closed. What they may be used for is asked of `reach` by
//! wasmtime-wasi; a guest without a network is refused before anything is made. This is the half that
//! both WASIs share, and that of 0.2; the other is in `streams`.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket::Host as _;
use wasmtime_wasi::p2::{TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsView as _;
use wasmtime_wasi::{TrappableError, WasiView};

use super::Outlet;

/// The interfaces of WASI 0.2, as wasmtime-wasi defines them; a component may import an older or a newer
/// patch of them.
const TCP: &str = "wasi:sockets/tcp@0.2.12";
const TCP_CREATE: &str = "wasi:sockets/tcp-create-socket@0.2.12";
const UDP: &str = "wasi:sockets/udp@0.2.12";
const UDP_CREATE: &str = "wasi:sockets/udp-create-socket@0.2.12";

/// A state whose instance may have a way out.
pub trait Networked: WasiView + 'static {
    /// That way.
    fn outlet(&self) -> &Outlet;

    /// The places of the sockets in its table.
    fn held(&mut self) -> &mut Held;
}

/// The places that sockets have, by their numbers in the table of their instance.
#[derive(Debug, Default)]
pub struct Held(HashMap<u32, Arc<OwnedSemaphorePermit>>);

impl Held {
    /// The place of this socket.
    pub(super) fn get(&self, rep: u32) -> Option<Arc<OwnedSemaphorePermit>> {
        self.0.get(&rep).cloned()
    }
}

/// A place for a socket that is about to be made. A guest without a network needs none: it is told so, and
/// nothing is made.
pub(super) struct Place(Option<OwnedSemaphorePermit>);

/// One that is free; `None`: as many sockets are open as may be.
pub(super) fn place<T: Networked>(state: &T) -> Option<Place> {
    let outlet = state.outlet();
    let place = outlet.socket();
    (place.is_some() || outlet.0.is_none()).then_some(Place(place))
}

/// Has the socket hold its `place`, if it was made.
pub(super) fn hold<T: Networked, S: 'static, E: Error + Send + Sync + 'static>(
    state: &mut T,
    made: Result<Resource<S>, TrappableError<E>>,
    place: Place,
) -> wasmtime::Result<Result<Resource<S>, E>> {
    match made {
        Ok(socket) => {
            if let Place(Some(place)) = place {
                state.held().0.insert(socket.rep(), Arc::new(place));
            }
            Ok(Ok(socket))
        }
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// Has the sockets of one kind give their places back when they are dropped.
pub(super) fn release<T: Networked, S: 'static>(
    linker: &mut LinkerInstance<'_, T>,
    kind: &str,
) -> wasmtime::Result<()> {
    linker.resource(kind, ResourceType::host::<S>(), |mut store, rep| {
        let state = store.data_mut();
        state.ctx().table.delete(Resource::<S>::new_own(rep))?;
        state.held().0.remove(&rep);
        Ok(())
    })
}

/// Counts the sockets of components of WASI 0.2.
///
/// # Errors
/// When `linker` does not take it.
pub fn count_sockets<T: Networked>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(TCP_CREATE)?.func_wrap(
        "create-tcp-socket",
        |mut store, (family,): (IpAddressFamily,)| {
            let state = store.data_mut();
            let Some(place) = place(state) else {
                return Ok((Err(ErrorCode::NewSocketLimit),));
            };
            let made = state.sockets().create_tcp_socket(family);
            Ok((hold(state, made, place)?,))
        },
    )?;
    linker.instance(UDP_CREATE)?.func_wrap_async(
        "create-udp-socket",
        |mut store, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                let state = store.data_mut();
                let Some(place) = place(state) else {
                    return Ok((Err(ErrorCode::NewSocketLimit),));
                };
                let made = state.sockets().create_udp_socket(family).await;
                Ok((hold(state, made, place)?,))
            })
        },
    )?;
    release::<T, TcpSocket>(&mut linker.instance(TCP)?, "tcp-socket")?;
    release::<T, UdpSocket>(&mut linker.instance(UDP)?, "udp-socket")?;
    linker.allow_shadowing(false);
    Ok(())
}

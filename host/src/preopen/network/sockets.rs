//! The sockets that guests make themselves, counted: each takes one of its connection's places, and gives it
//! back when the last that is left of it is closed. What they may be used for is asked of `reach` by
//! wasmtime-wasi; a guest without a network is refused before anything is made. This is the half that
//! both WASIs share, and that of 0.2; the other is in `streams`.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
use wasmtime_wasi::p2::bindings::sockets::udp::HostUdpSocket;
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket::Host as _;
use wasmtime_wasi::p2::{TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::WasiSocketsView as _;

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

    /// Gives it back.
    pub(super) fn release(&mut self, rep: u32) {
        self.0.remove(&rep);
    }
}

/// A place to be held when the socket is made.
pub(super) enum Place {
    /// This one.
    Free(OwnedSemaphorePermit),
    /// None: the guest has no network, and is told so.
    Unneeded,
    /// None is left.
    Taken,
}

pub(super) fn place<T: Networked>(state: &T) -> Place {
    let outlet = state.outlet();
    match outlet.socket() {
        Some(place) => Place::Free(place),
        None if outlet.0.is_none() => Place::Unneeded,
        None => Place::Taken,
    }
}

pub(super) fn hold<T: Networked>(state: &mut T, rep: u32, place: Place) {
    if let Place::Free(place) = place {
        state.held().0.insert(rep, Arc::new(place));
    }
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
            let place = place(state);
            if let Place::Taken = place {
                return Ok((Err(ErrorCode::NewSocketLimit),));
            }
            match state.sockets().create_tcp_socket(family) {
                Ok(socket) => {
                    hold(state, socket.rep(), place);
                    Ok((Ok(socket),))
                }
                Err(error) => Ok((Err(error.downcast()?),)),
            }
        },
    )?;
    linker.instance(UDP_CREATE)?.func_wrap_async(
        "create-udp-socket",
        |mut store, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                let state = store.data_mut();
                let place = place(state);
                if let Place::Taken = place {
                    return Ok((Err(ErrorCode::NewSocketLimit),));
                }
                match state.sockets().create_udp_socket(family).await {
                    Ok(socket) => {
                        hold(state, socket.rep(), place);
                        Ok((Ok(socket),))
                    }
                    Err(error) => Ok((Err(error.downcast()?),)),
                }
            })
        },
    )?;
    let mut tcp = linker.instance(TCP)?;
    let kind = ResourceType::host::<TcpSocket>();
    tcp.resource("tcp-socket", kind, |mut store, rep| {
        let state = store.data_mut();
        let socket = Resource::<TcpSocket>::new_own(rep);
        HostTcpSocket::drop(&mut state.sockets(), socket)?;
        state.held().release(rep);
        Ok(())
    })?;
    let mut udp = linker.instance(UDP)?;
    let kind = ResourceType::host::<UdpSocket>();
    udp.resource("udp-socket", kind, |mut store, rep| {
        let state = store.data_mut();
        let socket = Resource::<UdpSocket>::new_own(rep);
        HostUdpSocket::drop(&mut state.sockets(), socket)?;
        state.held().release(rep);
        Ok(())
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

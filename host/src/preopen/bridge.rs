//! The connection as a typed component finds it: a resource of `wit/bridge.wit`, with its bytes and
//! with who is at its ends. It reaches nothing else. This is the half that both of its clothes share,
//! and the clothes of WASI 0.2; those of 0.3 are in `streams`.

pub mod streams;

use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::cli::{StdinStream, StdoutStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::wire::Connected;
use crate::connection::{Local, Peer, Shutdown};
use bindings::portcullis::bridge::connection::{Direction, Host, HostConnection};
use bindings::portcullis::bridge::endpoints::{
    Credentials, Inet6Endpoint, InetEndpoint, LocalEndpoint, PeerEndpoint, UnixName,
};

pub use bindings::ServicePre;

#[expect(missing_docs, reason = "generated; documented in wit/bridge.wit")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "portcullis:bridge/service",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "portcullis:bridge/connection.connection": super::Accepted,
        },
    });
}

/// What is behind the resource.
#[derive(Clone, Debug)]
pub struct Accepted {
    wire: Connected,
    peer: Peer,
    local: Arc<Local>,
    trigger: Arc<str>,
    /// Whether a stream is being sent, in the clothes of WASI 0.3.
    sends: bool,
}

impl Accepted {
    /// That of a connection from `peer`, which arrived at `local` for `trigger`.
    pub fn new(wire: Connected, peer: Peer, local: Arc<Local>, trigger: Arc<str>) -> Self {
        Self {
            wire,
            peer,
            local,
            trigger,
            sends: false,
        }
    }

    fn peer(&self) -> PeerEndpoint {
        match self.peer {
            Peer::Inet(SocketAddr::V4(address)) => PeerEndpoint::Inet(address.into()),
            Peer::Inet(SocketAddr::V6(address)) => PeerEndpoint::Inet6(address.into()),
            Peer::Unix { uid, gid, pid } => PeerEndpoint::Unix(Credentials {
                uid,
                gid,
                pid: pid.and_then(|pid| pid.try_into().ok()),
            }),
        }
    }

    fn local(&self) -> LocalEndpoint {
        match &*self.local {
            Local::Inet(SocketAddr::V4(address)) => LocalEndpoint::Inet((*address).into()),
            Local::Inet(SocketAddr::V6(address)) => LocalEndpoint::Inet6((*address).into()),
            Local::Unix(path) => {
                LocalEndpoint::Unix(UnixName::Path(path.as_os_str().as_bytes().to_vec()))
            }
            Local::Abstract(name) => LocalEndpoint::Unix(UnixName::Abstract(name.clone())),
            Local::Unnamed => LocalEndpoint::Unix(UnixName::Unnamed),
        }
    }
}

impl From<SocketAddrV4> for InetEndpoint {
    fn from(address: SocketAddrV4) -> Self {
        Self {
            address: address.ip().octets().into(),
            port: address.port(),
        }
    }
}

impl From<SocketAddrV6> for Inet6Endpoint {
    fn from(address: SocketAddrV6) -> Self {
        Self {
            address: address.ip().segments().into(),
            port: address.port(),
            scope_id: address.scope_id(),
        }
    }
}

/// How a store gives its table to the functions of the resource.
struct Bridge;

impl HasData for Bridge {
    type Data<'a> = &'a mut ResourceTable;
}

fn table<T: WasiView>(state: &mut T) -> &mut ResourceTable {
    state.ctx().table
}

/// Defines the connection in the clothes of WASI 0.2.
///
/// # Errors
/// When `linker` has it already.
pub fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    bindings::portcullis::bridge::connection::add_to_linker::<T, Bridge>(linker, table)?;
    bindings::portcullis::bridge::endpoints::add_to_linker::<T, Bridge>(linker, table)
}

impl bindings::portcullis::bridge::endpoints::Host for ResourceTable {}
impl Host for ResourceTable {}

impl HostConnection for ResourceTable {
    fn input(
        &mut self,
        connection: Resource<Accepted>,
    ) -> wasmtime::Result<Resource<DynInputStream>> {
        let input = StdinStream::p2_stream(&self.get(&connection)?.wire);
        Ok(self.push(input)?)
    }

    fn output(
        &mut self,
        connection: Resource<Accepted>,
    ) -> wasmtime::Result<Resource<DynOutputStream>> {
        let output = StdoutStream::p2_stream(&self.get(&connection)?.wire);
        Ok(self.push(output)?)
    }

    fn shutdown(
        &mut self,
        connection: Resource<Accepted>,
        direction: Direction,
    ) -> wasmtime::Result<()> {
        let how = match direction {
            Direction::Receive => Shutdown::Read,
            Direction::Send => Shutdown::Write,
            Direction::Both => Shutdown::Both,
        };
        self.get(&connection)?.wire.end(how);
        Ok(())
    }

    fn peer(&mut self, connection: Resource<Accepted>) -> wasmtime::Result<PeerEndpoint> {
        Ok(self.get(&connection)?.peer())
    }

    fn local(&mut self, connection: Resource<Accepted>) -> wasmtime::Result<LocalEndpoint> {
        Ok(self.get(&connection)?.local())
    }

    fn trigger(&mut self, connection: Resource<Accepted>) -> wasmtime::Result<String> {
        Ok(self.get(&connection)?.trigger.to_string())
    }

    fn drop(&mut self, connection: Resource<Accepted>) -> wasmtime::Result<()> {
        self.delete(connection)?;
        Ok(())
    }
}

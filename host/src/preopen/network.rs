//! What a guest may reach of the network: nothing but what its trigger allows. Names are looked up once,
//! when the guest is loaded; its sockets are held to the addresses that are allowed, and its requests
//! are sent by the host.

mod body;
mod exchange;
mod lookup;
mod outbound;
mod pins;
mod reach;
mod sockets;
mod streams;
mod tls;

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsConnector;
use wasmtime_wasi::WasiCtxBuilder;

use crate::plan::{self, Transport};
use reach::Reach;

pub use lookup::{answer_lookups, answer_lookups_3};
pub use outbound::Outbound;
pub use sockets::{Held, Networked, count_sockets};
pub use streams::count_sockets_3;

/// Sockets that the guests of one connection may have open at once, those of their requests included.
/// Each is a descriptor of the host, too.
pub const SOCKETS: u32 = 16;

/// What the guests of one trigger may reach.
#[derive(Clone)]
pub struct Network(Option<Arc<Open>>);

/// A network that is not empty.
struct Open {
    reach: Arc<Reach>,
    tls: Option<TlsConnector>,
}

/// What the guests of one connection may reach, and the sockets they may have for it between them.
#[derive(Clone)]
pub struct Outlet(Option<Way>);

#[derive(Clone)]
struct Way {
    open: Arc<Open>,
    sockets: Arc<Semaphore>,
}

impl Network {
    /// Looks up every name that is allowed, and reads the certificates of the system if a request may
    /// have to be encrypted.
    ///
    /// # Errors
    /// When a name leads nowhere, or where it may not; or when there are no certificates.
    pub fn open(network: &plan::Network) -> anyhow::Result<Self> {
        if network.is_empty() {
            return Ok(Self(None));
        }
        let reach = Reach::of(network, pins::look_up)?;
        let tls = reach.has_tls().then(tls::connector).transpose()?;
        Ok(Self(Some(Arc::new(Open {
            reach: Arc::new(reach),
            tls,
        }))))
    }

    /// Descriptors of the host that the guests of one connection may open for it; none without.
    pub fn files(&self) -> u32 {
        if self.0.is_some() { SOCKETS } else { 0 }
    }

    /// A way out for the guests of one connection.
    pub fn outlet(&self) -> Outlet {
        Outlet(self.0.clone().map(|open| Way {
            open,
            sockets: Arc::new(Semaphore::new(SOCKETS as usize)),
        }))
    }
}

impl Outlet {
    /// Lets `context` make the sockets that are of use, and hold them to what is allowed. Names it never
    /// looks up: see `lookup`.
    pub fn give(&self, context: &mut WasiCtxBuilder) {
        let has = |transport| {
            let way = self.0.as_ref();
            way.is_some_and(|way| way.open.reach.has_sockets(transport))
        };
        context
            .allow_tcp(has(Transport::Tcp))
            .allow_udp(has(Transport::Udp))
            .allow_ip_name_lookup(false);
        if let Some(way) = &self.0 {
            let reach = way.open.reach.clone();
            context.socket_addr_check(move |address, to| {
                let permitted = reach.permits(address, to);
                Box::pin(async move { permitted })
            });
        }
    }

    /// A place for one more socket; `None`: there are as many as there may be.
    fn socket(&self) -> Option<OwnedSemaphorePermit> {
        let way = self.0.as_ref()?;
        way.sockets.clone().try_acquire_owned().ok()
    }
}

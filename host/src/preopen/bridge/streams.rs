//! The connection in the clothes of WASI 0.3: its bytes are `stream<u8>`s, read from the socket straight
//! into the guest's memory and written from it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::sync::oneshot;
use wasmtime::component::{
    Access, Destination, FutureReader, Linker, Resource, ResourceTable, Source, StreamConsumer,
    StreamProducer, StreamReader, StreamResult,
};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::WasiView;

use super::bindings::portcullis::bridge::endpoints::{LocalEndpoint, PeerEndpoint};
use super::{Accepted, Bridge, table};
use crate::connection::Shutdown;
use crate::preopen::wire::Connected;
use bindings::portcullis::bridge::async_connection::{
    self, ErrorCode, Host, HostConnection, HostConnectionWithStore,
};

pub use bindings::AsyncServicePre;

#[expect(missing_docs, reason = "generated; documented in wit/bridge.wit")]
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "portcullis:bridge/async-service",
        imports: {
            "portcullis:bridge/async-connection.[method]connection.receive": store | trappable,
            "portcullis:bridge/async-connection.[method]connection.send": store | trappable,
            default: trappable,
        },
        exports: { default: async | store },
        with: {
            "portcullis:bridge/endpoints": crate::preopen::bridge::bindings::portcullis::bridge::endpoints,
            "portcullis:bridge/async-connection.connection": crate::preopen::bridge::Accepted,
        },
    });
}

/// Bytes that are read at once by a reader that does not say how many it wants.
const CHUNK: usize = 64 * 1024;

/// How a direction ended.
type Ended = Result<(), ErrorCode>;

/// Defines the connection in the clothes of WASI 0.3.
///
/// # Errors
/// When `linker` has it already.
pub fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    async_connection::add_to_linker::<T, Bridge>(linker, table)
}

impl Host for ResourceTable {}

impl<T: Send> HostConnectionWithStore<T> for Bridge {
    fn receive(
        mut store: Access<'_, T, Self>,
        connection: Resource<Accepted>,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Ended>)> {
        let wire = store.get().get(&connection)?.wire.clone();
        let (ended, when) = oneshot::channel();
        let from = From {
            wire,
            ended: Some(ended),
        };
        let bytes = StreamReader::new(&mut store, from)?;
        Ok((bytes, FutureReader::new(&mut store, when)?))
    }

    fn send(
        mut store: Access<'_, T, Self>,
        connection: Resource<Accepted>,
        mut data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<Ended>> {
        let accepted = store.get().get_mut(&connection)?;
        if std::mem::replace(&mut accepted.sends, true) {
            data.close(&mut store)?;
            let refused = async { wasmtime::error::Ok(Err(ErrorCode::Io)) };
            return FutureReader::new(&mut store, refused);
        }
        let wire = accepted.wire.clone();
        let (ended, when) = oneshot::channel();
        let to = To {
            wire,
            ended: Some(ended),
        };
        data.pipe(&mut store, to)?;
        FutureReader::new(&mut store, when)
    }
}

impl HostConnection for ResourceTable {
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

/// The bytes from the client.
struct From {
    wire: Connected,
    ended: Option<oneshot::Sender<Ended>>,
}

/// The bytes to the client.
struct To {
    wire: Connected,
    ended: Option<oneshot::Sender<Ended>>,
}

/// What an error of the socket is to the guest.
fn code(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ErrorCode::Reset,
        _ => ErrorCode::Io,
    }
}

/// What a call says that would have to wait: nothing when the guest has called it off.
fn waiting(finish: bool) -> Poll<wasmtime::Result<StreamResult>> {
    if finish {
        Poll::Ready(Ok(StreamResult::Cancelled))
    } else {
        Poll::Pending
    }
}

impl From {
    fn end(&mut self, how: Ended) -> Poll<wasmtime::Result<StreamResult>> {
        if let Some(ended) = self.ended.take() {
            // Nobody has to ask how it ended.
            let _ = ended.send(how);
        }
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl Drop for From {
    fn drop(&mut self) {
        let _ = self.end(Ok(()));
    }
}

impl<D> StreamProducer<D> for From {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        into: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // To read nothing is to wait until there is something.
        if into.remaining(store.as_context_mut()) == Some(0) {
            return match self.wire.poll_readable(cx) {
                Poll::Ready(_) => Poll::Ready(Ok(StreamResult::Completed)),
                Poll::Pending => waiting(finish),
            };
        }
        let mut into = into.as_direct(store, CHUNK);
        let mut buffer = ReadBuf::new(into.remaining());
        match Pin::new(&mut self.wire).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => match buffer.filled().len() {
                0 => self.end(Ok(())),
                count => {
                    into.mark_written(count);
                    Poll::Ready(Ok(StreamResult::Completed))
                }
            },
            Poll::Ready(Err(error)) => self.end(Err(code(&error))),
            Poll::Pending => waiting(finish),
        }
    }
}

impl To {
    fn end(&mut self, how: Ended) -> Poll<wasmtime::Result<StreamResult>> {
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(how);
            self.wire.end(Shutdown::Write);
        }
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl Drop for To {
    fn drop(&mut self) {
        let _ = self.end(Ok(()));
    }
}

impl<D> StreamConsumer<D> for To {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        from: Source<'_, u8>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut from = from.as_direct(store);
        // To write nothing is to wait until there is room.
        if from.remaining().is_empty() {
            return match self.wire.poll_writable(cx) {
                Poll::Ready(_) => Poll::Ready(Ok(StreamResult::Completed)),
                Poll::Pending => waiting(finish),
            };
        }
        match Pin::new(&mut self.wire).poll_write(cx, from.remaining()) {
            Poll::Ready(Ok(count)) => {
                from.mark_read(count);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(Err(error)) => self.end(Err(code(&error))),
            Poll::Pending => waiting(finish),
        }
    }
}

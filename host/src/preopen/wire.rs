//! The connection as a component reads and writes it: as stdin and stdout, and as the streams of the
//! typed world. The stock streams of wasmtime-wasi start a task each and copy through a channel;
//! these read and write the socket where they are called.

mod handles;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, StreamError, StreamResult};

use crate::connection::{Shutdown, Stream};
use crate::meter::Meter;
use crate::outcome::Way;
use handles::{Input, Output};

/// Bytes that are read at once, whatever the guest asks for; and that are taken to be written
/// while the client is slow to read.
const CHUNK: usize = 64 * 1024;

thread_local! {
    /// Where bytes come in: a guest that asks for many and gets few takes no more memory than these.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; CHUNK].into());
}

/// The connection of one component instance, shared by all its handles of it.
#[derive(Clone, Debug)]
pub struct Connected(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    wire: Mutex<Wire>,
    meter: Arc<Meter>,
    hangup: AtomicBool,
}

#[derive(Debug)]
struct Wire {
    stream: Stream,
    /// Taken from the guest and not yet by the kernel: at most one chunk.
    unsent: Bytes,
    /// Why what was taken could not be sent: told by the next call that writes.
    write_error: Option<io::Error>,
    /// Whether the guest wants to read no more.
    deaf: bool,
    sending: Sending,
}

/// The direction to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    /// The guest has written all: it ends when that is sent.
    Ending,
    Ended,
}

impl Connected {
    /// That of `stream`, counted by `meter`.
    pub fn new(stream: Stream, meter: Arc<Meter>) -> Self {
        let wire = Mutex::new(Wire {
            stream,
            unsent: Bytes::new(),
            write_error: None,
            deaf: false,
            sending: Sending::Open,
        });
        Self(Arc::new(Shared {
            wire,
            meter,
            hangup: AtomicBool::new(false),
        }))
    }

    /// Whether the client was seen to go away.
    pub fn hangup(&self) -> bool {
        self.0.hangup.load(Relaxed)
    }

    /// Waits until what the guest has written is sent; then the client is told that it is all.
    pub async fn finish(&self) {
        self.end(Shutdown::Write);
        poll_fn(|cx| self.poll_unsent(cx)).await;
    }

    /// Ends one direction or both; what was written before is sent first.
    pub fn end(&self, how: Shutdown) {
        let mut wire = self.wire();
        if how != Shutdown::Write && !wire.deaf {
            wire.deaf = true;
            // A client that has gone needs no telling, here and below.
            let _ = wire.stream.shutdown(Shutdown::Read);
        }
        if how != Shutdown::Read && wire.sending == Sending::Open {
            wire.sending = Sending::Ending;
        }
        drop(wire);
        let _ = self.poll_unsent(&mut Context::from_waker(Waker::noop()));
    }

    /// Waits until a read would not wait.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.wire();
        if wire.deaf {
            return Poll::Ready(Ok(()));
        }
        if self.0.meter.room(Way::Rx, 1) == 0 {
            return self.poll_end(&wire.stream, cx).map_ok(drop);
        }
        wire.stream.poll_readable(cx).map_ok(drop)
    }

    /// Waits until a write would not wait.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx));
        self.wire().stream.poll_writable(cx)
    }

    /// Runs `work`, and sends what the guest has written whenever it waits, for whatever it waits:
    /// the guest may be waiting for the answer to that.
    pub async fn sending<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        poll_fn(|cx| {
            let polled = work.as_mut().poll(cx);
            if polled.is_pending() {
                let _ = self.poll_unsent(cx);
            }
            polled
        })
        .await
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.0.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the client has gone.
    fn lost(&self) {
        self.0.hangup.store(true, Relaxed);
    }

    fn failed(&self, error: io::Error) -> StreamError {
        self.lost();
        // A reset is not told as closed: to a reader that would be the end of input, and a client that
        // broke off is not one that has finished.
        match error.kind() {
            io::ErrorKind::BrokenPipe => StreamError::Closed,
            _ => StreamError::LastOperationFailed(error.into()),
        }
    }

    fn poll_read(&self, cx: &mut Context<'_>, size: usize) -> Poll<io::Result<Bytes>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let into = &mut scratch[..size.min(CHUNK)];
            let count = ready!(self.poll_receive(cx, into))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(&into[..count])))
        })
    }

    /// Reads what is at hand, as far as there is room for it; waits until there is any.
    fn poll_receive(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let wire = self.wire();
        if wire.deaf || into.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = self.0.meter.room(Way::Rx, into.len());
        if room == 0 {
            return self.poll_end(&wire.stream, cx);
        }
        let polled = wire.stream.poll_receive(cx, &mut into[..room], false);
        if let Poll::Ready(Ok(count)) = &polled {
            self.0.meter.received(*count);
        }
        polled
    }

    /// Waits for the end of input, which is all that may come.
    fn poll_end(&self, stream: &Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let more = ready!(stream.poll_receive(cx, &mut [0], true))?;
        if more > 0 {
            self.0.meter.exceed(Way::Rx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(0))
    }

    /// Writes what there is room for, as far as it may be sent; waits until there is any.
    fn poll_send(
        &self,
        stream: &Stream,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = self.0.meter.room(Way::Tx, from.len());
        if room == 0 && !from.is_empty() {
            self.0.meter.exceed(Way::Tx);
            return Poll::Pending;
        }
        let polled = stream.poll_send(cx, &[io::IoSlice::new(&from[..room])]);
        if let Poll::Ready(Ok(count)) = &polled {
            self.0.meter.sent(*count);
        }
        polled
    }

    /// Sends what is left; ready when nothing is, or nothing more can be sent.
    fn poll_unsent(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut wire = self.wire();
        let Wire {
            stream,
            unsent,
            write_error,
            sending,
            ..
        } = &mut *wire;
        while !unsent.is_empty() {
            match ready!(self.poll_send(stream, cx, unsent)) {
                Ok(count) => unsent.advance(count),
                Err(error) => {
                    self.lost();
                    unsent.clear();
                    *write_error = Some(error);
                    *sending = Sending::Ended;
                }
            }
        }
        if *sending == Sending::Ending {
            *sending = Sending::Ended;
            let _ = stream.shutdown(Shutdown::Write);
        }
        Poll::Ready(())
    }

    /// The error of what was written before, once; after it, and after the end, that no more is sent.
    fn told(&self) -> StreamResult<()> {
        let mut wire = self.wire();
        match (wire.write_error.take(), wire.sending) {
            (Some(error), _) => Err(self.failed(error)),
            (None, Sending::Open) => Ok(()),
            (None, Sending::Ending | Sending::Ended) => Err(StreamError::Closed),
        }
    }
}

impl IsTerminal for Connected {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Connected {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Input(self.clone()))
    }
}

impl StdoutStream for Connected {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Output(self.clone()))
    }
}

impl AsyncRead for Connected {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.poll_receive(cx, into.initialize_unfilled());
        if let Poll::Ready(Err(_)) = polled {
            self.lost();
        }
        polled.map_ok(|count| into.advance(count))
    }
}

impl AsyncWrite for Connected {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx));
        let wire = self.wire();
        if wire.sending != Sending::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let polled = self.poll_send(&wire.stream, cx, from);
        if let Poll::Ready(Err(_)) = polled {
            self.lost();
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unsent(cx).map(Ok)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end(Shutdown::Write);
        self.poll_unsent(cx).map(Ok)
    }
}

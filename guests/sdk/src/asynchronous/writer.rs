//! The bytes to the client: a `stream<u8>` that the host reads, and a future that says whether all was sent.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::AsyncWrite;
use wit_bindgen::{FutureReader, StreamWriter};

use super::{broken, spawn, wit};
use crate::bindings::asynchronous::wit_stream;

/// How many bytes one `poll_write` takes over at most. They are on their way when it returns, and the next ones wait for them.
const CHUNK: usize = 64 * 1024;

/// The half of a connection that sends. What was written is sent even when this is dropped at once: what the host has not taken by then
/// goes on in a task of its own.
pub struct Writer {
    state: State,
}

enum State {
    Idle(Sink),
    Writing(Pin<Box<dyn Future<Output = io::Result<Sink>>>>),
    Finishing(Pin<Box<dyn Future<Output = io::Result<()>>>>),
    Finished,
}

struct Sink {
    stream: StreamWriter<u8>,
    /// Ready when all was given to the kernel, or cannot be.
    sent: FutureReader<Result<(), wit::ErrorCode>>,
}

impl Sink {
    async fn write(mut self, bytes: Vec<u8>) -> io::Result<Self> {
        if self.stream.write_all(bytes).await.is_empty() {
            return Ok(self);
        }
        // The host reads no more, and the future says why.
        self.finish().await?;
        Err(closed())
    }

    async fn finish(self) -> io::Result<()> {
        drop(self.stream);
        self.sent.await.map_err(broken)
    }
}

impl Writer {
    pub(super) fn new(connection: &wit::Connection) -> Self {
        let (stream, data) = wit_stream::new();
        let sent = connection.send(data);
        Self {
            state: State::Idle(Sink { stream, sent }),
        }
    }

    /// Sends all of `bytes`; ready when the host has taken them.
    ///
    /// # Errors
    /// When the client has reset the connection or reads no more.
    pub async fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        poll_fn(|cx| self.poll_idle(cx)).await?;
        self.start(bytes)?;
        poll_fn(|cx| self.poll_idle(cx)).await
    }

    /// Ends this direction; ready when all that was written has been given to the kernel.
    ///
    /// # Errors
    /// When not all could be sent.
    pub async fn finish(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_finish(cx)).await
    }

    /// Ready when the host has taken all that was written.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Writing(writing) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        match ready!(writing.as_mut().poll(cx)) {
            Ok(sink) => {
                self.state = State::Idle(sink);
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                self.state = State::Finished;
                Poll::Ready(Err(error))
            }
        }
    }

    /// Begins to write. Only when idle.
    fn start(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        match mem::replace(&mut self.state, State::Finished) {
            State::Idle(sink) => {
                self.state = State::Writing(Box::pin(sink.write(bytes)));
                Ok(())
            }
            other => {
                self.state = other;
                Err(closed())
            }
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_idle(cx))?;
        if let State::Idle(_) = self.state
            && let State::Idle(sink) = mem::replace(&mut self.state, State::Finished)
        {
            self.state = State::Finishing(Box::pin(sink.finish()));
        }
        let State::Finishing(finishing) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        let finished = ready!(finishing.as_mut().poll(cx));
        self.state = State::Finished;
        Poll::Ready(finished)
    }
}

impl AsyncWrite for Writer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_idle(cx))?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let length = bytes.len().min(CHUNK);
        self.start(bytes[..length].to_vec())?;
        // Before the first poll they are not on their way. What goes wrong later is told to who writes next.
        match self.poll_idle(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(length)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_idle(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_finish(cx)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let State::Writing(writing) = mem::replace(&mut self.state, State::Finished) {
            spawn(async move {
                // Nobody is left to be told.
                let _ = writing.await;
            });
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

fn closed() -> io::Error {
    io::Error::new(
        ErrorKind::BrokenPipe,
        "this end of the connection is closed",
    )
}

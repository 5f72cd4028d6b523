//! The bytes from the client: a `stream<u8>`, and a future that says how it ended.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncBufRead, AsyncRead};
use wit_bindgen::{FutureReader, StreamReader, StreamResult};

use super::{broken, wit};

/// What one read asks of the host at most.
const CHUNK: usize = 64 * 1024;

/// The half of a connection that receives.
pub struct Reader {
    state: State,
    /// What was received; its first `taken` bytes were given away.
    buffer: Vec<u8>,
    taken: usize,
}

enum State {
    Idle(Source),
    Busy(Receiving),
    /// Only for as long as one state makes way for the next.
    Between,
}

type Receiving = Pin<Box<dyn Future<Output = (Source, io::Result<Vec<u8>>)>>>;

struct Source {
    stream: StreamReader<u8>,
    /// `None` once the stream has ended.
    ending: Option<FutureReader<Result<(), wit::ErrorCode>>>,
}

impl Source {
    /// Fills the buffer as far as the client has sent; leaves it empty at the end of input.
    async fn receive(mut self, mut buffer: Vec<u8>) -> (Self, io::Result<Vec<u8>>) {
        // To read a stream that has ended is a trap; readers of lines do it all the time.
        while self.ending.is_some() {
            let (result, filled) = self.stream.read(buffer).await;
            buffer = filled;
            if result == StreamResult::Dropped
                && let Some(ending) = self.ending.take()
                && let Err(code) = ending.await
            {
                return (self, Err(broken(code)));
            }
            if !buffer.is_empty() {
                break;
            }
        }
        (self, Ok(buffer))
    }
}

impl Reader {
    pub(super) fn new(connection: &wit::Connection) -> Self {
        let (stream, ending) = connection.receive();
        Self {
            state: State::Idle(Source {
                stream,
                ending: Some(ending),
            }),
            buffer: Vec::new(),
            taken: 0,
        }
    }

    /// What the client has sent, at most 64 KiB of it and at least a byte; `None` at the end of input.
    ///
    /// Nothing is lost when the future is dropped before it is ready.
    ///
    /// # Errors
    /// When the client has reset the connection.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        poll_fn(|cx| self.poll_fill(cx)).await?;
        let mut chunk = mem::take(&mut self.buffer);
        chunk.drain(..mem::take(&mut self.taken));
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// Ready when the buffer holds something, or at the end of input.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.taken < self.buffer.len() {
            return Poll::Ready(Ok(()));
        }
        if let State::Idle(_) = self.state
            && let State::Idle(source) = mem::replace(&mut self.state, State::Between)
        {
            let mut buffer = mem::take(&mut self.buffer);
            buffer.clear();
            self.taken = 0;
            // One that was given away is made anew. It costs little: nothing of it is touched before bytes come.
            buffer.reserve_exact(CHUNK);
            self.state = State::Busy(Box::pin(source.receive(buffer)));
        }
        let State::Busy(receiving) = &mut self.state else {
            unreachable!("a state that is not idle is busy");
        };
        let (source, received) = ready!(receiving.as_mut().poll(cx));
        self.state = State::Idle(source);
        self.buffer = received?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Reader {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx))?;
        Poll::Ready(Ok(&this.buffer[this.taken..]))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.taken = self.buffer.len().min(self.taken + amount);
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let bytes = ready!(self.as_mut().poll_fill_buf(cx))?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.consume(length);
        Poll::Ready(Ok(length))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

//! The handles that WASI 0.2 has of the connection: a stream of what comes, a stream of what goes, and what
//! each of them is waited for by.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::{CHUNK, Connected};

/// One handle of what comes from the client.
pub(super) struct Input(pub Connected);

#[wasmtime_wasi::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        // An error is ready, too: the read that follows tells it.
        let _ = poll_fn(|cx| self.0.poll_readable(cx)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        match self
            .0
            .poll_read(&mut Context::from_waker(Waker::noop()), size)
        {
            Poll::Pending => Ok(Bytes::new()),
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => Err(StreamError::Closed),
            Poll::Ready(Ok(bytes)) => Ok(bytes),
            Poll::Ready(Err(e)) => Err(self.0.failed(e)),
        }
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        match poll_fn(|cx| self.0.poll_read(cx, size)).await {
            Ok(bytes) if bytes.is_empty() => Err(StreamError::Closed),
            Ok(bytes) => Ok(bytes),
            Err(e) => Err(self.0.failed(e)),
        }
    }
}

/// One handle of what goes to the client.
pub(super) struct Output(pub Connected);

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {
        // An error is ready, too: the write that follows tells it.
        let _ = poll_fn(|cx| self.0.poll_writable(cx)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.told()?;
        {
            let mut wire = self.0.wire();
            if !wire.unsent.is_empty() || bytes.len() > CHUNK {
                return Err(StreamError::trap("wrote more than check-write allowed"));
            }
            wire.unsent = bytes;
        }
        self.flush()
    }

    fn flush(&mut self) -> StreamResult<()> {
        // What cannot be sent now is sent while the guest waits.
        let _ = self.0.poll_unsent(&mut Context::from_waker(Waker::noop()));
        self.0.told()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.flush()?;
        Ok(if self.0.wire().unsent.is_empty() {
            CHUNK
        } else {
            0
        })
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut bytes = bytes;
        loop {
            poll_fn(|cx| self.0.poll_unsent(cx)).await;
            self.0.told()?;
            if bytes.is_empty() {
                return Ok(());
            }
            let chunk = bytes.split_to(bytes.len().min(CHUNK));
            self.0.wire().unsent = chunk;
        }
    }

    async fn write_ready(&mut self) -> StreamResult<usize> {
        poll_fn(|cx| self.0.poll_unsent(cx)).await;
        self.0.told()?;
        Ok(CHUNK)
    }
}

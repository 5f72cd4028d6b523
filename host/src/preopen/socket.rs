//! The connection as a preview-1 guest sees it: reads and writes go straight between the socket and
//! the guest's memory, through every buffer it names, and wait by suspending the instance.

use std::future::{pending, poll_fn};
use std::io::{self, IoSlice};
use std::sync::Arc;

use smallvec::SmallVec;
use wasmtime_wasi::p1::types::{CiovecArray, Errno, Error, IovecArray, Size};
use wiggle::{GuestMemory, GuestPtr};

use crate::connection::{Shutdown, Stream};
use crate::meter::Meter;
use crate::outcome::Way;

/// Buffers of one call, as `IOV_MAX` has it: more is refused.
const BUFFERS: u32 = 1024;

type Buffers = SmallVec<[GuestPtr<[u8]>; 8]>;

/// The one connection of an instance.
#[derive(Debug)]
pub(super) struct Socket {
    link: Link,
    meter: Arc<Meter>,
    /// Whether the guest has asked for reads and writes that never wait.
    pub nonblocking: bool,
    /// Whether the client was seen to reset or abandon the connection.
    pub hangup: bool,
    /// Errors that came after some bytes, and are told by the next read or write: the kernel tells
    /// each once.
    read_error: Option<Errno>,
    write_error: Option<Errno>,
}

/// How far the guest has come with its connection.
#[derive(Debug)]
enum Link {
    /// Behind the listener, to be accepted.
    Offered(Stream),
    Open(Stream),
    Closed,
}

/// How a read takes what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// What is at hand, waiting for the first byte.
    Some,
    /// All that is asked for, unless the input ends before.
    All,
    /// What is at hand, leaving it there.
    Peek,
}

impl Socket {
    pub fn offered(stream: Stream, meter: Arc<Meter>) -> Self {
        Self::new(Link::Offered(stream), meter)
    }

    pub fn open(stream: Stream, meter: Arc<Meter>) -> Self {
        Self::new(Link::Open(stream), meter)
    }

    fn new(link: Link, meter: Arc<Meter>) -> Self {
        Self {
            link,
            meter,
            nonblocking: false,
            hangup: false,
            read_error: None,
            write_error: None,
        }
    }

    /// Whether it waits behind the listener.
    pub fn is_offered(&self) -> bool {
        matches!(self.link, Link::Offered(_))
    }

    /// Whether the guest has closed it.
    pub fn is_closed(&self) -> bool {
        matches!(self.link, Link::Closed)
    }

    /// Takes it from behind the listener, unless it was taken before.
    pub fn accept(&mut self) {
        self.link = match std::mem::replace(&mut self.link, Link::Closed) {
            Link::Offered(stream) => Link::Open(stream),
            other => other,
        };
    }

    /// Closes it, as the last descriptor of it is closed.
    pub fn close(&mut self) {
        self.link = Link::Closed;
    }

    pub fn stream(&self) -> Result<&Stream, Errno> {
        match &self.link {
            Link::Open(stream) => Ok(stream),
            Link::Offered(_) | Link::Closed => Err(Errno::Badf),
        }
    }

    pub fn shutdown(&mut self, how: Shutdown) -> Result<(), Error> {
        self.stream()?.shutdown(how).map_err(|e| self.failed(&e))?;
        Ok(())
    }

    /// Reads into the buffers in their order, as readv(2) and recv(2) do.
    ///
    /// Buffers may overlap, as a hostile guest has them do; each is filled in its turn.
    pub async fn read(
        &mut self,
        memory: &mut GuestMemory<'_>,
        buffers: IovecArray,
        take: Take,
    ) -> Result<Size, Error> {
        let buffers = self::buffers(buffers.len(), buffers.iter(), |pointer| {
            let buffer = memory.read(pointer)?;
            Ok(buffer.buf.as_array(buffer.buf_len))
        })?;
        if let Some(errno) = self.read_error.take() {
            return Err(errno.into());
        }
        let mut total = 0;
        for pointer in buffers {
            let mut buffer = memory.as_slice_mut(pointer)?.ok_or(Errno::Notsup)?;
            while !buffer.is_empty() {
                let wait = !self.nonblocking && (total == 0 || take == Take::All);
                match self.read_once(buffer, wait, take).await {
                    Ok(Some(0)) => return Ok(total),
                    Ok(Some(count)) => {
                        total += u32::try_from(count).map_err(|_| Errno::Overflow)?;
                        if take == Take::Peek {
                            return Ok(total);
                        }
                        self.meter.received(count);
                        let short = count < buffer.len();
                        if short && take == Take::Some {
                            return Ok(total);
                        }
                        buffer = &mut buffer[count..];
                    }
                    Ok(None) if total == 0 => return Err(Errno::Again.into()),
                    Ok(None) => return Ok(total),
                    Err(e) if total == 0 => return Err(self.failed(&e).into()),
                    Err(e) => {
                        // What came before the error is told first.
                        self.read_error = Some(self.failed(&e));
                        return Ok(total);
                    }
                }
            }
        }
        Ok(total)
    }

    /// One read: `None` when nothing is at hand and it may not wait.
    async fn read_once(
        &mut self,
        buffer: &mut [u8],
        wait: bool,
        take: Take,
    ) -> io::Result<Option<usize>> {
        let Link::Open(stream) = &self.link else {
            return Err(rustix::io::Errno::BADF.into());
        };
        let room = self.meter.room(Way::Rx, buffer.len());
        // With no room left, only the end of input may come.
        let (buffer, peek) = match room {
            0 => (&mut [0][..], true),
            room => (&mut buffer[..room], take == Take::Peek),
        };
        let read = if wait {
            let read = poll_fn(|cx| stream.poll_receive(cx, buffer, peek));
            read.await.map(Some)
        } else {
            stream.try_read(buffer, peek)
        };
        if room == 0 && matches!(read, Ok(Some(1..))) {
            self.meter.exceed(Way::Rx);
            return pending().await;
        }
        read
    }

    /// Writes the buffers in their order, as writev(2) does: all of them, unless the guest has
    /// asked not to wait.
    pub async fn write(
        &mut self,
        memory: &GuestMemory<'_>,
        buffers: CiovecArray,
    ) -> Result<Size, Error> {
        let buffers = self::buffers(buffers.len(), buffers.iter(), |pointer| {
            let buffer = memory.read(pointer)?;
            Ok(buffer.buf.as_array(buffer.buf_len))
        })?;
        let mut slices: SmallVec<[IoSlice<'_>; 8]> = SmallVec::new();
        let mut room = self.meter.room(Way::Tx, usize::MAX);
        let mut cut = false;
        for pointer in buffers {
            let slice = memory.as_slice(pointer)?.ok_or(Errno::Notsup)?;
            cut |= slice.len() > room;
            let slice = &slice[..slice.len().min(room)];
            room -= slice.len();
            if !slice.is_empty() {
                slices.push(IoSlice::new(slice));
            }
        }
        if let Some(errno) = self.write_error.take() {
            return Err(errno.into());
        }
        let mut slices = &mut slices[..];
        let mut total = 0;
        while !slices.is_empty() {
            match self.write_once(slices).await {
                Ok(Some(count)) => {
                    total += u32::try_from(count).map_err(|_| Errno::Overflow)?;
                    self.meter.sent(count);
                    IoSlice::advance_slices(&mut slices, count);
                }
                Ok(None) if total == 0 => return Err(Errno::Again.into()),
                Ok(None) => break,
                Err(e) if total == 0 => return Err(self.failed(&e).into()),
                Err(e) => {
                    self.write_error = Some(self.failed(&e));
                    break;
                }
            }
        }
        if cut && slices.is_empty() {
            self.meter.exceed(Way::Tx);
            return pending().await;
        }
        Ok(total)
    }

    /// One write: `None` when there is no room and it may not wait.
    async fn write_once(&mut self, slices: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        let Link::Open(stream) = &self.link else {
            return Err(rustix::io::Errno::BADF.into());
        };
        if self.nonblocking {
            return stream.try_write(slices);
        }
        let written = poll_fn(|cx| stream.poll_send(cx, slices));
        written.await.map(Some)
    }

    /// The guest's word for an error of the socket; a client that went away is remembered.
    pub fn failed(&mut self, error: &io::Error) -> Errno {
        use rustix::io::Errno as Host;
        let (errno, hangup) = match Host::from_io_error(error) {
            Some(Host::CONNRESET) => (Errno::Connreset, true),
            Some(Host::PIPE) => (Errno::Pipe, true),
            Some(Host::CONNABORTED) => (Errno::Connaborted, true),
            Some(Host::TIMEDOUT) => (Errno::Timedout, true),
            Some(Host::HOSTUNREACH) => (Errno::Hostunreach, true),
            Some(Host::NETUNREACH) => (Errno::Netunreach, true),
            Some(Host::NETDOWN) => (Errno::Netdown, true),
            Some(Host::NOTCONN) => (Errno::Notconn, false),
            Some(Host::BADF) => (Errno::Badf, false),
            Some(Host::INVAL) => (Errno::Inval, false),
            Some(Host::NOBUFS) => (Errno::Nobufs, false),
            Some(Host::NOMEM) => (Errno::Nomem, false),
            _ => (Errno::Io, false),
        };
        self.hangup |= hangup;
        errno
    }
}

/// The buffers of a call that are not empty. Their number and their sum are those of readv(2).
fn buffers<T>(
    count: u32,
    pointers: impl Iterator<Item = Result<GuestPtr<T>, wiggle::GuestError>>,
    read: impl Fn(GuestPtr<T>) -> Result<GuestPtr<[u8]>, wiggle::GuestError>,
) -> Result<Buffers, Error> {
    if count > BUFFERS {
        return Err(Errno::Inval.into());
    }
    let mut sum = 0u32;
    let mut found = Buffers::new();
    for pointer in pointers {
        let buffer = read(pointer?)?;
        sum = sum.checked_add(buffer.len()).ok_or(Errno::Inval)?;
        if buffer.len() > 0 {
            found.push(buffer);
        }
    }
    Ok(found)
}

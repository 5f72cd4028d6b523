//! A connected socket that is read and written without waiting where that can be: most often what is asked for is at hand.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

/// A connected stream socket, over inet or unix. The runtime watches it from when it first has to be
/// waited for: most often what is asked for first is at hand.
#[derive(Debug)]
pub struct Stream {
    /// Goes before the socket: what is closed can no longer be taken from the watch.
    watch: OnceLock<AsyncFd<Arc<OwnedFd>>>,
    socket: Arc<OwnedFd>,
    /// Whether the last read took all there was, so that another would find nothing.
    drained: AtomicBool,
}

/// Hears whether a client has begun to speak, and keeps nothing open for that.
#[derive(Clone, Debug)]
pub struct Ear(Weak<OwnedFd>);

/// What can be read from a stream without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readable {
    /// Bytes at hand; 0 at the end of input, or for an error that the next read tells.
    pub count: u64,
    /// Whether both directions have ended, as poll(2) means it. A client that has only finished
    /// sending still waits for its answer.
    pub hangup: bool,
}

/// Which direction of a stream to end.
pub use std::net::Shutdown;

impl Stream {
    /// That of a connected socket, which is non-blocking.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            watch: OnceLock::new(),
            socket: Arc::new(socket),
            drained: AtomicBool::new(false),
        }
    }

    /// What can be read without waiting; waits until there is something.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<Readable>> {
        loop {
            let now = self.state(PollFlags::IN)?;
            if !now.is_empty() {
                let count = rustix::io::ioctl_fionread(self)?;
                let hangup = now.contains(PollFlags::HUP);
                return Poll::Ready(Ok(Readable { count, hangup }));
            }
            ready!(self.watch()?.poll_read_ready(cx))?.clear_ready();
        }
    }

    /// Waits until a write would not wait.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.state(PollFlags::OUT)?.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.watch()?.poll_write_ready(cx))?.clear_ready();
        }
    }

    /// What the kernel says now. The runtime remembers what it was told last, which may be older
    /// than the last read or, for a new socket, nothing yet.
    fn state(&self, wanted: PollFlags) -> io::Result<PollFlags> {
        let mut watched = [PollFd::new(self, wanted)];
        poll(&mut watched, Some(&Timespec::default()))?;
        Ok(watched[0].revents())
    }

    /// Reads, or with `peek` copies, what is at hand; waits until there is any.
    pub fn poll_receive(
        &self,
        cx: &mut Context<'_>,
        into: &mut [u8],
        peek: bool,
    ) -> Poll<io::Result<usize>> {
        if self.watch.get().is_none() && !self.drained.load(Relaxed) {
            let turn = ready!(coop::poll_proceed(cx));
            if let Some(count) = self.try_read(into, peek)? {
                turn.made_progress();
                return Poll::Ready(Ok(count));
            }
        }
        loop {
            let mut ready = ready!(self.watch()?.poll_read_ready(cx))?;
            let read = self.try_read(into, peek)?;
            if read.is_none() || self.drained.load(Relaxed) {
                // The kernel tells anew of what comes after this.
                ready.clear_ready();
            }
            if let Some(count) = read {
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// Writes what there is room for; waits until there is any.
    pub fn poll_send(
        &self,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let turn = ready!(coop::poll_proceed(cx));
        loop {
            if let Some(count) = self.try_write(from)? {
                turn.made_progress();
                return Poll::Ready(Ok(count));
            }
            ready!(self.watch()?.poll_write_ready(cx))?.clear_ready();
        }
    }

    /// Reads, or with `peek` copies, what is at hand; `None` when nothing is.
    pub fn try_read(&self, into: &mut [u8], peek: bool) -> io::Result<Option<usize>> {
        let mut flags = RecvFlags::DONTWAIT;
        flags.set(RecvFlags::PEEK, peek);
        let read =
            at_hand(retry_on_intr(|| recv(self, &mut *into, flags)).map(|(count, _)| count))?;
        let short = read.is_some_and(|count| 0 < count && count < into.len());
        self.drained.store(short && !peek, Relaxed);
        Ok(read)
    }

    /// Writes what there is room for; `None` when there is none.
    pub fn try_write(&self, from: &[io::IoSlice<'_>]) -> io::Result<Option<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut nothing = SendAncillaryBuffer::default();
        at_hand(retry_on_intr(|| sendmsg(self, from, &mut nothing, flags)))
    }

    /// Hears whether the client has begun.
    pub fn ear(&self) -> Ear {
        Ear(Arc::downgrade(&self.socket))
    }

    /// The runtime's watch over it, which begins when it is first asked for.
    fn watch(&self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        if let Some(watch) = self.watch.get() {
            return Ok(watch);
        }
        #[expect(
            deprecated,
            reason = "unsound only for a type that is not the owner it seems"
        )]
        let watch = AsyncFd::try_new(self.socket.clone())?;
        Ok(self.watch.get_or_init(|| watch))
    }

    /// Says `words` to a client that is not served, as far as they leave at once, and ends what is
    /// sent. What the client has said so far is thrown away: a socket that is closed with something
    /// unread is reset, and the client might not hear what it was told. The socket does not linger
    /// for what comes later, because whoever is refused is not to hold a descriptor.
    pub fn dismiss(&self, words: &[u8]) {
        // Who is gone hears nothing, and nobody else has to know.
        let _ = self.try_write(&[io::IoSlice::new(words)]);
        let _ = self.shutdown(Shutdown::Write);
        let _ = self.try_read(&mut [0; 4096], false);
    }

    /// Ends one or both directions; the other end sees end of input.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(self).shutdown(how)
    }

    /// The bare socket, which the runtime watches no longer. It is still non-blocking.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        drop(self.watch);
        Arc::into_inner(self.socket).ok_or_else(|| io::Error::other("it is still in use"))
    }
}

impl Ear {
    /// Whether something can be read, be it the end of input, or nobody is there to read it any more.
    pub fn hears(&self) -> bool {
        self.0.upgrade().is_none_or(|socket| {
            let mut watched = [PollFd::new(&socket, PollFlags::IN)];
            // One that cannot be asked is no reason to end anything.
            poll(&mut watched, Some(&Timespec::default())) != Ok(0)
        })
    }
}

/// `None` for what would have had to wait.
fn at_hand(result: rustix::io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = ready!(self.poll_receive(cx, into.initialize_unfilled(), false))?;
        into.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[io::IoSlice::new(from)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown(Shutdown::Write))
    }
}

//! An address becomes a bound, listening socket, and the socket gives connections. Binding is all
//! or none; accepting cannot fail: whatever the kernel says, the trigger goes on.

mod inherited;
mod path;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketAddrAny, SocketFlags};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::connection::{Local, Peer, Stream};
use crate::plan::{Address, SocketOptions};
pub use inherited::Inherited;
use inherited::{Left, MARK};
use path::OwnedPath;

/// How long accepting pauses when the system has no descriptor or memory for one more connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound, listening socket. Its unix path, when it has one, is removed when it is dropped.
#[derive(Debug)]
pub struct Bound {
    /// Where it is bound.
    pub local: Arc<Local>,
    /// Shared with a job that accepts for itself, and with whoever takes the place of this host.
    socket: Arc<OwnedFd>,
    path: Option<OwnedPath>,
    /// Whether a host before this one has bound it.
    left: bool,
    /// Comes to its end when the processes have ended that a host before this one has given it.
    busy: Option<OwnedFd>,
}

/// A listener that accepts on the runtime it was made on.
#[derive(Debug)]
pub struct Listener {
    /// Where it is bound.
    pub local: Arc<Local>,
    socket: AsyncFd<Arc<OwnedFd>>,
    path: Option<OwnedPath>,
}

/// A listener as the next host gets it.
#[derive(Debug)]
pub struct Shared {
    /// The socket.
    pub socket: Arc<OwnedFd>,
    /// Comes to its end when the processes have ended that this host has given it; `None`: there are none.
    pub busy: Option<OwnedFd>,
}

/// What came of trying to accept.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    Connection(Stream, Peer),
    /// The connection that was announced is gone again, or another taker had it.
    Gone,
    /// The system is out of something (the error says what): accepting has to pause.
    Exhausted(io::Error, Duration),
}

impl Bound {
    /// Binds `address` for `trigger` and listens there, unless a host before this one has left its
    /// listeners. What is inherited may be several sockets of one name.
    ///
    /// # Errors
    /// When the system refuses; the error says what was attempted, on what.
    pub fn bind(
        trigger: &str,
        address: &Address,
        options: &SocketOptions,
        inherited: &mut Inherited,
    ) -> anyhow::Result<Vec<Self>> {
        let left = inherited.left(&mark(trigger, address), address);
        if !left.is_empty() {
            let adopted = left.into_iter().map(|Left { socket, busy }| {
                let left = !matches!(address, Address::Inherited(_));
                Ok(Self {
                    left,
                    busy,
                    ..adopt(socket, options)?
                })
            });
            let adopted = adopted.collect::<anyhow::Result<_>>();
            return adopted.with_context(|| format!("cannot go on listening on {address}"));
        }
        if let Some(bound) = inherited.bound_ahead(address) {
            return Ok(vec![bound]);
        }
        match address {
            Address::Inet(address) => inet((*address).into(), options).map(|bound| vec![bound]),
            Address::Inet6(address) => inet((*address).into(), options).map(|bound| vec![bound]),
            Address::Unix(path) => unix_path(path, options).map(|bound| vec![bound]),
            Address::Abstract(name) => unix_abstract(name, options).map(|bound| vec![bound]),
            Address::Inherited(name) => inherited
                .claim(name)
                .and_then(|sockets| {
                    let adopted = sockets.into_iter().map(|socket| adopt(socket, options));
                    adopted.collect()
                })
                .with_context(|| format!("cannot use the inherited socket `{name}`")),
        }
        .with_context(|| format!("cannot listen on {address}"))
    }

    /// Binds anew where a listener was that its job has shut down, and that nobody holds any more.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn again(local: &Local, options: &SocketOptions) -> anyhow::Result<Self> {
        match local {
            Local::Inet(address) => inet(*address, options),
            Local::Unix(path) => unix_path(path, options),
            Local::Abstract(name) => match std::str::from_utf8(name) {
                Ok(name) => unix_abstract(name, options),
                Err(_) => bail!("its name is not text"),
            },
            Local::Unnamed => bail!("it has no name"),
        }
        .with_context(|| format!("cannot listen on {local} again"))
    }

    /// Readies it to accept on the current runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch it; it is given back.
    pub fn accepting(self) -> Result<Listener, (Self, io::Error)> {
        let Self {
            local,
            socket,
            path,
            left,
            busy,
        } = self;
        // Only a descriptor that is none could be refused this.
        let _ = rustix::io::ioctl_fionbio(&socket, true);
        #[expect(
            deprecated,
            reason = "unsound only for a type that is not the owner it seems"
        )]
        match AsyncFd::try_with_interest(socket, Interest::READABLE) {
            Ok(socket) => Ok(Listener {
                local,
                socket,
                path,
            }),
            Err(error) => {
                let (socket, error) = error.into_parts();
                let bound = Self {
                    local,
                    socket,
                    path,
                    left,
                    busy,
                };
                Err((bound, error))
            }
        }
    }

    /// Sets what a trigger now says of its socket.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn adapt(&self, options: &SocketOptions) -> anyhow::Result<()> {
        let socket = SockRef::from(&*self.socket);
        if let Local::Inet(_) = *self.local {
            inherit(&socket, options)?;
        }
        if let Some(path) = &self.path {
            path.adapt(options)?;
        }
        Ok(socket.listen(backlog(options))?)
    }

    /// The socket, for whoever shares it.
    pub fn socket(&self) -> Arc<OwnedFd> {
        self.socket.clone()
    }

    /// The socket as it was inherited, when nobody shares it.
    pub fn into_socket(self) -> Option<OwnedFd> {
        Arc::into_inner(self.socket)
    }

    /// Leaves its unix path to whoever listens there now.
    pub fn leave(mut self) {
        if let Some(path) = &mut self.path {
            path.leave();
        }
    }

    /// Takes the place of the host that has left this, if one has: it has what the trigger says of its socket
    /// now, and its unix path goes with this host.
    ///
    /// # Errors
    /// When the system refuses what the trigger says.
    pub fn take_over(&mut self, options: &SocketOptions) -> anyhow::Result<()> {
        if !self.left {
            return Ok(());
        }
        if let Local::Unix(path) = &*self.local {
            self.path = OwnedPath::of(path).ok();
        }
        self.adapt(options)
    }

    /// What comes to its end when the processes have ended that a host before this one has given it, once.
    pub fn busy(&mut self) -> Option<OwnedFd> {
        self.busy.take()
    }

    /// Whether a job has shut it down.
    pub fn is_shut(&self) -> bool {
        let mut watched = [PollFd::new(&*self.socket, PollFlags::RDHUP)];
        let shut = PollFlags::RDHUP | PollFlags::HUP;
        poll(&mut watched, Some(&Timespec::default())).is_ok()
            && watched[0].revents().intersects(shut)
    }
}

/// The name under which a listener is left to the next host: the same for the same address, or, for a
/// port that the system chose, for the same one of the same trigger. systemd allows little in a name.
pub fn mark(trigger: &str, address: &Address) -> String {
    let trigger = if address.is_certain() { "" } else { trigger };
    let digest = blake3::hash(format!("{trigger}\0{address}").as_bytes());
    format!("{MARK}{}", &digest.to_hex()[..32])
}

impl Listener {
    /// No longer watched.
    pub fn into_bound(self) -> Bound {
        Bound {
            local: self.local,
            socket: self.socket.into_inner(),
            path: self.path,
            left: false,
            busy: None,
        }
    }

    /// Waits until a connection may wait to be accepted: what the runtime remembers may be the one
    /// that was accepted last.
    pub async fn maybe_waiting(&self) {
        if self.socket.readable().await.is_err() {
            // The runtime shuts down; nothing is waited for any more.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until a connection waits to be accepted, by the word of the kernel.
    pub async fn waiting(&self) {
        loop {
            let Ok(mut remembered) = self.socket.readable().await else {
                return std::future::pending().await;
            };
            let mut watched = [PollFd::new(&self.socket, PollFlags::IN)];
            // An error is told by accept.
            if poll(&mut watched, Some(&Timespec::default())) != Ok(0) {
                return;
            }
            remembered.clear_ready();
        }
    }

    /// Accepts what waits. Never waits itself.
    pub fn accept(&self) -> Accepted {
        let accepted = self.socket.try_io(Interest::READABLE, |socket| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            Ok(rustix::net::acceptfrom_with(socket, flags)?)
        });
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => return refused(e),
        };
        match peer(&socket, address) {
            Ok(peer) => Accepted::Connection(Stream::new(socket), peer),
            Err(e) => refused(e),
        }
    }
}

/// Sorts the errors of accept(2) into those of one connection and those of the whole system. The
/// manual page lists network errors of the new socket among the first, and asks to go on.
fn refused(error: io::Error) -> Accepted {
    use rustix::io::Errno;
    if error.kind() == io::ErrorKind::WouldBlock {
        return Accepted::Gone;
    }
    match Errno::from_io_error(&error) {
        Some(
            Errno::INTR
            | Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
            | Errno::PERM
            | Errno::TIMEDOUT
            | Errno::NOTCONN,
        ) => Accepted::Gone,
        _ => Accepted::Exhausted(error, PAUSE),
    }
}

/// Who is at the other end, by what accept said.
fn peer(socket: &OwnedFd, address: Option<SocketAddrAny>) -> io::Result<Peer> {
    let inet = address.and_then(|address| SocketAddr::try_from(address).ok());
    if let Some(address) = inet {
        // An IPv4 client of a dual-stack listener, which systemd may hand over, is an IPv4 client.
        return Ok(Peer::Inet(SocketAddr::new(
            address.ip().to_canonical(),
            address.port(),
        )));
    }
    Peer::unix(socket)
}

fn backlog(options: &SocketOptions) -> i32 {
    // The kernel cuts what is more than net.core.somaxconn, so the largest value means just that.
    options.backlog.map_or(i32::MAX, |n: NonZeroU32| {
        i32::try_from(n.get()).unwrap_or(i32::MAX)
    })
}

fn inet(address: SocketAddr, options: &SocketOptions) -> anyhow::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Lets a restarted host bind while old connections linger; two listeners still exclude
    // each other on Linux.
    socket.set_reuse_address(true)?;
    inherit(&socket, options)?;
    socket.bind(&address.into())?;
    socket.listen(backlog(options))?;
    let actual = socket
        .local_addr()?
        .as_socket()
        .context("the socket has no address")?;
    Ok(Bound {
        local: Arc::new(Local::Inet(actual)),
        socket: Arc::new(socket.into()),
        path: None,
        left: false,
        busy: None,
    })
}

/// Sets what accepted connections inherit, so that it costs nothing for each.
fn inherit(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    socket.set_keepalive(options.keepalive)
}

fn unix_abstract(name: &str, options: &SocketOptions) -> anyhow::Result<Bound> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(format!("\0{name}"))?)?;
    socket.listen(backlog(options))?;
    let local = Local::Abstract(name.as_bytes().to_vec());
    Ok(Bound {
        local: Arc::new(local),
        socket: Arc::new(socket.into()),
        path: None,
        left: false,
        busy: None,
    })
}

fn unix_path(path: &Path, options: &SocketOptions) -> anyhow::Result<Bound> {
    let (socket, owned) = OwnedPath::bind(path, Type::STREAM, options)?;
    // Only now, with its mode and owner, can anybody connect.
    socket.listen(backlog(options))?;
    Ok(Bound {
        local: Arc::new(Local::Unix(path.to_owned())),
        socket: Arc::new(socket.into()),
        path: Some(owned),
        left: false,
        busy: None,
    })
}

/// A socket at `path` by which the host is told what to do, message by message. Only its user and root
/// can reach it.
///
/// # Errors
/// When it cannot be bound there.
pub fn control(path: &Path) -> anyhow::Result<Bound> {
    let options = SocketOptions {
        mode: Some(0o600),
        ..SocketOptions::default()
    };
    let (socket, owned) = OwnedPath::bind(path, Type::SEQPACKET, &options)?;
    socket.listen(backlog(&options))?;
    Ok(Bound {
        local: Arc::new(Local::Unix(path.to_owned())),
        socket: Arc::new(socket.into()),
        path: Some(owned),
        left: false,
        busy: None,
    })
}

fn adopt(socket: OwnedFd, options: &SocketOptions) -> anyhow::Result<Bound> {
    let socket = Socket::from(socket);
    if socket.r#type()? != Type::STREAM {
        bail!("it is not a stream socket");
    }
    if !socket.is_listener()? {
        bail!(
            "it does not listen; with systemd, the socket unit needs ListenStream= and Accept=no"
        );
    }
    let address = socket.local_addr()?;
    let local = if let Some(inet) = address.as_socket() {
        inherit(&socket, options)?;
        Local::Inet(inet)
    } else if let Some(path) = address.as_pathname() {
        Local::Unix(path.to_owned())
    } else if let Some(name) = address.as_abstract_namespace() {
        Local::Abstract(name.to_vec())
    } else {
        bail!("it is neither inet nor unix");
    };
    Ok(Bound {
        local: Arc::new(local),
        socket: Arc::new(socket.into()),
        path: None,
        left: false,
        busy: None,
    })
}

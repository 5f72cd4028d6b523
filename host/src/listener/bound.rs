//! An address becomes a bound, listening socket: of its own, or one that was there before this host.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Listener;
use super::inherited::{Handed, Inherited, MARK};
use super::open::{backlog, inet, set_for_accepted, unix_abstract, unix_path};
use super::path::OwnedPath;
use crate::connection::Local;
use crate::plan::{Address, SocketOptions};

/// A bound, listening socket. Its unix path, when it has one, is removed when it is dropped.
#[derive(Debug)]
pub struct Bound {
    /// Where it is bound.
    pub local: Arc<Local>,
    /// Shared with a job that accepts for itself, and with whoever takes the place of this host.
    socket: Arc<OwnedFd>,
    path: Option<OwnedPath>,
    /// Whether it is the predecessor that has bound it.
    of_predecessor: bool,
    /// Comes to its end when the processes have ended that the predecessor has given it to.
    busy: Option<OwnedFd>,
}

/// A listener as the next host gets it.
#[derive(Debug)]
pub struct Shared {
    /// The socket.
    pub socket: Arc<OwnedFd>,
    /// Comes to its end when the processes have ended that this host has given it; `None`: there are none.
    pub busy: Option<OwnedFd>,
}

impl Bound {
    /// One that this host has bound.
    pub(super) fn new(local: Local, socket: Socket, path: Option<OwnedPath>) -> Self {
        Self {
            local: Arc::new(local),
            socket: Arc::new(socket.into()),
            path,
            of_predecessor: false,
            busy: None,
        }
    }

    /// Binds `address` for `trigger` and listens there, unless the predecessor has handed over its
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
        let mark = mark(trigger, address);
        let handed = inherited.of_predecessor(&mark, address);
        if !handed.is_empty() {
            let bound = handed.into_iter().map(|Handed { socket, busy }| {
                let socket = Socket::from(socket);
                let local = local(&socket, options)?;
                ensure!(is_at(&local, address), "it listens on {local}");
                Ok(Self {
                    of_predecessor: !matches!(address, Address::Inherited(_)),
                    busy,
                    ..Self::new(local, socket, None)
                })
            });
            let bound = bound.collect::<anyhow::Result<_>>();
            return bound.with_context(|| format!("cannot go on listening on {address}"));
        }
        if let Some(bound) = inherited.bound_ahead(&mark) {
            return Ok(vec![bound]);
        }
        match address {
            Address::Inet(address) => inet((*address).into(), options).map(|bound| vec![bound]),
            Address::Inet6(address) => inet((*address).into(), options).map(|bound| vec![bound]),
            Address::Unix(path) => unix_path(path, Type::STREAM, options).map(|bound| vec![bound]),
            Address::Abstract(name) => unix_abstract(name, options).map(|bound| vec![bound]),
            Address::Inherited(name) => given(name, options, inherited)
                .with_context(|| format!("cannot use the inherited socket `{name}`")),
        }
        .with_context(|| format!("cannot listen on {address}"))
    }

    /// Listens at `path` for packets rather than streams, unless the predecessor has handed over its listener.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn packets(
        path: &Path,
        options: &SocketOptions,
        handed: Option<OwnedFd>,
    ) -> anyhow::Result<Self> {
        match handed {
            Some(socket) => {
                let socket = Socket::from(socket);
                let there = socket.local_addr()?;
                ensure!(
                    there.as_pathname() == Some(path) && socket.is_listener()?,
                    "the host that runs has handed over another socket for {}",
                    path.display()
                );
                Ok(Self {
                    of_predecessor: true,
                    ..Self::new(Local::Unix(path.to_owned()), socket, None)
                })
            }
            None => unix_path(path, Type::SEQPACKET, options),
        }
    }

    /// Binds anew where a listener was that its job has shut down, and that nobody holds any more.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn again(local: &Local, options: &SocketOptions) -> anyhow::Result<Self> {
        match local {
            Local::Inet(address) => inet(*address, options),
            Local::Unix(path) => unix_path(path, Type::STREAM, options),
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
            of_predecessor,
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
                    of_predecessor,
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
            set_for_accepted(&socket, options)?;
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

    /// Whether it is a predecessor that has bound it, which may still serve there.
    pub fn is_of_predecessor(&self) -> bool {
        self.of_predecessor
    }

    /// Takes the place of the predecessor whose listener this was, if it was one's: its unix path goes with this host.
    ///
    /// # Errors
    /// When there is no path any more, and the system refuses another.
    pub fn take_path(&mut self, options: &SocketOptions) -> anyhow::Result<()> {
        if let (Local::Unix(path), true) = (&*self.local.clone(), self.of_predecessor) {
            self.path = OwnedPath::of(path)?;
            // One that has ended before it was told to leave has removed it.
            if self.path.is_none() {
                let kind = SockRef::from(&*self.socket).r#type()?;
                *self = unix_path(path, kind, options)?;
            }
        }
        Ok(())
    }

    /// What comes to its end when the processes have ended that the predecessor has given it to, once.
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

impl Listener {
    /// No longer watched.
    pub fn into_bound(self) -> Bound {
        Bound {
            local: self.local,
            socket: self.socket.into_inner(),
            path: self.path,
            of_predecessor: false,
            busy: None,
        }
    }
}

/// The name under which a listener is left to the next host: the same for the same address, or, for a
/// port that the system chose, for the same one of the same trigger. systemd allows little in a name.
pub fn mark(trigger: &str, address: &Address) -> String {
    let trigger = if address.is_certain() { "" } else { trigger };
    let digest = blake3::hash(format!("{trigger}\0{address}").as_bytes());
    format!("{MARK}{}", &digest.to_hex()[..32])
}

/// All sockets that a service manager has given under this name. When one of them is of no use, all can be asked for again.
fn given(
    name: &str,
    options: &SocketOptions,
    inherited: &mut Inherited,
) -> anyhow::Result<Vec<Bound>> {
    let sockets = inherited.claim(name)?;
    let sockets: Vec<_> = sockets.into_iter().map(Socket::from).collect();
    let locals = sockets.iter().map(|socket| local(socket, options));
    match locals.collect::<anyhow::Result<Vec<_>>>() {
        Ok(locals) => {
            let bound = locals.into_iter().zip(sockets);
            Ok(bound
                .map(|(local, socket)| Bound::new(local, socket, None))
                .collect())
        }
        Err(error) => {
            for socket in sockets {
                inherited.add(name.to_owned(), socket.into());
            }
            Err(error)
        }
    }
}

/// Whether a socket that listens there is one for this address.
fn is_at(local: &Local, address: &Address) -> bool {
    let inet = |wanted: SocketAddr| {
        let port = |at: &SocketAddr| wanted.port() == 0 || at.port() == wanted.port();
        matches!(local, Local::Inet(at) if at.ip() == wanted.ip() && port(at))
    };
    match address {
        Address::Inet(wanted) => inet((*wanted).into()),
        Address::Inet6(wanted) => inet((*wanted).into()),
        Address::Unix(wanted) => matches!(local, Local::Unix(path) if path == wanted),
        Address::Abstract(wanted) => {
            matches!(local, Local::Abstract(name) if name == wanted.as_bytes())
        }
        Address::Inherited(_) => true,
    }
}

/// Where a socket listens that somebody else has bound. It has the options then.
fn local(socket: &Socket, options: &SocketOptions) -> anyhow::Result<Local> {
    if socket.r#type()? != Type::STREAM {
        bail!("it is not a stream socket");
    }
    if !socket.is_listener()? {
        bail!(
            "it does not listen; with systemd, the socket unit needs ListenStream= and Accept=no"
        );
    }
    let address = socket.local_addr()?;
    if let Some(inet) = address.as_socket() {
        set_for_accepted(socket, options)?;
        Ok(Local::Inet(inet))
    } else if let Some(path) = address.as_pathname() {
        Ok(Local::Unix(path.to_owned()))
    } else if let Some(name) = address.as_abstract_namespace() {
        Ok(Local::Abstract(name.to_vec()))
    } else {
        bail!("it is neither inet nor unix");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_the_predecessor_has_removed_meanwhile_is_bound_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, options) = (dir.path().join("socket"), SocketOptions::default());
        let old = Bound::packets(&path, &options, None).unwrap();
        let handed = old.socket().try_clone().unwrap();
        let mut new = Bound::packets(&path, &options, Some(handed)).unwrap();
        drop(old);
        assert!(!path.exists());
        new.take_path(&options).unwrap();
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_was_handed_over_for_nothing_keeps_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let (path, options) = (dir.path().join("socket"), SocketOptions::default());
        let old = Bound::packets(&path, &options, None).unwrap();
        let handed = old.socket().try_clone().unwrap();
        drop(Bound::packets(&path, &options, Some(handed)).unwrap());
        assert!(path.exists());
    }
}

//! Sockets that this host opens, each kind in its way.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::Context as _;
use socket2::{Domain, SockAddr, Socket, Type};

use super::bound::Bound;
use super::path::OwnedPath;
use crate::connection::Local;
use crate::plan::SocketOptions;

/// What it takes where the system has not lowered `net.ipv4.ip_unprivileged_port_start`.
const LOW: &str =
    "ports below 1024 take root, CAP_NET_BIND_SERVICE, or a socket that is handed over (`fd:NAME`)";

pub(super) fn backlog(options: &SocketOptions) -> i32 {
    // The kernel cuts what is more than net.core.somaxconn, so the largest value means just that.
    options.backlog.map_or(i32::MAX, |n: NonZeroU32| {
        i32::try_from(n.get()).unwrap_or(i32::MAX)
    })
}

pub(super) fn inet(address: SocketAddr, options: &SocketOptions) -> anyhow::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Lets a restarted host bind while old connections linger; two listeners still exclude
    // each other on Linux.
    socket.set_reuse_address(true)?;
    set_for_accepted(&socket, options)?;
    socket.bind(&address.into()).map_err(|error| {
        let low = error.kind() == io::ErrorKind::PermissionDenied && address.port() < 1024;
        let error = anyhow::Error::from(error);
        if low { error.context(LOW) } else { error }
    })?;
    socket.listen(backlog(options))?;
    let actual = socket
        .local_addr()?
        .as_socket()
        .context("the socket has no address")?;
    Ok(Bound::new(Local::Inet(actual), socket, None))
}

/// Sets what accepted connections inherit, so that it costs nothing for each.
pub(super) fn set_for_accepted(socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    socket.set_keepalive(options.keepalive)
}

pub(super) fn unix_abstract(name: &str, options: &SocketOptions) -> anyhow::Result<Bound> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(format!("\0{name}"))?)?;
    socket.listen(backlog(options))?;
    let local = Local::Abstract(name.as_bytes().to_vec());
    Ok(Bound::new(local, socket, None))
}

pub(super) fn unix_path(path: &Path, kind: Type, options: &SocketOptions) -> anyhow::Result<Bound> {
    let (socket, owned) = OwnedPath::bind(path, kind, options)?;
    // Only now, with its mode and owner, can anybody connect.
    socket.listen(backlog(options))?;
    let local = Local::Unix(path.to_owned());
    Ok(Bound::new(local, socket, Some(owned)))
}

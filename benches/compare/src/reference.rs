//! Servers to measure against that no package brings, as subcommands of this program, each in a process of its
//! own. They print where they listen as the host does.

pub mod bridge;
pub mod epoll_echo;
pub mod tokio_echo;

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use socket2::{Domain, Socket, Type};

/// A free port of 127.0.0.1, with a backlog like the host's.
fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(4096)?;
    let listener = TcpListener::from(socket);
    println!(
        "listening {} {}",
        crate::server::SERVED,
        listener.local_addr()?
    );
    Ok(listener)
}

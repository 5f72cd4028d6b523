//! The limit: one thread, epoll and nothing else, no memory for a connection that has nothing to say.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// All connections share it, one after the other.
const BUFFER: usize = 256 * 1024;

/// What could not be written yet; until that is gone nothing more is read.
type Pending = Vec<u8>;

/// Serves until it is ended.
pub fn serve() -> io::Result<()> {
    let listener = super::listen()?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let watch = |flags, fd| EpollEvent::new(flags, fd);
    epoll.add(&listener, watch(EpollFlags::EPOLLIN, 0))?;
    let mut connections: HashMap<u64, (TcpStream, Pending)> = HashMap::new();
    let mut events = [EpollEvent::empty(); 256];
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let fd = event.data();
            match connections.get_mut(&fd) {
                Some((stream, pending)) => match advance(stream, pending, &mut buffer) {
                    Ok(None) => {}
                    Ok(Some(flags)) => epoll.modify(stream, &mut watch(flags, fd))?,
                    // Closing takes it out of the set as well.
                    Err(_) => drop(connections.remove(&fd)),
                },
                None => {
                    while let Ok((stream, _)) = listener.accept() {
                        stream.set_nonblocking(true)?;
                        stream.set_nodelay(true)?;
                        let fd = stream.as_raw_fd().cast_unsigned().into();
                        epoll.add(&stream, watch(EpollFlags::EPOLLIN, fd))?;
                        connections.insert(fd, (stream, Pending::new()));
                    }
                }
            }
        }
    }
}

/// Does what it can, and tells what to wait for when that changes. An error is also the end of the stream.
fn advance(
    stream: &mut TcpStream,
    pending: &mut Pending,
    buffer: &mut [u8],
) -> io::Result<Option<EpollFlags>> {
    let write = |mut stream: &TcpStream, bytes: &[u8]| match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        written => written,
    };
    if !pending.is_empty() {
        let written = write(stream, pending)?;
        pending.drain(..written);
        return Ok(pending.is_empty().then_some(EpollFlags::EPOLLIN));
    }
    let length = stream.read(buffer)?;
    if length == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let written = write(stream, &buffer[..length])?;
    pending.extend_from_slice(&buffer[written..length]);
    Ok((written < length).then_some(EpollFlags::EPOLLOUT))
}

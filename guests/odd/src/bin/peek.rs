//! Receives with flags, by the raw calls: looks at up to 4 bytes with `RECV_PEEK`, then takes 8 with `RECV_WAITALL`, which must wait for
//! the last of them and begin with the bytes it has seen. Sends `peeked ABCD took ABCDEFGH` and a line feed.

use std::io::{self, Write};
use std::os::fd::AsRawFd;

fn main() -> io::Result<()> {
    let mut connection = odd::connection();
    let fd = connection.as_raw_fd().cast_unsigned();
    let (mut seen, mut taken) = ([0; 4], [0; 8]);
    let seen = recv(fd, &mut seen, wasip1::RIFLAGS_RECV_PEEK)?;
    let taken = recv(fd, &mut taken, wasip1::RIFLAGS_RECV_WAITALL)?;
    connection.write_all(&[b"peeked ", seen, b" took ", taken, b"\n"].concat())
}

fn recv(fd: wasip1::Fd, buffer: &mut [u8], flags: wasip1::Riflags) -> io::Result<&[u8]> {
    let into = [wasip1::Iovec {
        buf: buffer.as_mut_ptr(),
        buf_len: buffer.len(),
    }];
    // SAFETY: the buffer is borrowed for the whole call.
    let (length, _) = unsafe { wasip1::sock_recv(fd, &into, flags) }
        .map_err(|errno| io::Error::from_raw_os_error(errno.raw().into()))?;
    Ok(&buffer[..length])
}

//! One packet of a socket between two processes, with the descriptors it carries. It waits where the socket
//! does.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use smallvec::SmallVec;

/// Descriptors that one packet may carry.
pub const DESCRIPTORS: usize = 4;

/// Fewer than were sent where this process's table has no room for them.
pub type Descriptors = SmallVec<[OwnedFd; DESCRIPTORS]>;

/// Sends `parts` as one packet.
///
/// # Errors
/// What the system says; `MSGSIZE` for too many descriptors.
pub fn send(
    socket: BorrowedFd<'_>,
    parts: &[IoSlice<'_>],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::MSGSIZE);
    }
    sendmsg(socket, parts, &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// The length of the next packet, 0 when the other end is gone, and what it carries.
///
/// # Errors
/// What the system says.
pub fn receive(socket: BorrowedFd<'_>, packet: &mut [u8]) -> Result<(usize, Descriptors), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(packet)], &mut control, flags)?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    Ok((received.bytes, descriptors))
}

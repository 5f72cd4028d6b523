//! `NETLINK_SOCK_DIAG`: the kernel's view of one listening socket. A TCP connection that nobody has
//! accepted has no inode; a unix listener lists the inodes of the clients that wait. A listener's own
//! receive queue is the number of connections in its accept queue.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_packet_sock_diag::unix::nlas::Nla;
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags as UnixStates, UnixRequest};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use super::account::{Depth, Snapshot};

/// More than one answer of a dump takes; the kernel fills packets of up to 32 KiB.
const PACKET: usize = 64 * 1024;

/// Looks at a queue that keeps growing before its identities are given up.
const ATTEMPTS: usize = 8;

/// A netlink socket and the listener it asks about.
#[derive(Debug)]
pub(super) struct Diagnosis {
    netlink: Socket,
    subject: Subject,
    packet: Vec<u8>,
    sequence: u32,
}

#[derive(Debug)]
enum Subject {
    Tcp {
        address: SocketAddr,
        cookie: [u8; 8],
    },
    Unix {
        inode: u32,
    },
}

impl Diagnosis {
    /// Fails where the kernel or a sandbox does not offer socket diagnosis, or for another kind of socket.
    pub fn new(listener: BorrowedFd<'_>) -> io::Result<Self> {
        let subject = match SocketAddr::try_from(rustix::net::getsockname(listener)?) {
            Ok(address) => {
                let cookie = rustix::net::sockopt::socket_cookie(listener)?.to_ne_bytes();
                Subject::Tcp { address, cookie }
            }
            Err(_) => Subject::Unix {
                inode: inode(listener)?,
            },
        };
        let mut netlink = Socket::new(NETLINK_SOCK_DIAG)?;
        netlink.bind_auto()?;
        netlink.connect(&netlink_sys::SocketAddr::new(0, 0))?;
        // The kernel answers while it is asked, so there is nothing to wait for.
        netlink.set_non_blocking(true)?;
        let mut diagnosis = Self {
            netlink,
            subject,
            packet: vec![0; PACKET],
            sequence: 0,
        };
        diagnosis.look(Depth::Length)?;
        Ok(diagnosis)
    }

    /// What waits at the listener.
    pub fn look(&mut self, depth: Depth) -> io::Result<Snapshot> {
        match self.subject {
            Subject::Tcp { address, cookie } => {
                let mut length = self.tcp_length(address, cookie)?;
                if depth == Depth::Identities {
                    for _ in 0..ATTEMPTS {
                        let alive = self.tcp_alive(address)?;
                        // Two questions are not one: who arrives in between makes them disagree.
                        let before =
                            std::mem::replace(&mut length, self.tcp_length(address, cookie)?);
                        if before == length {
                            return Ok(Snapshot {
                                length: Some(length),
                                alive: Some(alive),
                            });
                        }
                    }
                }
                Ok(Snapshot {
                    length: Some(length),
                    alive: None,
                })
            }
            Subject::Unix { inode } => self.unix(inode),
        }
    }

    fn tcp_alive(&mut self, address: SocketAddr) -> io::Result<HashSet<u64>> {
        let states = StateFlags::ESTABLISHED | StateFlags::CLOSE_WAIT;
        let mut alive = HashSet::new();
        self.ask(inet_request(address, states, None), NLM_F_DUMP, |message| {
            if let SockDiagMessage::InetResponse(socket) = message
                && socket.header.inode == 0
                && is_at(&socket, address)
            {
                alive.insert(u64::from_ne_bytes(socket.header.socket_id.cookie));
            }
        })?;
        Ok(alive)
    }

    fn tcp_length(&mut self, address: SocketAddr, cookie: [u8; 8]) -> io::Result<usize> {
        let mut length = None;
        let mut note = |message| {
            if let SockDiagMessage::InetResponse(socket) = message
                && socket.header.socket_id.cookie == cookie
            {
                length = Some(socket.header.recv_queue as usize);
            }
        };
        // One lookup. It misses a listener bound to an interface or one of several on a port; the walk
        // over all listeners does not.
        let exact = inet_request(address, StateFlags::LISTEN, Some(cookie));
        if self.ask(exact, 0, &mut note).is_err() {
            self.ask(
                inet_request(address, StateFlags::LISTEN, None),
                NLM_F_DUMP,
                &mut note,
            )?;
        }
        length.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn unix(&mut self, inode: u32) -> io::Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        let mut note = |message| {
            let SockDiagMessage::UnixResponse(socket) = message else {
                return;
            };
            for attribute in &socket.nlas {
                match attribute {
                    // Inode 0: a client that is gone.
                    Nla::PendingConnections(inodes) => {
                        let alive = inodes.iter().filter(|i| **i != 0).map(|i| u64::from(*i));
                        snapshot.alive = Some(alive.collect());
                        snapshot.length = Some(inodes.len());
                    }
                    Nla::ReceiveQueueLength(waiting, _) => {
                        snapshot.length.get_or_insert(*waiting as usize);
                    }
                    _ => {}
                }
            }
        };
        let both = unix_request(inode, ShowFlags::ICONS | ShowFlags::RQLEN);
        if self.ask(both, 0, &mut note).is_err() {
            // About a thousand inodes fit in the answer; a longer queue is known by its length alone.
            self.ask(unix_request(inode, ShowFlags::RQLEN), 0, &mut note)?;
        }
        Ok(snapshot)
    }

    /// Sends one request and hands every answer to `each`.
    fn ask(
        &mut self,
        request: SockDiagMessage,
        flags: u16,
        mut each: impl FnMut(SockDiagMessage),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, request.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.netlink.send(&bytes, 0)?;
        loop {
            let received = self.netlink.recv(&mut &mut self.packet[..], 0)?;
            let mut rest = &self.packet[..received.min(PACKET)];
            while !rest.is_empty() {
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                    .map_err(io::Error::other)?;
                let length = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
                // Left over from an earlier question that was given up.
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(answer) => each(answer),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::Done(_) => return Ok(()),
                    _ => {}
                }
                if flags & NLM_F_DUMP != NLM_F_DUMP {
                    return Ok(());
                }
            }
        }
    }
}

fn inode(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let inode = rustix::fs::fstat(socket)?.st_ino;
    u32::try_from(inode).map_err(io::Error::other)
}

fn inet_request(
    address: SocketAddr,
    states: StateFlags,
    cookie: Option<[u8; 8]>,
) -> SockDiagMessage {
    let (family, mut socket_id) = match address {
        SocketAddr::V4(_) => (AF_INET, SocketId::new_v4()),
        SocketAddr::V6(_) => (AF_INET6, SocketId::new_v6()),
    };
    socket_id.source_port = address.port();
    socket_id.source_address = address.ip();
    socket_id.cookie = cookie.unwrap_or([0xff; 8]);
    SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id,
    })
}

fn unix_request(inode: u32, show_flags: ShowFlags) -> SockDiagMessage {
    SockDiagMessage::UnixRequest(UnixRequest {
        state_flags: UnixStates::LISTEN,
        inode,
        show_flags,
        cookie: [0xff; 8],
    })
}

/// Another listener may have the same port at another address.
fn is_at(socket: &InetResponse, address: SocketAddr) -> bool {
    let unspecified = match address.ip() {
        IpAddr::V4(ip) => ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    unspecified || socket.header.socket_id.source_address == address.ip()
}

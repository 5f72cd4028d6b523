//! The socket by which a running host is told what to do: to read its trigger file again, and to leave its
//! listeners to a host that takes its place. Each request and each answer is one packet of text, so that
//! hosts of different versions understand one another. Only its user and root can reach it.

mod hearing;
mod place;
mod predecessor;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::sync::oneshot;

use crate::listener::Shared;
use crate::packet;
pub use hearing::{Control, Hearing};
pub use place::place;
pub use predecessor::Predecessor;

/// Bytes of one packet at most: what an answer has beyond them is cut off.
const PACKET: usize = 64 << 10;

/// How long the other side may take to send or take a packet that it has no reason to wait with.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the host is asked.
#[derive(Debug)]
pub enum Request {
    /// To read its trigger file again.
    Reload(oneshot::Sender<Answer>),
    /// For its listeners, under the names by which the next host knows them. They are served all the same.
    Share(oneshot::Sender<Vec<(String, Shared)>>, Caller),
    /// To accept nothing more and to leave its unix paths: another host serves its listeners.
    Leave(oneshot::Sender<()>, Caller),
}

/// Who asks.
#[derive(Debug)]
pub struct Caller(OwnedFd);

impl Caller {
    /// Whether nobody is there any more.
    pub fn is_gone(&self) -> bool {
        let mut watched = [PollFd::new(&self.0, PollFlags::RDHUP)];
        poll(&mut watched, Some(&Timespec::default())) != Ok(0)
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was done; what is to be said of it.
    Done(String),
    /// What was asked for makes no sense.
    Asked(String),
    /// The system refused.
    Refused(String),
}

impl Answer {
    fn to_packet(&self) -> Vec<u8> {
        let (word, text) = match self {
            Self::Done(text) => ("done", text),
            Self::Asked(text) => ("asked", text),
            Self::Refused(text) => ("refused", text),
        };
        let mut packet = format!("{word} {text}").into_bytes();
        packet.truncate(PACKET);
        packet
    }

    fn of_packet(packet: &[u8]) -> anyhow::Result<Self> {
        let text = String::from_utf8_lossy(packet);
        match text.split_once(' ') {
            Some(("done", text)) => Ok(Self::Done(text.to_owned())),
            Some(("asked", text)) => Ok(Self::Asked(text.to_owned())),
            Some(("refused", text)) => Ok(Self::Refused(text.to_owned())),
            _ => bail!("its answer makes no sense: {text:?}"),
        }
    }
}

fn send(to: BorrowedFd<'_>, packet: &[u8]) -> Result<(), Errno> {
    packet::send(to, &[IoSlice::new(packet)], &[])
}

/// Has the host that listens at `path` read its trigger file again, however long that takes.
///
/// # Errors
/// When there is none, or it goes away.
pub fn reload(path: &Path) -> anyhow::Result<Answer> {
    let host = connect(path).with_context(|| {
        format!(
            "no host is to be reached at {}: does one run this trigger file, as this user or with \
             this user's environment?",
            path.display()
        )
    })?;
    send(host.as_fd(), b"reload").context("cannot ask the host")?;
    let mut packet = vec![0; PACKET];
    let (count, _) = packet::receive(host.as_fd(), &mut packet).context("cannot hear the host")?;
    match count {
        0 => bail!("the host is stopping, and does not reload"),
        count => Answer::of_packet(&packet[..count]),
    }
}

fn connect(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_answer_is_heard_as_it_was_given(kind in 0..3, text: String) {
            let answer = match kind {
                0 => Answer::Done(text),
                1 => Answer::Asked(text),
                _ => Answer::Refused(text),
            };
            prop_assert_eq!(Answer::of_packet(&answer.to_packet()).unwrap(), answer);
        }

        #[test]
        fn any_packet_is_an_answer_or_makes_no_sense(
            word in "(done|asked|refused)? ?", rest: Vec<u8>,
        ) {
            let packet = [word.as_bytes(), &rest].concat();
            if let Err(error) = Answer::of_packet(&packet) {
                prop_assert!(word.len() < 2 || !word.ends_with(' '));
                prop_assert!(!error.to_string().chars().any(char::is_control));
            }
        }

        #[test]
        fn an_answer_that_is_too_long_is_cut_and_heard(character: char, more in 0..9_usize) {
            let text = character.to_string().repeat(PACKET / character.len_utf8() + more);
            let packet = Answer::Asked(text).to_packet();
            prop_assert!(packet.len() <= PACKET);
            prop_assert!(matches!(Answer::of_packet(&packet), Ok(Answer::Asked(_))));
        }
    }
}

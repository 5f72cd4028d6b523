//! Hearing what a host is to do: the socket, from when it is bound until another host has it, and whoever comes there.

use std::fs::DirBuilder;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use nix::unistd::{Uid, geteuid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::pipe::PipeFlags;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Caller, PATIENCE, Request, send};
use crate::listener::{Bound, CONTROL, Inherited, Shared};
use crate::packet;
use crate::plan::{Identity, SocketOptions};
use crate::spawner::Ids;

/// Who asks at once, at most: whoever comes then is heard when one of them has gone.
const CLIENTS: usize = 8;

/// Where a host will hear what it is to do. Its socket, and the path of that, go with it.
#[derive(Debug)]
pub struct Control {
    bound: Bound,
    options: SocketOptions,
    /// Whether the host is who it was.
    stays: bool,
}

/// A host hears what it is to do, until this is dropped.
#[derive(Debug)]
pub struct Hearing {
    bound: Option<Bound>,
    /// Closed at the end, which the thread that listens sees.
    end: Option<OwnedFd>,
    listening: Option<JoinHandle<()>>,
}

impl Control {
    /// At `path`, in a folder that is made when there is none, for the host's user; or the predecessor's.
    ///
    /// # Errors
    /// When the socket cannot be bound.
    pub fn bind(path: &Path, ids: Option<&Ids>, inherited: &mut Inherited) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            // What is wrong with it is told when the socket is bound.
            let _ = DirBuilder::new().mode(0o755).create(folder);
        }
        let user = ids.map_or_else(geteuid, |ids| Uid::from_raw(ids.uid));
        let options = SocketOptions {
            mode: Some(0o600),
            owner: Some(Identity::Number(user)),
            ..SocketOptions::default()
        };
        let bound = Bound::packets(path, &options, inherited.control())?;
        // Who becomes somebody else has it given to that one by who stays root.
        let stays = ids.is_none();
        Ok(Self {
            bound,
            options,
            stays,
        })
    }

    /// What it listens with.
    pub fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Gives on what is asked from now on, and what was while nobody heard.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn hear(self) -> anyhow::Result<(Hearing, mpsc::Receiver<Request>)> {
        let Self {
            mut bound,
            options,
            stays,
        } = self;
        bound.take_path(&options)?;
        if stays {
            bound.adapt(&options)?;
        }
        let socket = bound.socket();
        rustix::io::ioctl_fionbio(&socket, true)?;
        let (over, end) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (requests, asked) = mpsc::channel(1);
        let listening = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || accept(&socket, &over, &requests))
            .context("cannot start the thread that listens there")?;
        let hearing = Hearing {
            bound: Some(bound),
            end: Some(end),
            listening: Some(listening),
        };
        Ok((hearing, asked))
    }
}

impl Hearing {
    /// Leaves the socket and its path to the host that has taken the place of this one.
    pub fn leave(mut self) {
        if let Some(bound) = self.bound.take() {
            bound.leave();
        }
    }
}

impl Drop for Hearing {
    fn drop(&mut self) {
        drop(self.end.take());
        // Who comes from now on is for the next host, if there is one. The thread never waits for a client.
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

/// Hears all who come until `over` is closed, each on a thread of its own: one may have to wait until guests are compiled.
fn accept(listener: &Arc<OwnedFd>, over: &OwnedFd, requests: &mpsc::Sender<Request>) {
    let clients = Arc::new(());
    // Without descriptors there may be some again.
    let pause = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let mut exhausted = false;
    loop {
        let mut watched = [
            PollFd::new(over, PollFlags::IN),
            PollFd::new(listener, PollFlags::IN),
        ];
        let (watched, most) = if exhausted {
            (&mut watched[..1], Some(&pause))
        } else {
            (&mut watched[..], None)
        };
        match poll(watched, most) {
            Ok(_) if watched[0].revents().is_empty() => {}
            Err(Errno::INTR) => continue,
            Ok(_) | Err(_) => return,
        }
        let accepted = rustix::net::accept_with(listener, SocketFlags::CLOEXEC);
        exhausted = false;
        let client = match accepted {
            Ok(client) => client,
            Err(Errno::INTR | Errno::CONNABORTED | Errno::AGAIN) => continue,
            Err(_) => {
                exhausted = true;
                continue;
            }
        };
        // A client that is not heard finds its connection closed.
        if Arc::strong_count(&clients) <= CLIENTS {
            // A client that stays keeps nothing open.
            let listener = Arc::downgrade(listener);
            let (requests, place) = (requests.clone(), clients.clone());
            let hear = move || {
                // What it does not take it does not want.
                let _ = hear(&client, &listener, &requests);
                drop(place);
            };
            let _ = thread::Builder::new()
                .name("control".to_owned())
                .spawn(hear);
        }
    }
}

/// Does what a client asks, request by request.
fn hear(
    client: &OwnedFd,
    listener: &Weak<OwnedFd>,
    requests: &mpsc::Sender<Request>,
) -> io::Result<()> {
    for way in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(client, way, Some(PATIENCE))?;
    }
    let mut packet = [0; 64];
    loop {
        let (count, _) = packet::receive(client.as_fd(), &mut packet)?;
        // Who takes the place of this host loads all it needs before it asks again.
        set_socket_timeout(client, Timeout::Recv, None)?;
        match &packet[..count] {
            b"" => return Ok(()),
            b"reload" => {
                let answer = ask(requests, Request::Reload)?;
                send(client.as_fd(), &answer.to_packet())?;
            }
            b"share" => {
                let caller = Caller(client.try_clone()?);
                let shared = ask(requests, |reply| Request::Share(reply, caller))?;
                for (name, Shared { socket, busy }) in shared {
                    let busy = busy.as_ref().map(AsFd::as_fd);
                    let descriptors: Vec<_> = [socket.as_fd()].into_iter().chain(busy).collect();
                    hand(client, &name, &descriptors)?;
                }
                if let Some(listener) = listener.upgrade() {
                    hand(client, CONTROL, &[listener.as_fd()])?;
                }
                send(client.as_fd(), b"end")?;
            }
            b"here" => send(client.as_fd(), b"here")?,
            b"leave" => {
                let caller = Caller(client.try_clone()?);
                ask(requests, |reply| Request::Leave(reply, caller))?;
                send(client.as_fd(), b"left")?;
            }
            other => {
                let other = String::from_utf8_lossy(other);
                let version = env!("CARGO_PKG_VERSION");
                let answer = format!("this host, of version {version}, does not know {other:?}");
                send(client.as_fd(), &Answer::Asked(answer).to_packet())?;
            }
        }
    }
}

fn ask<T>(
    requests: &mpsc::Sender<Request>,
    request: impl FnOnce(oneshot::Sender<T>) -> Request,
) -> io::Result<T> {
    let stopping = || io::Error::other("the host is stopping");
    let (reply, answer) = oneshot::channel();
    requests
        .blocking_send(request(reply))
        .map_err(|_| stopping())?;
    answer.blocking_recv().map_err(|_| stopping())
}

/// Hands over a listener, and what tells that nobody else has it any more.
pub(super) fn hand(to: &OwnedFd, name: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let name = [IoSlice::new(b"socket "), IoSlice::new(name.as_bytes())];
    packet::send(to.as_fd(), &name, descriptors)
}

//! The host whose place this one takes: it gives its listeners while it still serves them, and leaves when
//! this one is ready, so that at every moment somebody accepts, or is about to.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use super::{PATIENCE, connect, send};
use crate::listener::Inherited;
use crate::packet;

/// How long a host may take to say that it is there.
const PROBE: Duration = Duration::from_secs(1);

/// A running host that has given its listeners.
#[derive(Debug)]
pub struct Predecessor {
    host: OwnedFd,
    path: PathBuf,
}

impl Predecessor {
    /// The one that listens at `path`, whose listeners are then among the `inherited`. `None`: there is none.
    ///
    /// # Errors
    /// When there is one and it does not give them.
    pub fn find(path: &Path, inherited: &mut Inherited) -> anyhow::Result<Option<Self>> {
        let host = match connect(path) {
            Ok(host) => host,
            Err(error)
                if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused]
                    .contains(&error.kind()) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error).context("cannot reach it"),
        };
        wait_no_longer(&host, PATIENCE)?;
        send(host.as_fd(), b"share").context("cannot ask it for its listeners")?;
        loop {
            let mut packet = [0; 512];
            let (count, sockets) = packet::receive(host.as_fd(), &mut packet)
                .context("cannot hear what its listeners are")?;
            let text = String::from_utf8_lossy(&packet[..count]);
            match text.split_once(' ') {
                Some(("socket", name)) => {
                    let mut sockets = sockets.into_iter();
                    let socket = sockets.next();
                    let socket = socket.context("there is no descriptor for its listener")?;
                    inherited.add_handed(name.to_owned(), socket, sockets.next());
                }
                None if text == "end" => {
                    let path = path.to_owned();
                    return Ok(Some(Self { host, path }));
                }
                // It ends at this moment.
                None if text.is_empty() => return Ok(None),
                _ => bail!("it does not give its listeners: {text:?}"),
            }
        }
    }

    /// Has it leave. When this returns nobody but this host accepts.
    ///
    /// # Errors
    /// When it serves still, or another host has taken its place meanwhile.
    pub fn relieve(self) -> anyhow::Result<()> {
        let Self { host, path } = self;
        let Err(error) = leave(&host) else {
            return Ok(());
        };
        // One that has ended meanwhile has left, too.
        if !is_heard(&path) {
            return Ok(());
        }
        Err(error).with_context(|| {
            format!(
                "the host at {} serves still, or another has taken its place",
                path.display()
            )
        })
    }
}

/// Whether some host hears at a control socket. To connect says nothing: this one has it, too.
fn is_heard(path: &Path) -> bool {
    let answer = connect(path).map_err(anyhow::Error::from).and_then(|host| {
        wait_no_longer(&host, PROBE)?;
        send(host.as_fd(), b"here")?;
        Ok(packet::receive(host.as_fd(), &mut [0; 512])?.0)
    });
    answer.is_ok_and(|count| count > 0)
}

/// Neither for what it says, nor until it listens.
fn wait_no_longer(host: &OwnedFd, patience: Duration) -> Result<(), Errno> {
    for way in [Timeout::Send, Timeout::Recv] {
        set_socket_timeout(host, way, Some(patience))?;
    }
    Ok(())
}

fn leave(host: &OwnedFd) -> anyhow::Result<()> {
    // However long it takes: it leaves when it has heard this, and when it dies that is seen.
    set_socket_timeout(host, Timeout::Recv, None)?;
    send(host.as_fd(), b"leave").context("cannot ask it to leave")?;
    let mut packet = [0; 512];
    let (count, _) =
        packet::receive(host.as_fd(), &mut packet).context("cannot hear whether it has left")?;
    ensure!(&packet[..count] == b"left", "it has not said that it left");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use rustix::net::{SocketFlags, accept_with};

    use super::*;
    use crate::listener::{Bound, CONTROL};
    use crate::plan::SocketOptions;

    /// A host that hands over its control socket and dies.
    fn hand_over(listener: &Arc<OwnedFd>) {
        let client = accept_with(&**listener, SocketFlags::CLOEXEC).unwrap();
        packet::receive(client.as_fd(), &mut [0; 64]).unwrap();
        super::super::hearing::hand(&client, CONTROL, &[listener.as_fd()]).unwrap();
        send(client.as_fd(), b"end").unwrap();
    }

    fn relieved(then: impl FnOnce(Arc<OwnedFd>) + Send + 'static) -> anyhow::Result<()> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let bound = Bound::packets(&path, &SocketOptions::default(), None).unwrap();
        let host = thread::spawn(move || {
            let listener = bound.socket();
            hand_over(&listener);
            then(listener);
            bound
        });
        let mut inherited = Inherited::default();
        let found = Predecessor::find(&path, &mut inherited).unwrap().unwrap();
        let _listener = inherited.control().unwrap();
        let relieved = found.relieve();
        drop(host.join().unwrap());
        relieved
    }

    #[test]
    fn a_host_that_has_died_meanwhile_has_left() {
        relieved(|_| ()).unwrap();
    }

    #[test]
    fn a_host_whose_place_another_has_taken_cannot_be_relieved_again() {
        let error = relieved(|listener| {
            let client = accept_with(&*listener, SocketFlags::CLOEXEC).unwrap();
            packet::receive(client.as_fd(), &mut [0; 64]).unwrap();
            send(client.as_fd(), b"here").unwrap();
        });
        assert!(format!("{:#}", error.unwrap_err()).contains("another has taken its place"));
    }
}

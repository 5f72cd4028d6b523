//! Stories of processes that are made ready while another runs, and begin after it.

use std::fs::File;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::sys::signal::Signal;
use portcullis::spawner::{Ended, Handle, Process, Setup};

use super::shell;

/// A listener, a process that ends with a status when its stdin does, and one that comes after it.
struct Two {
    listener: TcpListener,
    first: Process,
    stdin: OwnedFd,
    second: Process,
    stdout: File,
}

impl Two {
    async fn start(spawner: &Handle, status: i32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let null = File::options().write(true).open("/dev/null").unwrap();
        let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let ((theirs, stdin), (stdout, said)) = (pipe(), pipe());
        let setup = Setup::default();
        let first = spawner
            .register(&shell(&format!("read x; exit {status}")), &setup, None)
            .unwrap();
        let second = spawner
            .register(&shell("echo $LISTEN_PID $$ $PORT"), &setup, None)
            .unwrap();
        let fds = [theirs.as_fd(), null.as_fd(), null.as_fd(), listener.as_fd()];
        let first = spawner.spawn(&first, b"", fds).await.unwrap();
        let fds = [theirs.as_fd(), said.as_fd(), null.as_fd(), listener.as_fd()];
        let second = spawner.spawn_after(&first, &second, b"PORT=1\0", fds).await;
        Self {
            listener,
            first,
            stdin,
            second: second.unwrap(),
            stdout: stdout.into(),
        }
    }

    fn client(&self) -> TcpStream {
        TcpStream::connect(self.listener.local_addr().unwrap()).unwrap()
    }

    /// The second must never have begun.
    async fn ends_spared(mut self) {
        assert!(!self.second.started().await);
        assert_eq!(self.second.wait().await.unwrap(), Ended::Spared);
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        assert_eq!(said, "");
    }
}

pub async fn one_that_comes_after_another_begins_when_that_has_ended(spawner: Handle) {
    let mut two = Two::start(&spawner, 0).await;
    let _client = two.client();
    two.listener.set_nonblocking(true).unwrap();
    let moment = Duration::from_millis(50);
    let early = tokio::time::timeout(moment, two.second.started()).await;
    assert!(early.is_err(), "it waits for its turn");
    drop(two.stdin);
    assert_eq!(two.first.wait().await.unwrap(), Ended::Exited(0));
    let pid = two.second.pid().await.unwrap();
    assert_eq!(two.second.wait().await.unwrap(), Ended::Exited(0));
    let mut said = String::new();
    two.stdout.read_to_string(&mut said).unwrap();
    assert_eq!(said, format!("{pid} {pid} 1\n"));
    let flags = rustix::fs::fcntl_getfl(&two.listener).unwrap();
    assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
}

pub async fn one_that_comes_after_another_is_spared_when_nothing_waits(spawner: Handle) {
    let mut two = Two::start(&spawner, 0).await;
    drop(std::mem::replace(
        &mut two.stdin,
        two.listener.as_fd().try_clone_to_owned().unwrap(),
    ));
    two.ends_spared().await;
}

pub async fn one_that_comes_after_another_is_spared_when_that_is_signalled(spawner: Handle) {
    let two = Two::start(&spawner, 0).await;
    let _client = two.client();
    two.first.signal(Signal::SIGTERM as i32).await.unwrap();
    two.ends_spared().await;
}

pub async fn one_that_comes_after_another_can_be_spared(spawner: Handle) {
    let two = Two::start(&spawner, 0).await;
    let _client = two.client();
    two.second.spare().await;
    two.ends_spared().await;
}

pub async fn none_begins_after_one_that_was_spared(spawner: Handle) {
    let two = Two::start(&spawner, 0).await;
    let _client = two.client();
    let null = File::options().write(true).open("/dev/null").unwrap();
    let fds = [
        null.as_fd(),
        null.as_fd(),
        null.as_fd(),
        two.listener.as_fd(),
    ];
    let third = spawner
        .register(&shell("true"), &Setup::default(), None)
        .unwrap();
    let third = spawner.spawn_after(&two.second, &third, b"", fds).await;
    two.second.spare().await;
    assert_eq!(third.unwrap().wait().await.unwrap(), Ended::Spared);
    two.ends_spared().await;
}

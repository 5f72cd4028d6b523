//! The state of one preview-1 instance: its descriptors, its connection, its files and its log.
//! Nothing in it is shared with another instance but what cannot be changed.

use std::sync::Arc;

use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p1::types::{Errno, Error, Fd};
use wasmtime_wasi::{WasiCtxBuilder, WasiView};

use super::Style;
use super::args::Strings;
use super::descriptors::{Descriptor, Descriptors};
use super::dirs::Dirs;
use super::env;
use super::socket::Socket;
use crate::connection::{Peer, Stream};
use crate::engine::{Budget, Metered};
use crate::meter::Meter;
use crate::output::{Channel, Lines};

/// How an instance said that it has finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It waited for another connection.
    Served,
    /// It called exit with this status.
    Exit(i32),
}

/// One preview-1 instance.
pub struct Guest {
    pub(super) style: Style,
    pub(super) descriptors: Descriptors,
    pub(super) socket: Socket,
    pub(super) listener_nonblocking: bool,
    pub(super) args: Strings,
    env: Strings,
    peer: Peer,
    trigger: Arc<str>,
    id: u64,
    /// Its two logs, once it has said something there.
    stdout: Option<Box<Lines>>,
    stderr: Option<Box<Lines>>,
    pub(super) meter: Arc<Meter>,
    pub(super) finish: Option<Finish>,
    /// wasmtime-wasi's part, for the files: only a guest with directories has one.
    files: Option<Box<WasiP1Ctx>>,
    budget: Budget,
}

/// What a new instance is given.
pub struct Given<'a> {
    /// How it finds its connection.
    pub style: Style,
    /// Its arguments, its own name first.
    pub args: Strings,
    /// Its variables, but for those that tell of its client,
    pub env: Strings,
    /// who is this.
    pub peer: Peer,
    /// Its directories.
    pub dirs: &'a Dirs,
    /// For its log: what it serves,
    pub trigger: Arc<str>,
    /// and which connection.
    pub id: u64,
    /// The connection itself.
    pub stream: Stream,
    /// What counts its use.
    pub meter: Arc<Meter>,
    /// What it may use.
    pub budget: Budget,
}

impl Guest {
    /// An instance that has not begun.
    pub fn new(given: Given<'_>) -> Self {
        let Given {
            style,
            args,
            env,
            peer,
            dirs,
            trigger,
            id,
            stream,
            meter,
            budget,
        } = given;
        let files = (dirs.count() > 0).then(|| {
            let mut context = WasiCtxBuilder::new().build_p1();
            dirs.give(context.ctx().ctx);
            Box::new(context)
        });
        let (descriptors, socket) = match style {
            Style::Socket => (
                Descriptors::socket_style(dirs.count()),
                Socket::offered(stream, meter.clone()),
            ),
            Style::Stdio => (
                Descriptors::stdio_style(dirs.count()),
                Socket::open(stream, meter.clone()),
            ),
        };
        Self {
            style,
            descriptors,
            socket,
            listener_nonblocking: false,
            args,
            env,
            peer,
            trigger,
            id,
            stdout: None,
            stderr: None,
            meter,
            finish: None,
            files,
            budget,
        }
    }

    /// Its variables: put together when it asks, which few do.
    pub(super) fn variables(&self) -> Strings {
        self.env.with(&env::remote(&self.peer))
    }

    /// How it said that it has finished, if it did.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Whether the client was seen to go away.
    pub fn hangup(&self) -> bool {
        self.socket.hangup
    }

    /// One of its two logs.
    pub(super) fn lines(&mut self, channel: Channel) -> &mut Lines {
        let lines = match channel {
            Channel::Stdout => &mut self.stdout,
            Channel::Stderr => &mut self.stderr,
        };
        lines.get_or_insert_with(|| Lines::new(self.trigger.clone(), self.id, channel).into())
    }

    /// Ends the instance, from within a call of its own.
    pub(super) fn end(&mut self, finish: Finish) -> wasmtime::Error {
        self.finish = Some(finish);
        wasmtime::format_err!("the guest has finished")
    }

    /// wasmtime-wasi's part and its number for the file or directory at `fd`; `otherwise` when it
    /// is something else that is open.
    pub(super) fn file(&mut self, fd: Fd, otherwise: Errno) -> Result<(&mut WasiP1Ctx, Fd), Error> {
        match (self.descriptors.get(fd)?, &mut self.files) {
            (Descriptor::File(inner), Some(files)) => Ok((files, inner.into())),
            _ => Err(otherwise.into()),
        }
    }

    /// The same for the two directories of a call.
    pub(super) fn two_files(&mut self, a: Fd, b: Fd) -> Result<(&mut WasiP1Ctx, Fd, Fd), Error> {
        match (
            self.descriptors.get(a)?,
            self.descriptors.get(b)?,
            &mut self.files,
        ) {
            (Descriptor::File(a), Descriptor::File(b), Some(files)) => {
                Ok((files, a.into(), b.into()))
            }
            _ => Err(Errno::Notdir.into()),
        }
    }

    /// Lets go of what a descriptor stood for, after its number is gone.
    pub(super) async fn release(
        &mut self,
        memory: &mut wiggle::GuestMemory<'_>,
        descriptor: Descriptor,
    ) -> Result<(), Error> {
        use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
        match (descriptor, &mut self.files) {
            (Descriptor::Connection, _) if !self.descriptors.any_connection() => {
                self.socket.close();
                Ok(())
            }
            (Descriptor::File(inner), Some(files)) => files.fd_close(memory, inner.into()).await,
            _ => Ok(()),
        }
    }

    /// Prepares wasmtime-wasi's part for a call, as its own linker would.
    pub(super) fn fuel_files(&mut self, fuel: usize) {
        use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
        if let Some(files) = &mut self.files {
            files.set_hostcall_fuel(fuel);
        }
    }
}

impl Metered for Guest {
    fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }
}

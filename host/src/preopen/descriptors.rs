//! The descriptors of a preview-1 guest. wasmtime-wasi numbers its own from 3 and knows no socket,
//! so the guest's numbers are kept here: each stands for the listener, the connection, a log
//! stream, or a descriptor of wasmtime-wasi under another number.

use wasmtime_wasi::p1::types::{Errno, Fd};

use super::dirs::FILES;
use crate::output::Channel;

/// Descriptors one guest may have open.
const MOST: usize = FILES as usize;

/// What a descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descriptor {
    /// Input that has ended.
    Empty,
    Log(Channel),
    Listener,
    Connection,
    /// A file or directory, by its number in wasmtime-wasi.
    File(u32),
}

/// The guest's descriptors by their number.
#[derive(Debug)]
pub(super) struct Descriptors(Vec<Option<Descriptor>>);

impl Descriptors {
    /// Those of a program that accepts its connection: stdin is empty, stdout and stderr are the
    /// log, the listener is 3, and `dirs` directories follow.
    pub fn socket_style(dirs: u32) -> Self {
        let log = [Channel::Stdout, Channel::Stderr].map(Descriptor::Log);
        Self::new(
            [Descriptor::Empty]
                .into_iter()
                .chain(log)
                .chain([Descriptor::Listener]),
            dirs,
        )
    }

    /// Those of a program whose stdin and stdout are its connection.
    pub fn stdio_style(dirs: u32) -> Self {
        let connected = [Descriptor::Connection; 2];
        Self::new(
            connected
                .into_iter()
                .chain([Descriptor::Log(Channel::Stderr)]),
            dirs,
        )
    }

    fn new(first: impl Iterator<Item = Descriptor>, dirs: u32) -> Self {
        // wasmtime-wasi gives preopened directories the numbers from 3, in their order.
        let dirs = (3..3 + dirs).map(Descriptor::File);
        Self(first.chain(dirs).map(Some).collect())
    }

    pub fn get(&self, fd: Fd) -> Result<Descriptor, Errno> {
        let slot = usize::try_from(u32::from(fd))
            .ok()
            .and_then(|fd| self.0.get(fd));
        slot.copied().flatten().ok_or(Errno::Badf)
    }

    /// Gives `descriptor` the lowest number that is free, as POSIX has it.
    pub fn add(&mut self, descriptor: Descriptor) -> Result<Fd, Errno> {
        let free = self
            .0
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.0.len());
        if free >= MOST {
            return Err(Errno::Mfile);
        }
        if free == self.0.len() {
            self.0.push(None);
        }
        self.0[free] = Some(descriptor);
        Ok(u32::try_from(free).map_err(|_| Errno::Mfile)?.into())
    }

    /// Whether one more could be added.
    pub fn has_room(&self) -> bool {
        self.0.len() < MOST || self.0.iter().any(Option::is_none)
    }

    pub fn remove(&mut self, fd: Fd) -> Result<Descriptor, Errno> {
        let removed = self.get(fd)?;
        self.0[u32::from(fd) as usize] = None;
        Ok(removed)
    }

    /// Moves what is at `from` to `to`, as dup2(2) and close(2) of `from` would; tells what was
    /// there before.
    pub fn renumber(&mut self, from: Fd, to: Fd) -> Result<Option<Descriptor>, Errno> {
        let moved = self.get(from)?;
        let slot = usize::try_from(u32::from(to)).map_err(|_| Errno::Badf)?;
        if slot >= MOST {
            return Err(Errno::Badf);
        }
        if from == to {
            return Ok(None);
        }
        if slot >= self.0.len() {
            self.0.resize(slot + 1, None);
        }
        self.0[u32::from(from) as usize] = None;
        Ok(self.0[slot].replace(moved))
    }

    /// Whether any number stands for the connection.
    pub fn any_connection(&self) -> bool {
        self.0.contains(&Some(Descriptor::Connection))
    }
}

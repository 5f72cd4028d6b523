//! What preview 1 promises, without the host: the memory of an instance, its descriptors and its connection, whose client has sent all
//! that it says and now only listens. Every call has one right answer, or is `Unforeseen` and not made.

mod poll;

/// Bytes of a page, and of the memory. The first page is foretold; the guest has its script in the second.
pub const PAGE: u32 = 0x1_0000;
pub const MEMORY: u32 = 2 * PAGE;

/// The factor of the hash of a page.
pub const HASH: u64 = 0x9e37_79b9_7f4a_7c15;

/// Descriptors at most, and buffers of one call.
const DESCRIPTORS: usize = 64;
const BUFFERS: u32 = 1024;

/// Bytes that may wait for the client in all, and those of a guest that does not wait for it.
const SENT: usize = 512 << 10;
const SENT_AT_ONCE: usize = 32 << 10;

/// Preview 1's words for what is wrong.
pub mod errno {
    pub const AGAIN: u32 = 6;
    pub const BADF: u32 = 8;
    pub const INVAL: u32 = 28;
    pub const NOTCONN: u32 = 53;
    pub const NOTSOCK: u32 = 57;
    pub const NOTSUP: u32 = 58;
    pub const PIPE: u32 = 64;
    pub const SPIPE: u32 = 70;
}
use errno::{AGAIN, BADF, INVAL, NOTCONN, NOTSOCK, PIPE, SPIPE};

/// All that the client says.
pub fn input() -> Vec<u8> {
    (0..4096u32)
        .map(|place| (place * 31 + place / 256).to_le_bytes()[0])
        .collect()
}

/// How an instance ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Done,
    Exit(i32),
    Trap,
}

/// What a call comes to, when it does not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Not {
    Errno(u32),
    End(Ending),
    /// It depends on time, on what the guest keeps for itself, or waits for what never comes.
    Unforeseen,
}

pub type Answer<T = ()> = Result<T, Not>;

const TRAP: Not = Not::End(Ending::Trap);

fn error<T>(errno: u32) -> Answer<T> {
    Err(Not::Errno(errno))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Descriptor {
    Empty,
    Log,
    Listener,
    Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Offered,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    Some,
    All,
    Peek,
}

/// The state of an instance.
#[derive(Clone, Debug)]
pub struct Model {
    page: Vec<u8>,
    descriptors: Vec<Option<Descriptor>>,
    link: Link,
    nonblocking: bool,
    listener_nonblocking: bool,
    write_ended: bool,
    /// Whether the client was noticed to take no more, which is told in place of a trap.
    pub hangup: bool,
    input: Vec<u8>,
    /// Bytes of the input that were taken.
    pub read: usize,
    /// What was sent.
    pub sent: Vec<u8>,
    writes: u32,
}

impl Model {
    pub fn new() -> Self {
        let first = [
            Descriptor::Empty,
            Descriptor::Log,
            Descriptor::Log,
            Descriptor::Listener,
        ];
        Self {
            page: vec![0; PAGE as usize],
            descriptors: first.map(Some).to_vec(),
            link: Link::Offered,
            nonblocking: false,
            listener_nonblocking: false,
            write_ended: false,
            hangup: false,
            input: input(),
            read: 0,
            sent: Vec::new(),
            writes: 0,
        }
    }

    /// The hash of the first page.
    pub fn hash(&self) -> u64 {
        let words = self
            .page
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        words.fold(0, |sum: u64, word| {
            (sum ^ word).wrapping_mul(HASH).rotate_left(29)
        })
    }

    /// Bytes at a place that a call reads.
    fn load(&self, at: u32, length: u32, align: u32) -> Answer<&[u8]> {
        let end = within(at, length, align)?;
        self.page.get(at as usize..end).ok_or(Not::Unforeseen)
    }

    fn word(&self, at: u32) -> Answer<u32> {
        Ok(u32::from_le_bytes(
            self.load(at, 4, 4)?.try_into().expect("four bytes"),
        ))
    }

    /// Bytes that a call writes. Those of the second page are the guest's to forget.
    pub fn store(&mut self, at: u32, bytes: &[u8], align: u32) -> Answer {
        let length = u32::try_from(bytes.len()).map_err(|_| TRAP)?;
        within(at, length, align)?;
        let start = at.min(PAGE) as usize;
        let count = bytes.len().min(self.page.len() - start);
        self.page[start..start + count].copy_from_slice(&bytes[..count]);
        Ok(())
    }

    fn get(&self, fd: u32) -> Answer<Descriptor> {
        self.descriptors
            .get(fd as usize)
            .copied()
            .flatten()
            .ok_or(Not::Errno(BADF))
    }

    fn connection(&self, fd: u32) -> Answer {
        match self.get(fd)? {
            Descriptor::Connection => Ok(()),
            Descriptor::Listener => error(NOTCONN),
            Descriptor::Empty | Descriptor::Log => error(NOTSOCK),
        }
    }

    pub fn sock_accept(&mut self, fd: u32, flags: u32, told: u32) -> Answer {
        fdflags(flags)?;
        match self.get(fd)? {
            Descriptor::Listener => {}
            Descriptor::Connection => return error(INVAL),
            Descriptor::Empty | Descriptor::Log => return error(NOTSOCK),
        }
        if self.link == Link::Offered {
            let free = self
                .descriptors
                .iter()
                .position(Option::is_none)
                .unwrap_or(self.descriptors.len());
            self.descriptors
                .resize(self.descriptors.len().max(free + 1), None);
            self.descriptors[free] = Some(Descriptor::Connection);
            self.link = Link::Open;
            self.nonblocking = is_nonblocking(flags);
            return self.store(told, &u32::try_from(free).expect("few").to_le_bytes(), 4);
        }
        if self.listener_nonblocking {
            return error(AGAIN);
        }
        Err(Not::End(Ending::Done))
    }

    pub fn fd_read(&mut self, fd: u32, list: u32, count: u32, told: u32) -> Answer {
        let read = match self.get(fd)? {
            Descriptor::Connection => self.receive(list, count, Take::Some)?,
            Descriptor::Empty => 0,
            Descriptor::Listener => return error(NOTCONN),
            Descriptor::Log => return error(BADF),
        };
        self.store(told, &read.to_le_bytes(), 4)
    }

    pub fn sock_recv(
        &mut self,
        fd: u32,
        list: u32,
        count: u32,
        flags: u32,
        told: u32,
        out: u32,
    ) -> Answer {
        let take = match flags {
            0 => Take::Some,
            1 | 3 => Take::Peek,
            2 => Take::All,
            _ => return error(INVAL),
        };
        self.connection(fd)?;
        let read = self.receive(list, count, take)?;
        self.store(told, &read.to_le_bytes(), 4)?;
        self.store(out, &[0; 2], 2)
    }

    pub fn fd_write(&mut self, fd: u32, list: u32, count: u32, told: u32) -> Answer {
        let written = match self.get(fd)? {
            Descriptor::Connection => self.send(list, count)?,
            Descriptor::Log => self.log(list, count)?,
            Descriptor::Listener => return error(NOTCONN),
            Descriptor::Empty => return error(BADF),
        };
        self.store(told, &written.to_le_bytes(), 4)
    }

    pub fn sock_send(&mut self, fd: u32, list: u32, count: u32, flags: u32, told: u32) -> Answer {
        if flags != 0 {
            return error(INVAL);
        }
        self.connection(fd)?;
        let written = self.send(list, count)?;
        self.store(told, &written.to_le_bytes(), 4)
    }

    /// The buffers of a call that are not empty.
    fn buffers(&self, list: u32, count: u32) -> Answer<Vec<(u32, u32)>> {
        if count > BUFFERS {
            return error(INVAL);
        }
        let (mut found, mut sum) = (Vec::new(), 0u32);
        for index in 0..count {
            let (at, length) = self.buffer(list, index)?;
            sum = sum.checked_add(length).ok_or(Not::Errno(INVAL))?;
            if length > 0 {
                found.push((at, length));
            }
        }
        Ok(found)
    }

    fn buffer(&self, list: u32, index: u32) -> Answer<(u32, u32)> {
        let at = index
            .checked_mul(8)
            .and_then(|offset| list.checked_add(offset))
            .ok_or(TRAP)?;
        let length = at.checked_add(4).ok_or(TRAP)?;
        Ok((self.word(at)?, self.word(length)?))
    }

    /// What recv(2) does with several buffers, which may overlap.
    fn receive(&mut self, list: u32, count: u32, take: Take) -> Answer<u32> {
        let mut total = 0;
        for (at, length) in self.buffers(list, count)? {
            within(at, length, 1)?;
            let rest = &self.input[self.read..];
            let bytes = rest[..rest.len().min(length as usize)].to_vec();
            self.store(at, &bytes, 1)?;
            total += u32::try_from(bytes.len()).expect("few");
            if take == Take::Peek {
                break;
            }
            self.read += bytes.len();
            if bytes.len() < length as usize {
                break;
            }
        }
        Ok(total)
    }

    fn send(&mut self, list: u32, count: u32) -> Answer<u32> {
        let buffers = self.buffers(list, count)?;
        for (at, length) in &buffers {
            within(*at, *length, 1)?;
        }
        if buffers.is_empty() {
            return Ok(0);
        }
        if self.write_ended {
            self.hangup = true;
            return error(PIPE);
        }
        let before = self.sent.len();
        let most = if self.nonblocking { SENT_AT_ONCE } else { SENT };
        for (at, length) in buffers {
            let bytes = self.load(at, length, 1)?.to_vec();
            self.sent.extend(bytes);
            if self.sent.len() > most {
                return Err(Not::Unforeseen);
            }
        }
        self.writes += 1;
        Ok(u32::try_from(self.sent.len() - before).expect("few"))
    }

    fn log(&self, list: u32, count: u32) -> Answer<u32> {
        for index in 0..count {
            let (at, length) = self.buffer(list, index)?;
            if length > 0 {
                within(at, length, 1)?;
                return Ok(length);
            }
        }
        Ok(0)
    }

    pub fn sock_shutdown(&mut self, fd: u32, how: u32) -> Answer {
        known(how <= 3)?;
        self.connection(fd)?;
        self.write_ended |= how & 2 != 0;
        if how == 0 { error(INVAL) } else { Ok(()) }
    }

    pub fn fd_close(&mut self, fd: u32) -> Answer {
        let closed = self.get(fd)?;
        self.descriptors[fd as usize] = None;
        self.released(Some(closed));
        Ok(())
    }

    pub fn fd_renumber(&mut self, from: u32, to: u32) -> Answer {
        let moved = self.get(from)?;
        let place = to as usize;
        if place >= DESCRIPTORS {
            return error(BADF);
        }
        if from != to {
            self.descriptors
                .resize(self.descriptors.len().max(place + 1), None);
            self.descriptors[from as usize] = None;
            let replaced = self.descriptors[place].replace(moved);
            self.released(replaced);
        }
        Ok(())
    }

    fn released(&mut self, descriptor: Option<Descriptor>) {
        if descriptor == Some(Descriptor::Connection) {
            self.link = Link::Closed;
        }
    }

    pub fn fd_fdstat_get(&mut self, fd: u32, told: u32) -> Answer {
        const READ: u64 = 1 << 1;
        const WRITE: u64 = 1 << 6;
        const SOCKET: u64 = READ | WRITE | 1 << 3 | 1 << 21 | 1 << 27 | 1 << 28;
        let (kind, nonblocking, rights) = match self.get(fd)? {
            Descriptor::Empty => (0, false, READ),
            Descriptor::Log => (0, false, WRITE),
            Descriptor::Listener => (6, self.listener_nonblocking, SOCKET | 1 << 29),
            Descriptor::Connection => (6, self.nonblocking, SOCKET),
        };
        let flags = if nonblocking { 4u16 } else { 0 };
        within(told, 24, 8)?;
        self.store(told, &[kind], 1)?;
        self.store(told + 2, &flags.to_le_bytes(), 2)?;
        self.store(told + 8, &rights.to_le_bytes(), 8)?;
        self.store(told + 16, &SOCKET.to_le_bytes(), 8)
    }

    pub fn fd_fdstat_set_flags(&mut self, fd: u32, flags: u32) -> Answer {
        fdflags(flags)?;
        match self.get(fd)? {
            Descriptor::Listener => self.listener_nonblocking = is_nonblocking(flags),
            Descriptor::Connection => self.nonblocking = is_nonblocking(flags),
            Descriptor::Empty | Descriptor::Log => {}
        }
        Ok(())
    }

    pub fn fd_prestat_get(&mut self, fd: u32, told: u32) -> Answer {
        // A socket, whatever became of it.
        if fd == 3 {
            self.store(told, &[1, 0, 0, 0, 0, 0, 0, 0], 1)
        } else {
            error(BADF)
        }
    }

    pub fn fd_seek(&self, fd: u32, whence: u32) -> Answer {
        known(whence <= 2)?;
        self.get(fd)?;
        error(SPIPE)
    }

    pub fn clock_time_get(&mut self, clock: u32, told: u32) -> Answer {
        known(clock <= 3)?;
        self.store(told, &[0; 8], 8)
    }

    pub fn random_get(&mut self, at: u32, length: u32) -> Answer {
        within(at, length, 1)?;
        self.store(at, &vec![0; length as usize], 1)
    }
}

/// Where so many bytes end, which have to be in memory.
fn within(at: u32, length: u32, align: u32) -> Answer<usize> {
    match at.checked_add(length) {
        Some(end) if end <= MEMORY && at.is_multiple_of(align) => Ok(end as usize),
        _ => Err(TRAP),
    }
}

/// wasmtime ends a guest that calls with a flag or a word that there is not.
fn known(is: bool) -> Answer {
    if is { Ok(()) } else { Err(TRAP) }
}

fn fdflags(flags: u32) -> Answer {
    known(flags <= 0x1f)
}

fn is_nonblocking(flags: u32) -> bool {
    flags & 4 != 0
}

//! What bytes stand for: steps of a guest, each with the answer that the model foretells. A step that it cannot foretell is left out.

use super::guest::{END, NUMBERS, POKE, PROC_EXIT};
use super::model::{Answer, Ending, MEMORY, Model, Not, PAGE};

/// Bytes of one step, and steps of one script.
const BYTES: usize = 16;
const STEPS: usize = 96;

/// Descriptors as a guest may name them: those that there are, those that may be, and none.
const DESCRIPTORS: [u32; 16] = [
    3,
    4,
    3,
    4,
    0,
    1,
    2,
    5,
    6,
    7,
    62,
    63,
    64,
    1000,
    i32::MAX as u32,
    u32::MAX,
];

/// Lengths and counts, likewise; the rest are as they are.
const COUNTS: [u32; 8] = [1, 2, 3, 1024, 1025, 4096, 0xffff_fff8, u32::MAX];

/// Times of a clock.
const TIMES: [u64; 6] = [
    0,
    1_000_000,
    5_000_000_000_000,
    1_500_000_000_000_000_000,
    i64::MAX as u64,
    u64::MAX,
];

/// One step: what to do, and the answer.
#[derive(Clone, Debug)]
struct Step {
    what: u32,
    arguments: [u64; 6],
    answer: u32,
    hash: u64,
}

/// What a guest does, and what comes of it.
#[derive(Debug)]
pub struct Script {
    steps: Vec<Step>,
    /// How it ends.
    pub ending: Ending,
    /// What the client hears.
    pub sent: Vec<u8>,
    /// Bytes that the guest takes from its client.
    pub read: usize,
}

impl Script {
    /// The script that `data` stands for.
    pub fn new(data: &[u8]) -> Self {
        let mut model = Model::new();
        let mut script = Self {
            steps: Vec::new(),
            ending: Ending::Done,
            sent: Vec::new(),
            read: 0,
        };
        for bytes in data.chunks_exact(BYTES) {
            if script.steps.len() >= STEPS {
                break;
            }
            let bytes = Bytes(bytes.try_into().expect("as many as asked for"));
            if let Some(ending) = script.add(&mut model, &bytes) {
                script.ending = ending;
                break;
            }
        }
        if script.ending == Ending::Done {
            script.push(&model, END, [0; 6], 0);
        }
        script.sent = model.sent;
        script.read = model.read;
        script
    }

    /// As the guest reads it.
    pub fn written(&self) -> String {
        let mut text = String::with_capacity(self.steps.len() * 16 * NUMBERS as usize);
        for Step {
            what,
            arguments,
            answer,
            hash,
        } in &self.steps
        {
            let [a, b, c, d, e, f] = *arguments;
            for number in [
                u64::from(*what),
                a,
                b,
                c,
                d,
                e,
                f,
                u64::from(*answer),
                *hash,
            ] {
                let digits = (0..16)
                    .rev()
                    .map(|digit| (number >> (4 * digit) & 15) as u8);
                text.extend(digits.map(|digit| char::from(b'0' + digit)));
            }
        }
        text
    }

    fn push(&mut self, model: &Model, what: u32, arguments: [u64; 6], answer: u32) {
        let hash = model.hash();
        self.steps.push(Step {
            what,
            arguments,
            answer,
            hash,
        });
    }

    /// Adds what `bytes` stand for; says when that is the end.
    fn add(&mut self, model: &mut Model, bytes: &Bytes) -> Option<Ending> {
        match bytes.0[0] % 24 {
            18 => self.poke(model, bytes.pointer(0) & 0xfff8, bytes.long()),
            19..=21 => {
                let list = bytes.pointer(0) & 0xfff8;
                let length = match bytes.0[3] {
                    odd @ 0xf0.. => COUNTS[usize::from(odd % 8)],
                    _ => u32::from(bytes.short(8)) % 4096,
                };
                self.poke(
                    model,
                    list,
                    u64::from(bytes.pointer(1)) | u64::from(length) << 32,
                );
            }
            22..=23 => self.subscribe(model, bytes),
            call => return self.call(model, u32::from(call), bytes),
        }
        None
    }

    fn poke(&mut self, model: &mut Model, at: u32, word: u64) {
        if model.store(at, &word.to_le_bytes(), 1).is_ok() {
            self.push(model, POKE, [at.into(), word, 0, 0, 0, 0], 0);
        }
    }

    /// Writes a subscription.
    fn subscribe(&mut self, model: &mut Model, bytes: &Bytes) {
        let at = bytes.pointer(0) & 0x7ff8;
        let kind = u64::from(bytes.0[2] % 4);
        let (what, time) = match kind {
            0 => (
                u32::from(bytes.0[3] % 5),
                TIMES[usize::from(bytes.0[11] % 6)],
            ),
            _ => (bytes.descriptor(1), 0),
        };
        let words = [
            u64::from(bytes.0[12]),
            kind,
            what.into(),
            time,
            0,
            (bytes.0[13] % 4).into(),
        ];
        for (place, word) in (0..).zip(words) {
            self.poke(model, at + 8 * place, word);
        }
    }

    fn call(&mut self, model: &mut Model, what: u32, bytes: &Bytes) -> Option<Ending> {
        let before = model.clone();
        let (fd, flags, count) = (bytes.descriptor(1), u32::from(bytes.0[2]), bytes.count());
        let [a, b, c] = [0, 1, 2].map(|which| bytes.pointer(which));
        // Most flags are those that there are.
        let flags = if flags < 0xf0 { flags % 8 } else { flags };
        let (arguments, answer): ([u32; 6], Answer) = match what {
            0 => ([fd, flags, a, 0, 0, 0], model.sock_accept(fd, flags, a)),
            1 => ([fd, a, count, b, 0, 0], model.fd_read(fd, a, count, b)),
            2 => ([fd, a, count, b, 0, 0], model.fd_write(fd, a, count, b)),
            3 => (
                [fd, a, count, flags, b, c],
                model.sock_recv(fd, a, count, flags, b, c),
            ),
            4 => {
                let flags = flags / 7;
                (
                    [fd, a, count, flags, b, 0],
                    model.sock_send(fd, a, count, flags, b),
                )
            }
            5 => ([fd, flags, 0, 0, 0, 0], model.sock_shutdown(fd, flags)),
            6 => ([fd, 0, 0, 0, 0, 0], model.fd_close(fd)),
            7 => {
                let to = bytes.descriptor(2);
                ([fd, to, 0, 0, 0, 0], model.fd_renumber(fd, to))
            }
            8 => ([fd, a, 0, 0, 0, 0], model.fd_fdstat_get(fd, a)),
            9 => (
                [fd, flags, 0, 0, 0, 0],
                model.fd_fdstat_set_flags(fd, flags),
            ),
            10 => ([fd, a, 0, 0, 0, 0], model.fd_prestat_get(fd, a)),
            11 => ([a, b, count, c, 0, 0], model.poll_oneoff(a, b, count, c)),
            12 => ([a, count, 0, 0, 0, 0], model.random_get(a, count)),
            13 => ([flags, 0, a, 0, 0, 0], model.clock_time_get(flags, a)),
            14 => ([fd, 0, flags, a, 0, 0], model.fd_seek(fd, flags)),
            15 => ([0; 6], Ok(())),
            // Its variables are its own; what it ends with is told from what it blames.
            _ => {
                let status = i32::from(bytes.0[1]);
                let what = PROC_EXIT;
                return self.end(
                    model,
                    what,
                    [bytes.0[1].into(), 0, 0, 0, 0, 0],
                    Ending::Exit(status),
                );
            }
        };
        let arguments = arguments.map(u64::from);
        match answer {
            Ok(()) if matches!(what, 12 | 13) => {
                // Nobody foresees what comes, so it goes where nobody looks.
                *model = before;
                self.aside(model, what, arguments);
            }
            Ok(()) => self.push(model, what, arguments, 0),
            Err(Not::Errno(errno)) => self.push(model, what, arguments, errno),
            Err(Not::End(ending)) => {
                let ended = self.end(model, what, arguments, ending);
                if ended.is_none() {
                    *model = before;
                }
                return ended;
            }
            Err(Not::Unforeseen) => *model = before,
        }
        None
    }

    /// Adds the last step. An ending by force is told otherwise once the client was noticed to be gone; that is left out.
    fn end(
        &mut self,
        model: &Model,
        what: u32,
        arguments: [u64; 6],
        ending: Ending,
    ) -> Option<Ending> {
        if model.hangup && ending != Ending::Done {
            return None;
        }
        self.push(model, what, arguments, 0);
        Some(ending)
    }

    /// Adds a call that writes to the second page in place of the first.
    fn aside(&mut self, model: &Model, what: u32, mut arguments: [u64; 6]) {
        let (place, length) = if what == 12 {
            (0, arguments[1])
        } else {
            (2, 8)
        };
        if arguments[place] < u64::from(PAGE) {
            arguments[place] += u64::from(PAGE);
        }
        if arguments[place] + length <= u64::from(MEMORY) {
            self.push(model, what, arguments, 0);
        }
    }
}

/// The bytes of one step.
struct Bytes([u8; BYTES]);

impl Bytes {
    fn short(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn long(&self) -> u64 {
        let [.., a, b, c, d, e, f, g, h] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    fn descriptor(&self, at: usize) -> u32 {
        DESCRIPTORS[usize::from(self.0[at] % 16)]
    }

    fn count(&self) -> u32 {
        match self.0[3] {
            odd @ 0xf0.. => COUNTS[usize::from(odd % 8)],
            few => u32::from(few % 8),
        }
    }

    /// One of its three pointers. Most are aligned, and into the first page.
    fn pointer(&self, which: usize) -> u32 {
        let at = u32::from(self.short(4 + 2 * which));
        let odd = self.0[10];
        if odd < 0xc0 || !(usize::from(odd % 4) == which || odd % 4 == 3) {
            return at & !7;
        }
        match odd / 4 % 4 {
            0 => at,
            1 => MEMORY - 64 + at % 80,
            2 => MEMORY + at,
            _ => u32::MAX - at % 64,
        }
    }
}

//! The birth of a process: `clone` with `CLONE_VM`, as `posix_spawn` does it, so nothing is copied. But without
//! `CLONE_VFORK`: the spawner goes on at once, and however long a program takes to be found and executed, that
//! holds nobody else up. What the child needs until then lies in a cradle, which the kernel frees
//! (`CLONE_CHILD_CLEARTID`) when the child has left the spawner's memory, by exec or by its end.

use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use nix::libc;
use rustix::io::Errno;
use rustix::process::{Pid, getpid};
use rustix::thread::Gid;

use super::child;
use super::fate::{Fate, Turn};
use super::message::{DESCRIPTORS, Stage};
use super::sandbox::Sandbox;
use super::{Ids, Program, Setup};
use crate::packet::Descriptors;

/// The child's stack: it calls a few shallow functions, and takes no signal, all being blocked.
const STACK: usize = 64 * 1024;

/// What precedes the process's own id in its environment.
const LISTEN_PID: &[u8] = b"LISTEN_PID=";

/// Room for that, any process id and the final 0. Atomics: the child writes what the parent laid out.
type PidVariable = [AtomicU8; 24];

/// A job that was registered: what all its processes have in common. It never changes.
pub(super) struct Job {
    program: Program,
    setup: Setup,
    groups: Option<Vec<Gid>>,
    sandbox: Option<Sandbox>,
    /// What its processes must not close before they are in their sandbox.
    kept: Vec<RawFd>,
}

impl Job {
    pub fn new(program: Program, setup: Setup, sandbox: Option<Sandbox>) -> Self {
        let groups = setup.groups.as_ref();
        let groups = groups.map(|groups| groups.iter().map(|id| Gid::from_raw(*id)).collect());
        let kept = sandbox.as_ref().map(Sandbox::descriptors);
        Self {
            program,
            setup,
            groups,
            sandbox,
            kept: kept.unwrap_or_default(),
        }
    }
}

impl Job {
    /// Whether its processes can be started by `ids` as well as by root.
    pub fn is_within(&self, ids: &Ids) -> bool {
        // Root made its network, and root alone can enter it.
        self.sandbox.is_none() && self.setup.is_within(ids)
    }

    /// Whether its processes are in a sandbox.
    pub fn is_strict(&self) -> bool {
        self.sandbox.is_some()
    }

    /// The same for a spawner that is who they are to be.
    pub fn without_ids(&self) -> Self {
        Self::new(self.program.clone(), self.setup.clone().without_ids(), None)
    }
}

/// All that one child uses of the spawner's memory. It is shared with the child as long as it is `occupied`, and
/// changed only when it is not.
#[derive(Default)]
struct Cradle {
    /// Not 0 as long as the child uses this. It is the kernel that writes 0.
    occupied: AtomicI32,
    stack: Vec<u8>,
    /// Never `None` when there is a child. The pointers below point into it, into `variables` and `pid`.
    job: Option<Rc<Job>>,
    variables: Vec<u8>,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    pid: PidVariable,
    descriptors: [RawFd; DESCRIPTORS],
    /// What becomes readable when another has ended, if this comes after it, and the fate of that.
    after: Option<(RawFd, Fate)>,
    fate: Fate,
    spawner: Option<Pid>,
}

/// The cradles: those in use, and as many empty ones as were once in use together.
#[derive(Default)]
pub(super) struct Cradles {
    occupied: VecDeque<Rc<Cradle>>,
    empty: Vec<Rc<Cradle>>,
}

impl Cradles {
    /// Starts one process; `descriptors` become its 0, 1, 2 and 3, and it gets `variables` beside those of its
    /// program. Returns its id, which is to be also that of its session and its process group, while it is on its
    /// way to its program, or waits for the end of the process of `after`, which has that fate.
    ///
    /// The caller must have one thread, all signals blocked, every disposition at its default, and
    /// nothing open at 0 to 3 that is among `descriptors`.
    pub fn start(
        &mut self,
        job: &Rc<Job>,
        variables: &[u8],
        descriptors: &Descriptors,
        after: Option<(BorrowedFd<'_>, &Fate)>,
    ) -> Result<(i32, Fate), (Stage, i32)> {
        let mut numbers = [-1; DESCRIPTORS];
        // The kernel drops what does not fit in this process's descriptor table.
        if descriptors.len() != DESCRIPTORS {
            return Err((Stage::Descriptors, libc::EMFILE));
        }
        for (number, descriptor) in numbers.iter_mut().zip(descriptors) {
            *number = descriptor.as_raw_fd();
        }
        let mut cradle = self.empty();
        let place = Rc::get_mut(&mut cradle).ok_or((Stage::Clone, libc::EBUSY))?;
        place.lay_out(job, variables);
        place.descriptors = numbers;
        place.after = after.map(|(process, fate)| (process.as_raw_fd(), fate.clone()));
        place.spawner = Some(getpid());
        place.fate = Fate::new(after.map_or(Turn::Come, |_| Turn::Awaited));
        let born = bear(&cradle).map_err(|errno| (Stage::Clone, errno));
        let fate = cradle.fate.clone();
        // If there is no child, it is empty, as will be found in time.
        self.occupied.push_back(cradle);
        Ok((born?, fate))
    }

    /// Few are in use unless programs hang while they are found, so it is enough to look at those
    /// that have been in use the longest.
    fn empty(&mut self) -> Rc<Cradle> {
        for _ in 0..self.occupied.len().min(2) {
            if let Some(cradle) = self.occupied.pop_front() {
                match cradle.occupied.load(Ordering::Acquire) {
                    0 => self.empty.push(cradle),
                    _ => self.occupied.push_back(cradle),
                }
            }
        }
        self.empty.pop().unwrap_or_default()
    }
}

impl Cradle {
    fn lay_out(&mut self, job: &Rc<Job>, variables: &[u8]) {
        // Only its address is used, by the child.
        self.stack.reserve_exact(STACK);
        self.variables.clear();
        self.variables.extend_from_slice(variables);
        let Program { argv, env, .. } = &job.program;
        self.argv.clear();
        self.argv
            .extend(argv.iter().map(|argument| argument.as_ptr()));
        self.argv.push(std::ptr::null());
        self.env.clear();
        self.env
            .extend(env.iter().map(|entry| match entry.as_bytes() {
                LISTEN_PID => self.pid.as_ptr().cast(),
                _ => entry.as_ptr(),
            }));
        // Each has a final 0, the last one, too.
        let each = self.variables.split_inclusive(|byte| *byte == 0);
        self.env.extend(
            each.filter(|entry| entry.ends_with(&[0]))
                .map(|entry| entry.as_ptr().cast()),
        );
        self.env.push(std::ptr::null());
        self.job = Some(Rc::clone(job));
    }

    fn write_pid(&self) {
        let mut pid = getpid().as_raw_nonzero().get().unsigned_abs();
        let mut digits = [0_u8; 10];
        let mut first = digits.len();
        while pid > 0 && first > 0 {
            first -= 1;
            digits[first] = b'0' + (pid % 10) as u8;
            pid /= 10;
        }
        let text = LISTEN_PID.iter().chain(&digits[first..]).chain(&[0]);
        for (place, byte) in self.pid.iter().zip(text) {
            place.store(*byte, Ordering::Relaxed);
        }
    }
}

fn bear(cradle: &Rc<Cradle>) -> Result<i32, i32> {
    let place = Rc::as_ptr(cradle).cast_mut();
    cradle.occupied.store(1, Ordering::Release);
    let flags = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    #[allow(
        unsafe_code,
        reason = "there is no safe way to make a process that shares memory until exec"
    )]
    // What the child runs on is a stack of its own, far larger than what it calls takes, and aligned.
    // SAFETY: what it borrows stays in place and unchanged until the kernel has written 0 to `occupied`, when it
    // has left this memory; until then it allocates nothing, takes no signal, and touches no thread-local storage.
    let pid = unsafe {
        let top = cradle.stack.as_ptr().cast_mut().add(STACK);
        let top = top.sub(top.addr() % 16).cast();
        let nothing = std::ptr::null_mut::<c_void>();
        let occupied = cradle.occupied.as_ptr();
        libc::clone(born, top, flags, place.cast(), nothing, nothing, occupied)
    };
    if pid < 0 {
        cradle.occupied.store(0, Ordering::Release);
        return Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::EAGAIN));
    }
    Ok(pid)
}

/// The child. What it returns becomes its exit status, through _exit: libc's clone does that.
extern "C" fn born(cradle: *mut c_void) -> c_int {
    #[allow(unsafe_code, reason = "the argument of clone is a plain pointer")]
    // SAFETY: `bear` passes a cradle that lives and is not changed as long as this child uses it.
    let cradle = unsafe { &*cradle.cast::<Cradle>() };
    cradle.write_pid();
    match live(cradle) {
        Ok(()) => 0,
        Err((stage, error)) => {
            cradle.fate.fail(stage, error);
            127
        }
    }
}

/// Returns only when the child was spared, or has failed.
fn live(cradle: &Cradle) -> Result<(), (Stage, Errno)> {
    let job = cradle.job.as_deref();
    let job = job.ok_or((Stage::Job, Errno::INVAL))?;
    let after = cradle.after.as_ref();
    let waits_for = after.map(|(process, _)| *process);
    child::settle(cradle.descriptors, waits_for, &job.kept)?;
    if let Some((_, before)) = after
        && child::await_turn(&cradle.fate, before)? != Turn::Come
    {
        return Ok(());
    }
    let sandbox = job.sandbox.as_ref();
    child::prepare(&job.setup, job.groups.as_deref(), sandbox, cradle.spawner)?;
    let error = child::exec(&job.program.path, &cradle.argv, &cradle.env);
    Err((Stage::Exec, error))
}

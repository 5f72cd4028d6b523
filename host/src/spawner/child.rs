//! What a process does between clone and exec. It runs in the spawner's memory, beside the spawner and others
//! like it, so it allocates nothing, takes no lock and makes system calls only; everything it needs is laid
//! out before. None passes through libc, whose `errno` all of them and the spawner would share.

use std::ffi::{CStr, c_char};
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::io::{DupFlags, Errno};
use rustix::process::{self, Pid, Rlimit};
use rustix::thread::{Gid, Uid, set_thread_gid, set_thread_groups, set_thread_uid};
use syscalls::{Sysno, syscall};

use super::fate::{Fate, Turn};
use super::message::{DESCRIPTORS, Stage};
use super::sandbox::Sandbox;
use super::{RESOURCES, Setup};

/// Where one that comes after another finds that.
const AFTER: RawFd = 4;

/// Its own session, and descriptors 0 to 3, and at 4 what `after` is, which exec closes. A session can be a group for
/// the scheduler, and one that begins with the turn would begin at the end of a queue. Of all others it keeps those of
/// its sandbox, in ascending order, until exec.
pub(super) fn settle(
    descriptors: [RawFd; DESCRIPTORS],
    after: Option<RawFd>,
    kept: &[RawFd],
) -> Result<(), (Stage, Errno)> {
    process::setsid().map_err(|error| (Stage::Session, error))?;
    install(descriptors, after, kept)
}

/// Upstart's order. libc's setuid and its kin would also look for the threads of the process whose memory this is.
pub(super) fn prepare(
    setup: &Setup,
    groups: Option<&[Gid]>,
    sandbox: Option<&Sandbox>,
    spawner: Option<Pid>,
) -> Result<(), (Stage, Errno)> {
    let at = |stage| move |error| (stage, error);
    for limit in &setup.limits {
        let (_, resource) = RESOURCES
            .get(usize::from(limit.resource))
            .ok_or((Stage::Limit, Errno::INVAL))?;
        let bound = |bound| (bound != u64::MAX).then_some(bound);
        let (current, maximum) = (bound(limit.soft), bound(limit.hard));
        process::setrlimit(*resource, Rlimit { current, maximum }).map_err(at(Stage::Limit))?;
    }
    process::umask(Mode::from_raw_mode(setup.umask));
    if let Some(nice) = setup.nice {
        process::setpriority_process(None, nice).map_err(at(Stage::Nice))?;
    }
    if let Some(sandbox) = sandbox {
        sandbox.enter_network()?;
    }
    if let Some(root) = &setup.chroot {
        process::chroot(root.as_c_str()).map_err(at(Stage::Chroot))?;
    }
    process::chdir(setup.chdir.as_c_str()).map_err(at(Stage::Chdir))?;
    if let Some(groups) = groups {
        set_thread_groups(groups).map_err(at(Stage::Groups))?;
    }
    if let Some(gid) = setup.gid {
        set_thread_gid(Gid::from_raw(gid)).map_err(at(Stage::Setgid))?;
    }
    if let Some(uid) = setup.uid {
        set_thread_uid(Uid::from_raw(uid)).map_err(at(Stage::Setuid))?;
    }
    if let Some(sandbox) = sandbox {
        sandbox.enter()?;
    }
    // After the ids, whose change clears it: a job does not outlive a spawner that was killed.
    process::set_parent_process_death_signal(Some(process::Signal::KILL))
        .map_err(at(Stage::Parent))?;
    if process::getppid() != spawner {
        // It died before that was set.
        return Err((Stage::Parent, Errno::SRCH));
    }
    unblock();
    Ok(())
}

fn install(
    descriptors: [RawFd; DESCRIPTORS],
    after: Option<RawFd>,
    kept: &[RawFd],
) -> Result<(), (Stage, Errno)> {
    // 3 and 4 were the spawner's own: what is received is above.
    if let Some(after) = after {
        duplicate(after, AFTER, DupFlags::CLOEXEC)?;
    }
    for (target, descriptor) in (0..).zip(descriptors) {
        duplicate(descriptor, target, DupFlags::empty())?;
    }
    // Everything the spawner opens is close-on-exec: this is for one that has to wait, and for what the spawner
    // might one day open otherwise.
    close_but(AFTER + RawFd::from(after.is_some()), kept);
    Ok(())
}

/// Closes all from `first` on but what is kept, which is in ascending order. The caller is a child that returns to nobody.
pub fn close_but(first: RawFd, kept: &[RawFd]) {
    let mut rest = first;
    for kept in kept {
        if rest < *kept {
            close(rest, kept - 1);
        }
        rest = kept + 1;
    }
    close(rest, RawFd::MAX);
}

/// Closes all from `first` to `last`.
fn close(first: RawFd, last: RawFd) {
    #[allow(unsafe_code, reason = "no descriptor of the host may cross exec")]
    // SAFETY: nothing in the child's table, which is its own, owns what is closed. A kernel that lacks the call
    // (before 5.9) leaves it to close-on-exec.
    let _ = unsafe { syscall!(Sysno::close_range, first, last, 0) };
}

fn duplicate(descriptor: RawFd, target: RawFd, flags: DupFlags) -> Result<(), (Stage, Errno)> {
    #[allow(unsafe_code, reason = "descriptors cross exec here")]
    // SAFETY: the child has a table of its own, a copy of the spawner's from when these were open, and
    // nothing in it owns 0 to 4 after this point.
    let (descriptor, mut target) = unsafe {
        let target = OwnedFd::from_raw_fd(target);
        (
            BorrowedFd::borrow_raw(descriptor),
            ManuallyDrop::new(target),
        )
    };
    rustix::io::dup3(descriptor, &mut target, flags).map_err(|error| (Stage::Descriptors, error))
}

/// Waits for the end of the process that this one comes after, whose fate is `before`. It keeps the spawner's ids until
/// then, so that nobody but root can hold it up or look into the memory it shares.
pub(super) fn await_turn(fate: &Fate, before: &Fate) -> Result<Turn, (Stage, Errno)> {
    let at = |error| (Stage::Turn, error);
    process::set_parent_process_death_signal(Some(process::Signal::KILL)).map_err(at)?;
    #[allow(unsafe_code, reason = "descriptors cross exec here")]
    // SAFETY: `settle` has put them there.
    let (listener, after) = unsafe { (BorrowedFd::borrow_raw(3), BorrowedFd::borrow_raw(AFTER)) };
    while let Err(error) = poll(&mut [PollFd::from_borrowed_fd(after, PollFlags::IN)], None) {
        if error != Errno::INTR {
            return Err(at(error));
        }
    }
    let turn = fate.decide(before.turn() == Turn::Come && waits(listener));
    if turn == Turn::Come {
        // Here, and by nobody else: this process may change it as soon as it runs.
        block(listener).map_err(at)?;
    }
    Ok(turn)
}

/// Makes the listener of one that is about to begin blocking, as jobs expect it: the last one may have changed that.
pub(super) fn block(listener: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::io::ioctl_fionbio(listener, false)
}

/// Whether a connection waits at a listener that nobody has shut down.
pub(super) fn waits(listener: BorrowedFd<'_>) -> bool {
    let wanted = PollFlags::IN | PollFlags::RDHUP;
    let mut watched = [PollFd::from_borrowed_fd(listener, wanted)];
    poll(&mut watched, Some(&Timespec::default())).is_ok() && watched[0].revents() == PollFlags::IN
}

/// Unblocks all signals, those that libc hides, too.
fn unblock() {
    let (none, old, size) = (0_u64, 0_usize, size_of::<u64>());
    #[allow(unsafe_code, reason = "the mask of signals crosses exec here")]
    // SAFETY: the kernel reads `none` and writes nothing. It cannot fail with these arguments.
    let _ = unsafe {
        let set = &raw const none;
        syscall!(Sysno::rt_sigprocmask, libc::SIG_SETMASK, set, old, size)
    };
}

/// Returns only when it fails.
pub(super) fn exec(path: &CStr, argv: &[*const c_char], env: &[*const c_char]) -> Errno {
    #[allow(unsafe_code, reason = "descriptors cross exec here")]
    // SAFETY: both arrays end with a null pointer and point to strings that end with a 0.
    let failed = unsafe { syscall!(Sysno::execve, path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    failed.map_or_else(
        |errno| Errno::from_raw_os_error(errno.into_raw()),
        |_| Errno::NOEXEC,
    )
}

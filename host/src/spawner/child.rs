//! The birth of a process: between clone and exec. The child shares the spawner's memory and the
//! spawner is held until it executes or ends (`CLONE_VM` and `CLONE_VFORK`, as `posix_spawn` does it), so
//! nothing is copied, and a failure is told through plain memory. In return the child allocates
//! nothing, takes no lock and makes system calls only; everything it needs is laid out before.

use std::ffi::{CStr, c_char};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process;
use rustix::thread::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use super::message::{DESCRIPTORS, Stage};
use super::{Program, RESOURCES, Setup};

/// The child's stack: it calls a few shallow functions, and takes no signal, all being blocked.
const STACK: usize = 64 * 1024;

/// What precedes the process's own id in its environment.
const LISTEN_PID: &[u8] = b"LISTEN_PID=";

/// Room for that, any process id and the final 0. Atomics: the child writes what the parent laid out.
type PidVariable = [AtomicU8; 24];

/// Starts one process; `descriptors` become its 0, 1, 2 and 3. Returns its id, which is also that of its
/// session and its process group.
///
/// The caller must have one thread, all signals blocked, every disposition at its default, and
/// nothing open at 0 to 3 that is among `descriptors`.
pub(super) fn start(
    program: &Program,
    setup: &Setup,
    descriptors: &[OwnedFd; DESCRIPTORS],
) -> Result<i32, (Stage, i32)> {
    let pid_variable: PidVariable = [const { AtomicU8::new(0) }; 24];
    let argv = pointers(program.argv.iter().map(|a| a.as_ptr()));
    let env = pointers(program.env.iter().map(|entry| match entry.as_bytes() {
        LISTEN_PID => pid_variable.as_ptr().cast(),
        _ => entry.as_ptr(),
    }));
    let groups: Option<Vec<Gid>> = setup
        .groups
        .as_ref()
        .map(|g| g.iter().map(|g| Gid::from_raw(*g)).collect());
    let mut stack = vec![0; STACK];
    // Written by the child, read here after it: atomics, because the compiler sees one thread.
    let failed_at = AtomicI32::new(-1);
    let errno = AtomicI32::new(0);

    let birth = Box::new(|| {
        write_pid(&pid_variable);
        let (stage, error) = match prepare(setup, groups.as_deref(), descriptors) {
            Ok(()) => (Stage::Exec, exec(&program.path, &argv, &env)),
            Err(failure) => failure,
        };
        failed_at.store(stage as i32, Ordering::SeqCst);
        errno.store(error.raw_os_error(), Ordering::SeqCst);
        // The return value becomes the child's exit status, through _exit: libc's clone does that.
        127
    });
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    #[allow(
        unsafe_code,
        reason = "there is no safe way to make a process that shares memory until exec"
    )]
    // SAFETY: this thread is held by CLONE_VFORK until the child has executed or ended, so what the
    // child borrows lives long enough and is never used by two at once. It runs on a stack of its
    // own, far larger than `prepare` and `exec` take; it allocates nothing and takes no signal.
    let pid = unsafe { nix::sched::clone(birth, &mut stack, flags, Some(libc::SIGCHLD)) };
    let pid = pid.map_err(|error| (Stage::Clone, error as i32))?;
    match STAGES.get(usize::try_from(failed_at.load(Ordering::SeqCst)).unwrap_or(usize::MAX)) {
        None => Ok(pid.as_raw()),
        Some(stage) => {
            let _ = nix::sys::wait::waitpid(pid, None);
            Err((*stage, errno.load(Ordering::SeqCst)))
        }
    }
}

/// By their numbers.
const STAGES: [Stage; 12] = [
    Stage::Clone,
    Stage::Session,
    Stage::Limit,
    Stage::Nice,
    Stage::Chroot,
    Stage::Chdir,
    Stage::Groups,
    Stage::Setgid,
    Stage::Setuid,
    Stage::Descriptors,
    Stage::Signals,
    Stage::Exec,
];

fn pointers(strings: impl Iterator<Item = *const c_char>) -> Vec<*const c_char> {
    strings.chain(std::iter::once(std::ptr::null())).collect()
}

fn write_pid(variable: &PidVariable) {
    let mut pid = process::getpid().as_raw_nonzero().get().unsigned_abs();
    let mut digits = [0_u8; 10];
    let mut first = digits.len();
    while pid > 0 && first > 0 {
        first -= 1;
        digits[first] = b'0' + (pid % 10) as u8;
        pid /= 10;
    }
    for (place, byte) in variable
        .iter()
        .zip(LISTEN_PID.iter().chain(&digits[first..]))
    {
        place.store(*byte, Ordering::SeqCst);
    }
}

/// Upstart's order; the system calls are made directly, because libc's setuid and its kin would
/// look for the threads of the process whose memory this is.
fn prepare(
    setup: &Setup,
    groups: Option<&[Gid]>,
    descriptors: &[OwnedFd; DESCRIPTORS],
) -> Result<(), (Stage, Errno)> {
    let at = |stage| move |error| (stage, error);
    process::setsid().map_err(at(Stage::Session))?;
    for limit in &setup.limits {
        let resource: Option<&Resource> = RESOURCES.get(usize::from(limit.resource));
        let resource = *resource.ok_or((Stage::Limit, Errno::INVAL))?;
        setrlimit(resource, limit.soft, limit.hard)
            .map_err(|error| (Stage::Limit, Errno::from_raw_os_error(error as i32)))?;
    }
    process::umask(Mode::from_raw_mode(setup.umask));
    if let Some(nice) = setup.nice {
        process::setpriority_process(None, nice).map_err(at(Stage::Nice))?;
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
    // After the ids, whose change clears it: a job does not outlive a spawner that was killed.
    process::set_parent_process_death_signal(Some(process::Signal::KILL))
        .map_err(at(Stage::Session))?;
    install(descriptors).map_err(at(Stage::Descriptors))?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(|error| (Stage::Signals, Errno::from_raw_os_error(error as i32)))
}

/// Everything the spawner opens is close-on-exec, and what is installed here is not: the closing
/// afterwards is for what the spawner might one day open otherwise.
fn install(descriptors: &[OwnedFd; DESCRIPTORS]) -> Result<(), Errno> {
    for (target, descriptor) in (0..).zip(descriptors) {
        #[allow(unsafe_code, reason = "descriptors cross exec here")]
        // SAFETY: the child has a table of its own, and no value in it owns 0 to 3 after this point.
        if unsafe { libc::dup2(descriptor.as_raw_fd(), target) } < 0 {
            return Err(
                Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::BADF)
            );
        }
    }
    #[allow(unsafe_code, reason = "no descriptor of the host may cross exec")]
    // SAFETY: as above; a kernel that lacks the call (before 5.9) leaves it to close-on-exec.
    unsafe {
        libc::syscall(libc::SYS_close_range, 4, libc::c_uint::MAX, 0);
    }
    Ok(())
}

/// Returns only when it fails.
fn exec(path: &CStr, argv: &[*const c_char], env: &[*const c_char]) -> Errno {
    #[allow(unsafe_code, reason = "descriptors cross exec here")]
    // SAFETY: both arrays end with a null pointer and point to strings that end with a 0.
    unsafe {
        libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr());
    }
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOEXEC)
}

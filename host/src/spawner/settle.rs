//! How the spawner settles in: a fork of the host that keeps nothing of the host but two sockets.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::io::Errno;

/// Leaves the host's descriptors, folder and signals behind. Returns the spawner's ends of its sockets, and what
/// tells when a child has ended.
pub(super) fn settle(sockets: [OwnedFd; 2]) -> Result<([OwnedFd; 2], SignalFd), Errno> {
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR,
        rustix::fs::Mode::empty(),
    )?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // Closed by its owner before all that has no owner is closed.
    drop(null);
    let sockets = only_these(sockets)?;
    let _ = rustix::process::chdir("/");
    let _ = rustix::thread::set_name(c"portcullis-spwn");
    let _ = rustix::process::set_child_subreaper(rustix::process::getpid().into());
    // A terminal's INT or HUP goes to the whole group, and the host decides what it means. Default
    // and blocked rather than ignored: a job inherits ignored signals, and only has to unblock these.
    default_signals();
    let blocked = SigSet::all().thread_block();
    blocked.map_err(|error| Errno::from_raw_os_error(error as i32))?;
    let mut children = SigSet::empty();
    children.add(Signal::SIGCHLD);
    let children = SignalFd::with_flags(&children, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|error| Errno::from_raw_os_error(error as i32))?;
    Ok((sockets, children))
}

/// Every signal to its default. By system call: libc hides two signals of its own, which a host may have
/// inherited as ignored like any other, and has no name for the real-time ones.
fn default_signals() {
    // Larger than the kernel's sigaction anywhere; all zero is the default disposition, no flags, an empty mask.
    let default = [0_u64; 16];
    for signal in 1..=64 {
        #[allow(unsafe_code, reason = "a signal's disposition is process-wide state")]
        // SAFETY: the kernel reads a sigaction from `default`, whose disposition runs no code of ours. KILL
        // and STOP are refused, as they should be.
        unsafe {
            let nothing = std::ptr::null_mut::<u64>();
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                nothing,
                8_usize,
            );
        }
    }
}

/// Moves the sockets to descriptors 3 and 4 and closes all above: those of the host, or inherited by it, are
/// not the spawner's to hold. So whatever it receives is above 4, as `Cradles::start` needs it.
fn only_these(sockets: [OwnedFd; 2]) -> Result<[OwnedFd; 2], Errno> {
    // Out of the way of each other first.
    let above = |socket: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(socket, 5);
    let moved = [above(&sockets[0])?, above(&sockets[1])?];
    drop(sockets);
    let moved = moved.map(IntoRawFd::into_raw_fd);
    #[allow(
        unsafe_code,
        reason = "the spawner takes over the descriptor table of the fork"
    )]
    // SAFETY: the values that owned 3 and what is above are the host's, on a stack that this process
    // never returns to, and `moved`, released just now. From here on 3 and 4 have one owner each.
    let only = unsafe {
        for (socket, place) in moved.into_iter().zip(3..) {
            libc::dup3(socket, place, libc::O_CLOEXEC);
        }
        libc::syscall(libc::SYS_close_range, 5, libc::c_uint::MAX, 0);
        [3, 4].map(|place| OwnedFd::from_raw_fd(place))
    };
    for socket in &only {
        rustix::io::fcntl_getfd(socket)?;
    }
    Ok(only)
}

//! What the kernel knows of the spawner's children, whose parent it is or has become.

use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::{WaitOptions, wait};

/// A child that has ended, which stays a zombie: any (`P_ALL`), or that of an id (`P_PID`).
pub(super) fn ended(which: libc::idtype_t, id: i32) -> Option<i32> {
    let id = libc::id_t::try_from(id).ok()?;
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    #[allow(
        unsafe_code,
        reason = "nix fails on a child that a real-time signal ended, and rustix does not say which it was"
    )]
    // SAFETY: all zero is a valid siginfo_t, which the kernel fills or leaves. Its pid is valid for an
    // end of a child, and 0 when there is none.
    let pid = unsafe {
        let mut told: libc::siginfo_t = std::mem::zeroed();
        match libc::waitid(which, id, &raw mut told, options) {
            0 => told.si_pid(),
            _ => 0,
        }
    };
    (pid != 0).then_some(pid)
}

/// The ids of all children, zombies too.
pub(super) fn children() -> Vec<i32> {
    let list = format!("/proc/self/task/{}/children", std::process::id());
    let list = std::fs::read_to_string(list).unwrap_or_default();
    list.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

/// KILL to all that runs below this process: the jobs by their groups, then whatever had left its
/// group and was inherited when its parent died.
pub(super) fn end_all_children() {
    loop {
        for child in children() {
            // A job leads a group of its own id. For what is not a leader the call fails.
            let _ = killpg(Pid::from_raw(child), Signal::SIGKILL);
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        // Blocks until one of them is gone; its own children are then ours.
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

//! A stand-in for upstart-socket-bridge, which is packaged no more: whenever a connection waits it starts the
//! job with the listener, named by `UPSTART_FDS`, and waits until the job has ended. One job at a time. The
//! bridge itself also sent an event through init, so it can only have been slower.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Serves until it is ended.
pub fn serve(job: &Path) -> io::Result<()> {
    let listener = super::listen()?;
    fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let mut job = Command::new(job);
    job.env_clear()
        .env("UPSTART_FDS", listener.as_raw_fd().to_string());
    loop {
        poll(
            &mut [PollFd::new(listener.as_fd(), PollFlags::POLLIN)],
            PollTimeout::NONE,
        )?;
        job.status()?;
    }
}

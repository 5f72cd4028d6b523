//! What the host is asked by signals, one after the other.

use std::io;

use nix::sys::signal::SigSet;
use nix::sys::signal::Signal::SIGHUP;

use tokio::signal::unix::{self, SignalKind, signal};

/// What the host is asked by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To stop; the name of the signal.
    Stop(&'static str),
    /// To read its trigger file again.
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
}

/// Keeps a SIGHUP from now on until [`reload`] takes it over. The caller has one thread.
///
/// # Errors
/// When the system refuses.
pub fn hold_reload() -> io::Result<()> {
    Ok(SigSet::from(SIGHUP).thread_block()?)
}

/// Takes SIGHUP over from the system's default, which is to die. One that comes is kept until it is asked for.
///
/// # Errors
/// When the runtime cannot.
pub fn reload() -> io::Result<unix::Signal> {
    let signals = signal(SignalKind::hangup())?;
    SigSet::from(SIGHUP).thread_unblock()?;
    Ok(signals)
}

impl Signals {
    /// Takes the others over, too.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub fn new(hangup: unix::Signal) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        })
    }

    /// Resolves with the next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// Resolves at the next one that asks to stop.
    pub async fn stop(&mut self) {
        while self.next().await == Signal::Reload {}
    }
}

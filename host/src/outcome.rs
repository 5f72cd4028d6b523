//! How the handler of a connection ended. An ending is data, never an `Err`: whatever a guest, a
//! job or a client does comes down to one of these words, and each knows how loudly it is logged.

use std::fmt;

use tracing::Level;

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Rx,
    /// To the client.
    Tx,
}

/// How a handler ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It finished by itself and reported success.
    Done,
    /// It finished by itself with this status, which is not 0.
    Exit(i32),
    /// A native job was ended by this signal, which the host did not send.
    Signal(i32),
    /// The guest did what the sandbox forbids or cannot go on from; the text says what.
    Trap(String),
    /// It used up its time on the processor.
    Cpu,
    /// It was refused memory, and could not go on without.
    Memory,
    /// It was still running at its deadline.
    Deadline,
    /// No byte went either way for the idle limit.
    Idle,
    /// The client sent nothing for as long as it may take to begin.
    Silent,
    /// More bytes wanted to go this way than may.
    Bytes(Way),
    /// The client reset or abandoned the connection, and the handler ended for that reason.
    Hangup,
    /// The host was told to stop and the grace period ran out.
    Drained,
    /// The host failed it: it could not be started, or was lost; the text says why.
    Failed(String),
}

impl Outcome {
    /// The word that stands for it in the log: one of a closed set.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Exit(_) => "exit",
            Self::Signal(_) => "signal",
            Self::Trap(_) => "trap",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Deadline => "deadline",
            Self::Idle | Self::Silent => "idle",
            Self::Bytes(_) => "bytes",
            Self::Hangup => "hangup",
            Self::Drained => "drained",
            Self::Failed(_) => "failed",
        }
    }

    /// What an operator has to look at: nothing, a handler that misbehaves, or the host itself.
    pub fn level(&self) -> Level {
        match self {
            Self::Done
            | Self::Exit(_)
            | Self::Hangup
            | Self::Idle
            | Self::Silent
            | Self::Bytes(_)
            | Self::Drained => Level::INFO,
            Self::Signal(_) | Self::Trap(_) | Self::Cpu | Self::Memory | Self::Deadline => {
                Level::WARN
            }
            Self::Failed(_) => Level::ERROR,
        }
    }

    /// Whether it tells something of the guest's code, so that where that was is worth a word.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Trap(_) | Self::Cpu | Self::Memory)
    }

    /// Why, where the word alone does not say it.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Trap(why) | Self::Failed(why) => Some(why),
            // The limit that it came to.
            Self::Silent => Some("first_byte"),
            Self::Bytes(Way::Rx) => Some("rx"),
            Self::Bytes(Way::Tx) => Some("tx"),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(status) => write!(f, "exit({status})"),
            Self::Signal(number) => write!(f, "signal({number})"),
            _ => f.write_str(self.word()),
        }
    }
}

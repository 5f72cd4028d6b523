//! What a guest finds open, and nothing else: its connection (as a socket behind a listener, or as
//! stdin and stdout), the directories, arguments and variables its trigger gives, and a log to
//! write to.

pub mod args;
pub mod dirs;
pub mod env;
pub mod guest;
pub mod stderr;
pub mod stdio;

mod descriptors;
mod poll;
mod preview1;
mod socket;

pub use preview1::{MODULE, add_to_linker};

/// How a handler expects to find its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// It accepts it from the listener at descriptor 3.
    Socket,
    /// It is its stdin and stdout.
    Stdio,
}

//! What a guest finds open, and nothing else: its connection (as a socket behind a listener, as
//! stdin and stdout, or as the resource of the typed world), the directories, arguments and variables its trigger gives, and a log to
//! write to.

pub mod args;
pub mod bridge;
pub mod dirs;
pub mod env;
pub mod guest;
pub mod network;
pub mod requests;
pub mod stderr;
pub mod told;
pub mod wire;

mod descriptors;
mod poll;
mod preview1;
mod socket;

pub use preview1::add_to_linker;

/// How a handler expects to find its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// It accepts it from the listener at descriptor 3.
    Socket,
    /// It is its stdin and stdout.
    Stdio,
}

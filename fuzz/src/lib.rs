//! What is looked for with arbitrary bytes: each target is a function that panics when the host does what it must not.
//! `cargo fuzz` finds the bytes; tests/fuzz.rs replays what it has found.

mod preview1;
mod trigger_file;

pub use preview1::preview1;
pub use trigger_file::trigger_file;

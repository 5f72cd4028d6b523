//! Portcullis: inetd for WebAssembly. It binds the ports of a trigger file and starts, for each
//! connection, one fresh sandboxed WASI guest with that connection preopened and nothing else; or a
//! plain executable, in the words of Upstart, systemd and inetd.
//!
//! One direction of flow: text → [`trigger::TriggerFile`] → [`plan::Plan`] → [`handler::Handler`] →
//! [`listener::Bound`] → [`connection::Connection`] → [`outcome::Outcome`] → one log line. A module
//! uses only those below it in this list.

pub mod cli;
pub mod host;
pub mod check;
pub mod precompile;
pub mod attempt;
pub mod inspect;
pub mod scaffold;
pub mod serve;
pub mod reload;
pub mod log;
pub mod capacity;
pub mod confine;
pub mod handler;
pub mod control;
pub mod signals;
pub mod shutdown;
pub mod preopen;
pub mod engine;
pub mod spawner;
pub mod packet;
pub mod seccomp;
pub mod queue;
pub mod output;
pub mod listener;
pub mod connection;
pub mod limits;
pub mod identity;
pub mod meter;
pub mod wasm;
pub mod crew;
pub mod workers;
pub mod plan;
pub mod trigger;
pub mod outcome;
pub mod failure;
pub mod terminal;

//! Portcullis: inetd for WebAssembly. It binds the ports of a trigger file and starts, for each
//! connection, one fresh sandboxed WASI guest with that connection preopened and nothing else; or a
//! plain executable, in the words of Upstart, systemd and inetd.
//!
//! One direction of flow: text → [`trigger::TriggerFile`] → [`plan::Plan`] → [`handler::Handler`] →
//! [`listener::Bound`] → [`connection::Connection`] → [`outcome::Outcome`] → one log line. A module
//! uses only those below it in this list.

pub mod attempt;
pub mod capacity;
pub mod cli;
pub mod connection;
pub mod engine;
pub mod handler;
pub mod identity;
pub mod inspect;
pub mod limits;
pub mod listener;
pub mod log;
pub mod meter;
pub mod outcome;
pub mod plan;
pub mod preopen;
pub mod queue;
pub mod serve;
pub mod shutdown;
pub mod spawner;
pub mod trigger;

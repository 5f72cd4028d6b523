//! The guest's side of [Portcullis](https://crates.io/crates/portcullis): for every connection that a trigger's listener accepts, the host
//! starts one fresh instance of a WebAssembly component and hands it that connection, and nothing else. This crate makes a component of
//! a function that serves one [`Connection`].
//!
//! ```
//! use std::io::{self, Write};
//!
//! use portcullis_guest::Connection;
//!
//! portcullis_guest::handler!(echo);
//!
//! fn echo(mut connection: Connection) -> io::Result<()> {
//!     while let Some(chunk) = connection.chunk()? {
//!         connection.write_all(&chunk)?;
//!     }
//!     Ok(())
//! }
//! ```
//!
//! That is a whole guest. It is a library of the type `cdylib`:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! portcullis-guest = "0.1"
//! ```
//!
//! and becomes a component by either of
//!
//! ```console
//! $ cargo build --release --target wasm32-wasip2
//! $ cargo component build --release
//! ```
//!
//! When the handler returns, the host sends what is still unsent, ends the connection and throws the instance away. When it returns an
//! error, the error's text goes to standard error, which is the log of the host, and the connection ends there as `exit(1)`.
//!
//! # Two clothes
//!
//! | feature | WASI | connection | handler |
//! |---|---|---|---|
#![cfg_attr(
    feature = "sync",
    doc = "| `sync` (default) | 0.2 | [`Connection`]: `Read` and `Write` | [`handler!`] |"
)]
#![cfg_attr(
    feature = "async",
    doc = "| `async` | 0.3 | [`asynchronous::Connection`]: `AsyncRead` and `AsyncWrite` | [`async_handler!`] |"
)]
//!
//! A guest wears one of them. One that wants the second leaves the first at home:
//!
//! ```toml
//! portcullis-guest = { version = "0.1", default-features = false, features = ["async"] }
//! ```
//!
//! Components of WASI 0.3 are built by `cargo build --target wasm32-wasip2`; the last `cargo component` (0.21.1) cannot.
//!
//! The crate builds for other targets too, so that a guest's own tests can run where it is written; a connection cannot be had there.

#[cfg(feature = "async")]
pub mod asynchronous;
#[doc(hidden)]
pub mod bindings;
mod endpoints;
mod outcome;
#[cfg(feature = "sync")]
mod sync;

pub use endpoints::{Credentials, Local, Peer, UnixName};
pub use outcome::Outcome;
#[cfg(feature = "sync")]
pub use sync::{Chunks, Connection, serve};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

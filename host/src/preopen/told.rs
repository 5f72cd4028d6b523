//! What a component is told when it asks for its variables and arguments. Put together when it asks:
//! few do, and copies for each instance would cost more than the rest of its context.

use std::sync::Arc;

use wasmtime::component::Linker;

use super::env::{self, Facts, Variables};
use crate::connection::Peer;

/// The interface of WASI 0.2 that is asked, as wasmtime-wasi defines it; a component may import an
/// older or a newer patch of it.
pub const ENVIRONMENT: &str = "wasi:cli/environment@0.2.12";

/// Its like of WASI 0.3.
pub const ENVIRONMENT_3: &str = "wasi:cli/environment@0.3.0";

/// What one instance is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// By its listener,
    pub facts: Arc<Facts>,
    /// of its client,
    pub peer: Peer,
    /// and by its trigger, its own name first.
    pub args: Arc<[String]>,
}

/// A store's state that knows what its instance is told.
pub trait Informed: 'static {
    /// That.
    fn told(&self) -> &Told;
}

impl Told {
    fn variables(&self) -> Variables {
        let mut variables = self.facts.variables.clone();
        variables.extend(env::remote(&self.peer));
        variables
    }
}

/// Has the questions at `interface` answered so.
///
/// # Errors
/// When `linker` does not take it.
pub fn answer<T: Informed>(linker: &mut Linker<T>, interface: &str) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut environment = linker.instance(interface)?;
    environment.func_wrap("get-environment", |store, ()| {
        Ok((store.data().told().variables(),))
    })?;
    environment.func_wrap("get-arguments", |store, ()| {
        Ok((store.data().told().args.to_vec(),))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

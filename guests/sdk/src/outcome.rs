//! What a handler's return value means to the host.

use std::fmt::Display;

/// What a handler may return: nothing, or a `Result` whose error has a text. The text goes to standard error, which is the log of the
/// host, with all its causes where the error shows them for `{:#}`, as those of `anyhow` do.
pub trait Outcome {
    /// Writes the error to the log, if it is one.
    ///
    /// # Errors
    /// When the handler failed; the host tells the connection's end as `exit(1)`.
    #[expect(
        clippy::result_unit_err,
        reason = "the world has no more to say than that"
    )]
    fn report(self) -> Result<(), ()>;
}

impl Outcome for () {
    fn report(self) -> Result<(), ()> {
        Ok(())
    }
}

impl<E: Display> Outcome for Result<(), E> {
    fn report(self) -> Result<(), ()> {
        self.map_err(|error| eprintln!("{error:#}"))
    }
}

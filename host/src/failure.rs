//! Why the command did not succeed, and how it says so.

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::terminal::is_obeyed;

/// Each has its exit code; they are those of ucspi.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for makes no sense: 100.
    Asked(anyhow::Error),
    /// The system refused: 111.
    Refused(anyhow::Error),
    /// The guest that was tried ended like this.
    Ended(u8),
}

impl Failure {
    /// Says why on stderr, and gives what to exit with.
    pub fn tell(self) -> ExitCode {
        let (error, code) = match self {
            Self::Ended(status) => return ExitCode::from(status),
            Self::Asked(error) => (error, 100),
            Self::Refused(error) => (error, 111),
        };
        let text = printable(&format!("{error:#}"));
        // With stderr closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "portcullis: {text}");
        ExitCode::from(code)
    }
}

/// A text of several lines for a terminal: what it quotes may come from anywhere.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c == '\n' || !is_obeyed(c) {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

//! One trigger of one file while its meaning is found out: whoever finds a value wrong says why, and
//! the place and the names are added here.

use std::path::Path;
use std::sync::Arc;

use toml::Spanned;

use super::AddressError;
use crate::trigger::{Field, Key, Problem, Problems, Source, Span};

/// Why a value has no meaning, and what would have one.
#[derive(Debug)]
pub(super) struct Wrong {
    pub message: String,
    pub help: String,
}

impl Wrong {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }
}

impl From<AddressError> for Wrong {
    fn from(AddressError { message, help }: AddressError) -> Self {
        Self { message, help }
    }
}

/// Where the keys stand whose meaning is wanted, and where to report them.
pub(super) struct Scope<'a> {
    pub source: &'a Arc<Source>,
    /// ``trigger `echo` `` or `[host]`.
    pub owner: String,
    pub problems: &'a mut Problems,
}

impl Scope<'_> {
    /// What relative paths start at.
    pub fn folder(&self) -> &Path {
        self.source.folder()
    }

    /// The meaning of a key's value; `None` when the key is absent, or has none, which is reported.
    pub fn value<T, M>(
        &mut self,
        field: Field<T>,
        meaning: impl FnOnce(T) -> Result<M, Wrong>,
    ) -> Option<M> {
        match field {
            Field::Absent | Field::Refused(_) => None,
            Field::Given(key, value) => self.part(&key.path, value, meaning),
        }
    }

    /// The same for a text that is only looked at.
    pub fn text<M>(
        &mut self,
        field: Field<String>,
        meaning: impl FnOnce(&str) -> Result<M, Wrong>,
    ) -> Option<M> {
        self.value(field, |text| meaning(&text))
    }

    /// The same for a part of a value, such as an item of a list.
    pub fn part<T, M>(
        &mut self,
        path: &str,
        value: Spanned<T>,
        meaning: impl FnOnce(T) -> Result<M, Wrong>,
    ) -> Option<M> {
        let span = value.span();
        meaning(value.into_inner())
            .map_err(|wrong| {
                self.problem(&span, format!("`{path}`: {}", wrong.message))
                    .help(wrong.help);
            })
            .ok()
    }

    /// Refuses a key that is written where it cannot be.
    pub fn refuse(&mut self, key: &Key, why: &str, help: &str) {
        let message = format!("`{}` {why} in {}", key.path, self.owner);
        self.problem(&key.span, message).help(help);
    }

    /// Reports anything else.
    pub fn problem(&mut self, span: &Span, message: impl Into<String>) -> &mut Problem {
        self.problems.add(self.source, span, message)
    }
}

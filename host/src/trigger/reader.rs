//! Reading tables: a key is asked for once, by name and shape, and what is left over at the end is
//! unknown. Every value remembers where it stood, so that whoever finds its meaning wrong can point
//! at it; what has the wrong shape is reported here, and reading goes on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Problems, did_you_mean, quoted};
use super::source::{Source, Span};

/// A key that is written: its path within its trigger (`limits.memory`), and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    /// As messages call it.
    pub path: String,
    /// Of the key, not of its value.
    pub span: Span,
}

/// What a table says about one key.
#[derive(Clone, Debug, Default)]
pub enum Field<T> {
    /// Nothing.
    #[default]
    Absent,
    /// Something of the wrong shape, which has been reported.
    Refused(Key),
    /// This.
    Given(Key, Spanned<T>),
}

impl<T> Field<T> {
    /// The key, if it is written at all.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Absent => None,
            Self::Refused(key) | Self::Given(key, _) => Some(key),
        }
    }

    /// Whether the key is written, rightly or wrongly.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.key().is_some()
    }

    /// The value, if it has one of the right shape.
    pub fn given(self) -> Option<T> {
        match self {
            Self::Absent | Self::Refused(_) => None,
            Self::Given(_, value) => Some(value.into_inner()),
        }
    }
}

/// Where a value stands, for what is said about it.
pub(super) struct At<'a> {
    pub source: &'a Arc<Source>,
    /// Whose keys these are: ``trigger `echo` ``.
    pub owner: &'a str,
    /// The key's path within its owner; empty for the owner itself.
    pub path: String,
    pub span: Span,
}

impl At<'_> {
    /// The place of a key within.
    pub fn key(&self, name: &str, span: Span) -> At<'_> {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        };
        At {
            source: self.source,
            owner: self.owner,
            path,
            span,
        }
    }
}

/// Why a value could not be read.
pub(super) enum Mismatch {
    /// It is this instead, in words with an article (`an integer`).
    Is(&'static str),
    /// Something within it, and that has been reported.
    Within,
}

/// A shape that a value can have.
pub(super) trait Shape: Sized {
    /// What it is called where values of it stand in lists and tables.
    const NAME: &'static str;

    /// Reads a value.
    fn read(value: DeValue<'_>, at: &At<'_>, problems: &mut Problems) -> Result<Self, Mismatch>;
}

/// A table with fixed keys.
pub(super) trait Keys: Sized {
    /// What people write who come from elsewhere, and the key that does it here.
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[];

    /// Asks the table for each of its keys.
    fn ask(table: &mut Table<'_>) -> Self;
}

/// A table that is being read.
pub(super) struct Table<'a> {
    at: &'a At<'a>,
    problems: &'a mut Problems,
    left: BTreeMap<Cow<'a, str>, (Span, Spanned<DeValue<'a>>)>,
    asked: Vec<&'static str>,
    elsewhere: &'static [(&'static str, &'static str)],
}

impl<'a> Table<'a> {
    pub fn new(
        table: DeTable<'a>,
        elsewhere: &'static [(&'static str, &'static str)],
        at: &'a At<'a>,
        problems: &'a mut Problems,
    ) -> Self {
        let left = table.into_iter().map(|(key, value)| {
            let span = key.span();
            (key.into_inner(), (span, value))
        });
        Self {
            at,
            problems,
            left: left.collect(),
            asked: Vec::new(),
            elsewhere,
        }
    }

    /// Asks for a key. `wanted` says what its value is to be, with an article and an example where the
    /// shape alone does not show it.
    pub fn take<T: Shape>(&mut self, name: &'static str, wanted: &str) -> Field<T> {
        self.asked.push(name);
        let Some((span, value)) = self.left.remove(name) else {
            return Field::Absent;
        };
        let at = self.at.key(name, value.span());
        let key = Key {
            path: at.path.clone(),
            span,
        };
        match T::read(value.into_inner(), &at, self.problems) {
            Ok(value) => Field::Given(key, Spanned::new(at.span, value)),
            Err(Mismatch::Within) => Field::Refused(key),
            Err(Mismatch::Is(kind)) => {
                let message = format!("{} is {kind}; {wanted} is wanted", quoted(&at.path));
                self.problems.add(at.source, &at.span, message);
                Field::Refused(key)
            }
        }
    }

    /// Reports every key that nobody asked for, and says whether there was one.
    pub fn finish(&mut self) -> bool {
        let unknown = !self.left.is_empty();
        for (name, (span, _)) in std::mem::take(&mut self.left) {
            let key = self.at.key(&name, span);
            let message = format!("unknown key {} in {}", quoted(&key.path), key.owner);
            let normal = name.replace('-', "_");
            let elsewhere = self.elsewhere.iter().find(|(theirs, _)| *theirs == normal);
            let help = match elsewhere {
                Some((_, ours)) => format!("did you mean `{ours}`?"),
                None => did_you_mean(&name, self.asked.iter().copied()).unwrap_or_else(|| {
                    let mut allowed = self.asked.clone();
                    allowed.sort_unstable();
                    format!("allowed: {}", allowed.join(", "))
                }),
            };
            self.problems.add(key.source, &key.span, message).help(help);
        }
        unknown
    }
}

//! The shapes that values of a trigger file have, and how each is told from the others.

use toml::Spanned;
use toml::de::DeValue;

use super::diagnostic::{Problems, quoted};
use super::reader::{At, Keys, Mismatch, Shape, Table};

/// One value, or a list of them.
#[derive(Clone, Debug)]
pub enum OneOrMany<T> {
    /// Written without brackets.
    One(Spanned<T>),
    /// A list, which may be empty.
    Many(Vec<Spanned<T>>),
}

/// A word, or a table with more to say.
#[derive(Clone, Debug)]
pub enum TextOr<T> {
    /// The word.
    Text(String),
    /// The table.
    Table(T),
}

/// Yes or no, or a word.
#[derive(Clone, Debug)]
pub enum BooleanOrText {
    /// `true` or `false`.
    Boolean(bool),
    /// A string.
    Text(String),
}

/// A list of words, or a table with more to say.
#[derive(Clone, Debug)]
pub enum ListOr<T> {
    /// The list.
    List(Vec<Spanned<String>>),
    /// The table.
    Table(T),
}

/// A number, or a word.
#[derive(Clone, Debug)]
pub enum NumberOrText {
    /// Any integer that TOML has.
    Number(i64),
    /// A string.
    Text(String),
}

/// A number, or a word, or a table with more to say.
#[derive(Clone, Debug)]
pub enum CountOr<T> {
    /// Any integer that TOML has.
    Count(i64),
    /// A string.
    Text(String),
    /// The table.
    Table(T),
}

/// A table whose keys the user chooses, in the order of the file.
pub type Entries<T> = Vec<(Spanned<String>, Spanned<T>)>;

/// What a value is, with its article.
fn mismatch(value: &DeValue<'_>) -> Mismatch {
    Mismatch::Is(match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(number)
            if i64::from_str_radix(number.as_str(), number.radix()).is_err() =>
        {
            "an integer of more than 64 bits"
        }
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    })
}

impl<T: Keys> Shape for T {
    const NAME: &'static str = "a table";

    fn read(value: DeValue<'_>, at: &At<'_>, problems: &mut Problems) -> Result<Self, Mismatch> {
        let DeValue::Table(table) = value else {
            return Err(mismatch(&value));
        };
        let mut table = Table::new(table, T::ELSEWHERE, at, problems);
        let read = T::ask(&mut table);
        table.finish();
        Ok(read)
    }
}

impl Shape for String {
    const NAME: &'static str = "a string";

    fn read(value: DeValue<'_>, _: &At<'_>, _: &mut Problems) -> Result<Self, Mismatch> {
        match value {
            DeValue::String(text) => Ok(text.into_owned()),
            other => Err(mismatch(&other)),
        }
    }
}

impl Shape for bool {
    const NAME: &'static str = "a boolean";

    fn read(value: DeValue<'_>, _: &At<'_>, _: &mut Problems) -> Result<Self, Mismatch> {
        match value {
            DeValue::Boolean(yes) => Ok(yes),
            other => Err(mismatch(&other)),
        }
    }
}

impl Shape for i64 {
    const NAME: &'static str = "an integer";

    fn read(value: DeValue<'_>, _: &At<'_>, _: &mut Problems) -> Result<Self, Mismatch> {
        match &value {
            DeValue::Integer(number) => {
                Self::from_str_radix(number.as_str(), number.radix()).map_err(|_| mismatch(&value))
            }
            other => Err(mismatch(other)),
        }
    }
}

impl Shape for NumberOrText {
    const NAME: &'static str = "a string or an integer";

    fn read(value: DeValue<'_>, at: &At<'_>, problems: &mut Problems) -> Result<Self, Mismatch> {
        match value {
            DeValue::String(text) => Ok(Self::Text(text.into_owned())),
            other => i64::read(other, at, problems).map(Self::Number),
        }
    }
}

impl Shape for BooleanOrText {
    const NAME: &'static str = "a string or a boolean";

    fn read(value: DeValue<'_>, at: &At<'_>, problems: &mut Problems) -> Result<Self, Mismatch> {
        match value {
            DeValue::String(text) => Ok(Self::Text(text.into_owned())),
            other => bool::read(other, at, problems).map(Self::Boolean),
        }
    }
}

impl<T: Keys> Shape for CountOr<T> {
    const NAME: &'static str = "an integer, a string or a table";

    fn read(value: DeValue<'_>, at: &At<'_>, problems: &mut Problems) -> Result<Self, Mismatch> {
        match value {
            DeValue::String(text) => Ok(Self::Text(text.into_owned())),
            DeValue::Table(_) => T::read(value, at, problems).map(Self::Table),
            other => i64::read(other, at, problems).map(Self::Count),
        }
    }
}

impl<T: Keys> Shape for TextOr<T> {
    const NAME: &'static str = "a string or a table";

    fn read(value: DeValue<'_>, at: &At<'_>, problems: &mut Problems) -> Result<Self, Mismatch> {
        match value {
            DeValue::String(text) => Ok(Self::Text(text.into_owned())),
            other => T::read(other, at, problems).map(Self::Table),
        }
    }
}

impl<T: Keys> Shape for ListOr<T> {
    const NAME: &'static str = "a list or a table";

    fn read(value: DeValue<'_>, at: &At<'_>, problems: &mut Problems) -> Result<Self, Mismatch> {
        match value {
            DeValue::Array(_) => Vec::read(value, at, problems).map(Self::List),
            other => T::read(other, at, problems).map(Self::Table),
        }
    }
}

impl<T: Shape> Shape for Vec<Spanned<T>> {
    const NAME: &'static str = "a list";

    fn read(value: DeValue<'_>, at: &At<'_>, problems: &mut Problems) -> Result<Self, Mismatch> {
        let DeValue::Array(items) = value else {
            return Err(mismatch(&value));
        };
        let mut read = Self::new();
        let length = items.len();
        for item in items {
            let span = item.span();
            match T::read(item.into_inner(), at, problems) {
                Ok(item) => read.push(Spanned::new(span, item)),
                Err(Mismatch::Within) => {}
                Err(Mismatch::Is(kind)) => {
                    let message =
                        format!("an item of `{}` is {kind}; {} is wanted", at.path, T::NAME);
                    problems.add(at.source, &span, message);
                }
            }
        }
        // A list with less in it than was written would be found wrong a second time.
        if read.len() == length {
            Ok(read)
        } else {
            Err(Mismatch::Within)
        }
    }
}

impl<T: Shape> Shape for OneOrMany<T> {
    const NAME: &'static str = "a string, an integer or a list";

    fn read(value: DeValue<'_>, at: &At<'_>, problems: &mut Problems) -> Result<Self, Mismatch> {
        match value {
            DeValue::Array(_) => Vec::read(value, at, problems).map(Self::Many),
            one => {
                T::read(one, at, problems).map(|one| Self::One(Spanned::new(at.span.clone(), one)))
            }
        }
    }
}

impl<T: Shape> Shape for Entries<T> {
    const NAME: &'static str = "a table";

    fn read(value: DeValue<'_>, at: &At<'_>, problems: &mut Problems) -> Result<Self, Mismatch> {
        let DeValue::Table(table) = value else {
            return Err(mismatch(&value));
        };
        let mut read = Self::new();
        for (name, value) in table {
            let at = at.key(name.get_ref(), value.span());
            match T::read(value.into_inner(), &at, problems) {
                Ok(value) => {
                    let name = Spanned::new(name.span(), name.into_inner().into_owned());
                    read.push((name, Spanned::new(at.span, value)));
                }
                Err(Mismatch::Within) => {}
                Err(Mismatch::Is(kind)) => {
                    let message = format!("{} is {kind}; {} is wanted", quoted(&at.path), T::NAME);
                    problems.add(at.source, &at.span, message);
                }
            }
        }
        // The map has them by name; people think in the order they wrote.
        read.sort_by_key(|(name, _)| name.span().start);
        Ok(read)
    }
}

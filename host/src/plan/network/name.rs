//! Names of hosts, as they may stand in a trigger file: plain DNS names, in one spelling, and none that
//! a resolver could take for an address.

use std::fmt::{self, Display, Formatter};

use crate::plan::scope::Wrong;
use crate::trigger::quoted;

/// Bytes of a name and of each of its labels.
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// The name of a host, in lower case, without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name in a text.
    pub(super) fn read(text: &str) -> Result<Self, Wrong> {
        let wrong = |help: &str| {
            Err(Wrong::new(
                format!("{} is not the name of a host", quoted(text)),
                help,
            ))
        };
        if text.contains('*') {
            return wrong(
                "names are looked up when the guest is loaded, so each has to be written out",
            );
        }
        if !text.is_ascii() {
            return wrong("write it in its ASCII form, which begins with `xn--`");
        }
        if text.contains('@') {
            return wrong("leave out the user: a guest sends its own credentials");
        }
        if text.ends_with('.') {
            return wrong("write it without the dot at its end");
        }
        let name = text.to_ascii_lowercase();
        let fits = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if name.len() > NAME_MAX || !name.split('.').all(fits) {
            return wrong(
                "a name is labels of letters, digits, `-` and `_` with dots between, such as `api.example.com`",
            );
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last.strip_prefix("0x");
        if last.bytes().all(|byte| byte.is_ascii_digit())
            || hexadecimal.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return wrong("an IPv4 address is four numbers from 0 to 255 without leading zeros");
        }
        Ok(Self(name))
    }

    /// As resolvers and certificates have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        for text in [
            "localhost",
            "API.Example.com",
            "a_b.c-d",
            "xn--bcher-kva.example",
        ] {
            assert_eq!(Name::read(text).unwrap().as_str(), text.to_lowercase());
        }
    }

    #[test]
    fn what_a_resolver_could_take_for_an_address_is_no_name() {
        for text in [
            "127.1",
            "2130706433",
            "0x7f000001",
            "a.0x1",
            "10.0.0.256",
            "0x",
            "1.2.3.4.5",
        ] {
            assert!(Name::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_as_long_as_dns_has_it() {
        let label = "a".repeat(63);
        let name = [label.as_str(); 4].join(".");
        assert!(Name::read(&label).is_ok() && Name::read(&name[2..]).is_ok());
        assert!(Name::read(&format!("a{label}")).is_err() && Name::read(&name).is_err());
    }
}

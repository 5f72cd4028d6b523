//! Users and groups by name or number, as far as that can be told without asking the system.

use nix::unistd::{Gid, Uid};

use super::Identity;
use super::scope::Wrong;
use crate::trigger::{NumberOrText, quoted};

/// A user, by name or number.
pub(super) fn uid(user: NumberOrText) -> Result<Identity<Uid>, Wrong> {
    identity(user, "user", Uid::from_raw)
}

/// A group, by name or number.
pub(super) fn gid(group: NumberOrText) -> Result<Identity<Gid>, Wrong> {
    identity(group, "group", Gid::from_raw)
}

fn identity<Id>(
    written: NumberOrText,
    what: &str,
    id: fn(u32) -> Id,
) -> Result<Identity<Id>, Wrong> {
    let name = match written {
        NumberOrText::Number(number) => number.to_string(),
        NumberOrText::Text(text) => text,
    };
    let digits = name.strip_prefix('-').unwrap_or(&name);
    if name.is_empty() {
        Err(Wrong::new(
            format!("an empty {what}"),
            format!("write the name or number of a {what}"),
        ))
    } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // The highest one means "leave it as it is" to the system calls that take it.
        let number = name
            .parse::<u32>()
            .ok()
            .filter(|number| *number != u32::MAX);
        number
            .map(|number| Identity::Number(id(number)))
            .ok_or_else(|| {
                Wrong::new(
                    format!("{} cannot be a {what}", quoted(&name)),
                    format!("numbers go from 0 to {}", u32::MAX - 1),
                )
            })
    } else if name.contains(':') || name.chars().any(char::is_control) {
        Err(Wrong::new(
            format!("{} cannot be a {what}", quoted(&name)),
            format!("write the name or number of one {what}"),
        ))
    } else {
        Ok(Identity::Name(name))
    }
}

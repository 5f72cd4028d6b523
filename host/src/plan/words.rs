//! The parts of a plan in words, for `describe`.

mod door;

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::{
    Access, Address, Allowed, Denied, GuestLimits, Identity, Network, ResourceLimit, rlimit,
};
use crate::trigger::printable;
pub(super) use door::{Door, admits};

/// Characters shown of a command line: a script is known by how it starts.
const COMMAND_MAX: usize = 200;

/// One entry of `limit`: `nofile 1024 of 4096`.
pub(super) fn resource_limit(limit: &ResourceLimit) -> String {
    let ResourceLimit {
        resource,
        soft,
        hard,
    } = limit;
    let (name, in_bytes) = rlimit::name(*resource);
    let bound = |bound: Option<u64>| match bound {
        Some(bytes) if in_bytes => Size(bytes).to_string(),
        Some(number) => number.to_string(),
        None => "unlimited".to_owned(),
    };
    if soft == hard {
        format!("{name} {}", bound(*soft))
    } else {
        format!("{name} {} of {}", bound(*soft), bound(*hard))
    }
}

/// The names of variables or settings, without their values.
pub(super) fn variables(what: &str, values: &[(String, String)]) -> Option<String> {
    let names: Vec<String> = values.iter().map(|(name, _)| visible(name)).collect();
    (!names.is_empty()).then(|| format!("{what} {}", names.join(" ")))
}

/// What of the network may be reached.
pub fn reaches(network: &Network) -> Option<String> {
    let Network { allow, deny } = network;
    let allow: Vec<String> = allow.iter().map(Allowed::to_string).collect();
    let deny: Vec<String> = deny.iter().map(Denied::to_string).collect();
    let but = if deny.is_empty() { "" } else { "; never " };
    (!allow.is_empty()).then(|| format!("{}{but}{}", allow.join(", "), deny.join(", ")))
}

/// A text with nothing in it that is not visible.
pub fn visible(text: &str) -> String {
    printable(text, usize::MAX)
}

/// A command line or another text of any length, cut.
pub(super) struct Command<'a>(pub &'a str);

impl Display for Command<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(self.0, COMMAND_MAX))
    }
}

/// An address and its family.
pub(super) struct Listen<'a>(pub &'a Address);

impl Display for Listen<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", visible(&self.0.to_string()), self.0.family())
    }
}

/// Limits that hold for one instance.
pub(super) struct Inside<'a>(pub &'a GuestLimits);

impl Display for Inside<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let GuestLimits {
            memory,
            stack,
            cpu,
            deadline,
            idle,
            first_byte,
            rx,
            tx,
        } = self.0;
        write!(f, "{} memory, {} stack, ", Size(*memory), Size(*stack))?;
        write!(f, "{} cpu, ", Time(*cpu))?;
        write!(f, "{} deadline, {} idle", Time(*deadline), Time(*idle))?;
        if let Some(first_byte) = first_byte {
            write!(f, ", {} to the first byte", Time(*first_byte))?;
        }
        if let Some(rx) = rx {
            write!(f, ", {} from the client", Size(*rx))?;
        }
        if let Some(tx) = tx {
            write!(f, ", {} to the client", Size(*tx))?;
        }
        Ok(())
    }
}

/// A user or group.
pub struct Name<'a, Id>(pub &'a Identity<Id>);

impl<Id: Display> Display for Name<'_, Id> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Identity::Name(name) => f.write_str(&visible(name)),
            Identity::Number(id) => id.fmt(f),
        }
    }
}

/// What may be done in a directory, as the file writes it.
pub(super) struct Word(pub Access);

impl Display for Word {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Access::ReadOnly => "ro",
            Access::ReadWrite => "rw",
        })
    }
}

/// A duration as the file writes them.
pub struct Time(pub Duration);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// Bytes in the largest unit that shows them exactly.
pub(super) struct Size(pub u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 >> shift > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// A number of things.
pub(super) struct Count<'a>(pub u32, pub &'a str);

impl Display for Count<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}{}",
            self.0,
            self.1,
            if self.0 == 1 { "" } else { "s" }
        )
    }
}

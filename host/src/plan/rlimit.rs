//! The `limit` table of a native job: what `setrlimit` bounds, under the names that Upstart has.

use nix::sys::resource::Resource;

use super::scope::{Scope, Wrong};
use super::{ResourceLimit, quantity};
use crate::trigger::{Entries, Field, NumberOrText, OneOrMany, did_you_mean, printable, quoted};

const RESOURCES: [(&str, Resource, Unit); 14] = [
    ("as", Resource::RLIMIT_AS, Unit::Bytes),
    ("core", Resource::RLIMIT_CORE, Unit::Bytes),
    ("cpu", Resource::RLIMIT_CPU, Unit::Number),
    ("data", Resource::RLIMIT_DATA, Unit::Bytes),
    ("fsize", Resource::RLIMIT_FSIZE, Unit::Bytes),
    ("memlock", Resource::RLIMIT_MEMLOCK, Unit::Bytes),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE, Unit::Bytes),
    ("nice", Resource::RLIMIT_NICE, Unit::Number),
    ("nofile", Resource::RLIMIT_NOFILE, Unit::Number),
    ("nproc", Resource::RLIMIT_NPROC, Unit::Number),
    ("rss", Resource::RLIMIT_RSS, Unit::Bytes),
    ("rtprio", Resource::RLIMIT_RTPRIO, Unit::Number),
    ("sigpending", Resource::RLIMIT_SIGPENDING, Unit::Number),
    ("stack", Resource::RLIMIT_STACK, Unit::Bytes),
];

/// What a resource is counted in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Number,
}

/// What a resource is called, and whether it is counted in bytes.
pub(super) fn name(resource: Resource) -> (&'static str, bool) {
    let known = RESOURCES.iter().find(|(_, known, _)| *known == resource);
    known.map_or(("resource", false), |(name, _, unit)| {
        (*name, *unit == Unit::Bytes)
    })
}

/// The entries of `limit`, in the order of the file.
pub(super) fn table(
    scope: &mut Scope<'_>,
    field: Field<Entries<OneOrMany<NumberOrText>>>,
) -> Vec<ResourceLimit> {
    let Field::Given(key, entries) = field else {
        return Vec::new();
    };
    let mut limits = Vec::new();
    for (name, bounds) in entries.into_inner() {
        let path = format!("{}.{}", key.path, printable(name.get_ref(), 60));
        let resource = scope.part(&key.path, name, |name| resource(&name));
        let Some((resource, unit)) = resource else {
            continue;
        };
        limits.extend(scope.part(&path, bounds, |bounds| {
            resource_limit(resource, unit, bounds)
        }));
    }
    limits
}

fn resource(name: &str) -> Result<(Resource, Unit), Wrong> {
    let known = RESOURCES.iter().find(|(known, ..)| *known == name);
    known
        .map(|(_, resource, unit)| (*resource, *unit))
        .ok_or_else(|| {
            let names = RESOURCES.map(|(name, ..)| name);
            Wrong::new(
                format!("{} is not a resource", quoted(name)),
                match name {
                    "memory" => "did you mean `as`?".to_owned(),
                    _ => did_you_mean(name, names)
                        .unwrap_or_else(|| format!("allowed: {}", names.join(", "))),
                },
            )
        })
}

fn resource_limit(
    resource: Resource,
    unit: Unit,
    bounds: OneOrMany<NumberOrText>,
) -> Result<ResourceLimit, Wrong> {
    let (soft, hard) = match bounds {
        OneOrMany::One(both) => {
            let both = bound(unit, both.into_inner())?;
            (both, both)
        }
        OneOrMany::Many(bounds) => {
            let [soft, hard] = <[_; 2]>::try_from(bounds).map_err(|bounds| {
                Wrong::new(
                    format!("a list of {}", bounds.len()),
                    "two are wanted: [soft, hard], such as [1024, 4096]",
                )
            })?;
            (
                bound(unit, soft.into_inner())?,
                bound(unit, hard.into_inner())?,
            )
        }
    };
    // `None` is unlimited, and above every number.
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        return Err(Wrong::new(
            "the soft limit is above the hard one",
            "[soft, hard] is the order, such as [1024, 4096]",
        ));
    }
    Ok(ResourceLimit {
        resource,
        soft,
        hard,
    })
}

fn bound(unit: Unit, bound: NumberOrText) -> Result<Option<u64>, Wrong> {
    match bound {
        NumberOrText::Number(number) => u64::try_from(number).map(Some).map_err(|_| {
            Wrong::new(
                format!("{number} is out of range"),
                r#"a number from 0, or "unlimited", is wanted"#,
            )
        }),
        NumberOrText::Text(word) if word == "unlimited" => Ok(None),
        NumberOrText::Text(size) if unit == Unit::Bytes => quantity::size(&size).map(Some),
        NumberOrText::Text(word) => Err(Wrong::new(
            format!("{} is not a number", quoted(&word)),
            r#"a number from 0, or "unlimited", is wanted"#,
        )),
    }
}

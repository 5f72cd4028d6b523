//! What a trigger says about its guest.

use std::collections::HashSet;

use super::scope::{Scope, Wrong};
use super::{Access, Dir, GivenPath, GuestJob, GuestLimits, network, text};
use crate::trigger::{self, Entries, Field, GuestKeys, TextOr, did_you_mean, printable, quoted};

/// The guest as meant. `None`: without a path, which is reported.
pub(super) fn job(
    scope: &mut Scope<'_>,
    keys: GuestKeys,
    env: Vec<(String, String)>,
    limits: GuestLimits,
) -> Option<GuestJob> {
    let GuestKeys {
        wasm,
        args,
        dirs,
        network,
        config,
    } = keys;
    let folder = scope.folder().to_owned();
    let path = scope.value(wasm, |path| text::path(path, &folder));
    let args = text::words(scope, args);
    let dirs = self::dirs(scope, dirs);
    let network = network::read(scope, network);
    let config = text::settings(scope, config);
    Some(GuestJob {
        path: path?,
        args,
        env,
        dirs,
        network,
        config,
        limits,
    })
}

fn dirs(scope: &mut Scope<'_>, field: Field<Entries<TextOr<trigger::Dir>>>) -> Vec<Dir> {
    let Field::Given(key, entries) = field else {
        return Vec::new();
    };
    let mut dirs = Vec::new();
    let mut seen = HashSet::new();
    for (guest, host) in entries.into_inner() {
        let (at, span) = (guest.span(), host.span());
        let path = format!("{}.{}", key.path, printable(guest.get_ref(), 60));
        let guest = scope.part(&key.path, guest, guest_path);
        if let Some(guest) = &guest
            && !seen.insert(guest.clone())
        {
            scope.problem(
                &at,
                format!("`{}`: {} is there already", key.path, quoted(guest)),
            );
        }
        let folder = scope.folder().to_owned();
        let (host, access) = match host.into_inner() {
            TextOr::Text(host) => {
                let host = toml::Spanned::new(span, host);
                (
                    scope.part(&path, host, |host| text::path(host, &folder)),
                    Some(Access::ReadOnly),
                )
            }
            TextOr::Table(trigger::Dir { path: host, access }) => {
                if !host.is_written() {
                    scope
                        .problem(&span, format!("`{path}` has no `path`"))
                        .help(r#"a directory is written { path = "data", access = "ro" }"#);
                }
                let given = access.is_written();
                let access = scope.text(access, self::access);
                let host = scope.value(host, |host| text::path(host, &folder));
                (
                    host,
                    if given {
                        access
                    } else {
                        Some(Access::ReadOnly)
                    },
                )
            }
        };
        if let (Some(guest), Some(host), Some(access)) = (guest, host, access) {
            dirs.push(Dir {
                guest,
                host,
                access,
            });
        }
    }
    dirs
}

/// What a confined job may touch: like the directories of a guest, but as they are, since it sees them where they are.
pub(super) fn given(
    scope: &mut Scope<'_>,
    field: Field<Entries<TextOr<trigger::Dir>>>,
) -> Vec<GivenPath> {
    let Field::Given(key, entries) = field else {
        return Vec::new();
    };
    let mut all: Vec<GivenPath> = Vec::new();
    for (place, access) in entries.into_inner() {
        let span = access.span();
        let at = place.span();
        let name = format!("{}.{}", key.path, printable(place.get_ref(), 60));
        let folder = scope.folder().to_owned();
        let path = scope.part(&key.path, place, |path| text::path(path, &folder));
        let access = match access.into_inner() {
            TextOr::Text(word) => scope.part(&name, toml::Spanned::new(span, word), |word| {
                self::access(&word)
            }),
            TextOr::Table(_) => {
                scope
                    .problem(&span, format!("`{name}`: a table"))
                    .help(r#"a native job sees a folder where it is: write { "/srv/data" = "ro" }, or "rw""#);
                None
            }
        };
        if let Some(path) = &path
            && all.iter().any(|given| given.path == *path)
        {
            scope.problem(
                &at,
                format!("`{}`: {} is there already", key.path, path.display()),
            );
        }
        if let (Some(path), Some(access)) = (path, access) {
            all.push(GivenPath { path, access });
        }
    }
    all
}

/// Where a guest sees a directory, in its one spelling.
fn guest_path(path: String) -> Result<String, Wrong> {
    let path = text::word(path)?;
    if !path.starts_with('/') {
        return Err(Wrong::new(
            format!("{} is not absolute", quoted(&path)),
            "on the left is where the guest sees the directory, from its root, such as \"/data\"",
        ));
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if parts.contains(&"..") {
        return Err(Wrong::new(
            format!("`..` in {}", quoted(&path)),
            "write where it leads to",
        ));
    }
    Ok(format!("/{}", parts.join("/")))
}

fn access(word: &str) -> Result<Access, Wrong> {
    match word {
        "ro" => Ok(Access::ReadOnly),
        "rw" => Ok(Access::ReadWrite),
        _ => Err(Wrong::new(
            format!("{} is not a kind of access", quoted(word)),
            did_you_mean(word, ["ro", "rw"]).unwrap_or_else(|| {
                r#"allowed: "ro" (read only), "rw" (read and write)"#.to_owned()
            }),
        )),
    }
}

//! Texts that cross into the system: words of a command line, variables and paths. What the system
//! could not take, or would take for something else, is refused here.

use std::path::{Component, Path, PathBuf};

use toml::Spanned;

use super::scope::{Scope, Wrong};
use crate::trigger::{Entries, Field, quoted};

/// The kernel's limit for one word of a command line, or one variable with its name: 32 pages, and
/// one byte of them is the NUL.
const WORD_MAX: usize = 32 * 4096 - 1;

/// What every handler finds from the host itself.
const OURS: [&str; 8] = [
    "PROTO",
    "PORT",
    "ADDR",
    "SOCKET_PATH",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "FD_COUNT",
    "FD_NAMES",
];

/// A word of a command line.
pub(super) fn word(text: String) -> Result<String, Wrong> {
    if text.contains('\0') {
        return Err(Wrong::new(
            "a NUL inside",
            "no text of the system can hold one",
        ));
    }
    if text.len() > WORD_MAX {
        return Err(Wrong::new(
            format!("a text of {} bytes", text.len()),
            format!("the kernel takes at most {WORD_MAX} at once"),
        ));
    }
    Ok(text)
}

/// Several words.
pub(super) fn words(scope: &mut Scope<'_>, field: Field<Vec<Spanned<String>>>) -> Vec<String> {
    let Field::Given(key, words) = field else {
        return Vec::new();
    };
    let words = words.into_inner().into_iter();
    words
        .filter_map(|text| scope.part(&key.path, text, word))
        .collect()
}

/// The variables of `env`, in the order of the file.
pub(super) fn env(scope: &mut Scope<'_>, field: Field<Entries<String>>) -> Vec<(String, String)> {
    let Field::Given(key, entries) = field else {
        return Vec::new();
    };
    let mut env = Vec::new();
    for (name, value) in entries.into_inner() {
        let name = scope.part(&key.path, name, variable_name);
        let value = scope.part(&key.path, value, word);
        if let (Some(name), Some(value)) = (name, value) {
            env.push((name, value));
        }
    }
    env
}

/// The settings of `config`, in the order of the file. They are told by a call and not by the system,
/// so any text will do.
pub(super) fn settings(
    scope: &mut Scope<'_>,
    field: Field<Entries<String>>,
) -> Vec<(String, String)> {
    let Field::Given(key, entries) = field else {
        return Vec::new();
    };
    let mut settings = Vec::new();
    for (name, value) in entries.into_inner() {
        let name = scope.part(&key.path, name, word);
        let value = scope.part(&key.path, value, word);
        if let (Some(name), Some(value)) = (name, value) {
            settings.push((name, value));
        }
    }
    settings
}

fn variable_name(name: String) -> Result<String, Wrong> {
    if name.is_empty() || name.contains('=') {
        return Err(Wrong::new(
            format!("{} cannot be the name of a variable", quoted(&name)),
            "a name has at least one character, and no `=`",
        ));
    }
    if OURS.contains(&name.as_str()) || name.starts_with("UPSTART_") || name.starts_with("LISTEN_")
    {
        return Err(Wrong::new(
            format!("{} is set by the host", quoted(&name)),
            format!(
                "UPSTART_*, LISTEN_*, {} say how a handler was started",
                OURS.join(", ")
            ),
        ));
    }
    word(name)
}

/// A path of the host. Only its words are looked at: `.` goes, `..` stays, because what it means
/// depends on links.
pub(super) fn path(text: String, folder: &Path) -> Result<PathBuf, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new(
            "an empty path",
            "a path starts at the root, `/`, or at the folder of the trigger file, `.`",
        ));
    }
    let text = word(text)?;
    Ok(folder
        .join(text)
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect())
}

//! What a trigger says about its native job.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Gid;
use toml::Spanned;

use super::identity::{gid, uid};
use super::quantity::{self, count, duration, time_limit};
use super::scope::{Scope, Wrong};
use super::{
    Admission, GivenPath, Identity, NativeJob, NativeStyle, Respawn, Sandbox, rlimit, text,
};
use crate::trigger::{
    self, Field, NativeKeys, NumberOrText, OneOrMany, TextOr, did_you_mean, printable, quoted,
};

const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const UMASK: u32 = 0o022;
const INSTANCES: NonZeroU32 = NonZeroU32::MIN;

/// Upstart's own: `respawn limit 10 5`.
const RESPAWN: Respawn = Respawn {
    limit: NonZeroU32::new(10),
    interval: Duration::from_secs(5),
};

/// A deadline holds for a process: one that serves one connection has the deadline of connections
/// unless the file says something else, one that holds the listener has none.
pub(super) struct Bounds {
    pub admission: Admission,
    pub deadline: Option<Duration>,
    pub deadline_of_connections: Duration,
    pub first_byte: Option<Duration>,
}

/// The job as meant. `None`: without a program, which is reported.
pub(super) fn job(
    scope: &mut Scope<'_>,
    keys: NativeKeys,
    env: Vec<(String, String)>,
    bounds: Bounds,
    given: Vec<GivenPath>,
) -> Option<NativeJob> {
    let NativeKeys {
        exec,
        script,
        accept,
        setuid,
        setgid,
        groups,
        chdir,
        chroot,
        umask,
        nice,
        limit,
        instances,
        kill_signal,
        kill_timeout,
        respawn,
        sandbox,
    } = keys;
    let folder = scope.folder().to_owned();
    let chroot_written = chroot.is_written();
    let program_folder = (!chroot_written).then_some(folder.as_path());
    let argv = match scope.value(exec, |exec| argv(exec, program_folder)) {
        Some(argv) => Some(argv),
        None => scope.value(script, self::script),
    };
    let instances = scope.value(instances, count).unwrap_or(INSTANCES);
    let respawn = respawn_of(scope, respawn);
    let accept = accept.given().unwrap_or(false);
    // The host sees the first byte of a client when it waits for that.
    let first_byte = bounds
        .first_byte
        .filter(|_| accept && bounds.admission.defer);
    let (style, deadline) = if accept {
        let deadline = bounds.deadline.unwrap_or(bounds.deadline_of_connections);
        (NativeStyle::Connection(bounds.admission), Some(deadline))
    } else {
        (
            NativeStyle::Listener { instances, respawn },
            bounds.deadline,
        )
    };
    // Inside a new root the folder of the trigger file is not there: paths start at that root.
    let inside = if chroot_written {
        Path::new("/")
    } else {
        &folder
    };
    let job = NativeJob {
        argv: Vec::new(),
        env,
        style,
        deadline,
        first_byte,
        setuid: scope.value(setuid, uid),
        setgid: scope.value(setgid, gid),
        groups: self::groups(scope, groups),
        chdir: scope
            .value(chdir, |path| text::path(path, inside))
            .unwrap_or_else(|| PathBuf::from("/")),
        chroot: scope.value(chroot, |path| text::path(path, &folder)),
        umask: scope.text(umask, quantity::octal).unwrap_or(UMASK),
        nice: scope.value(nice, self::nice),
        limit: rlimit::table(scope, limit),
        kill_signal: scope
            .value(kill_signal, |it| signal(&it))
            .unwrap_or(Signal::SIGTERM),
        kill_timeout: scope.text(kill_timeout, duration).unwrap_or(KILL_TIMEOUT),
        sandbox: scope
            .text(sandbox, |how| self::sandbox(how, given))
            .unwrap_or(Sandbox::None),
    };
    Some(NativeJob { argv: argv?, ..job })
}

fn sandbox(how: &str, given: Vec<GivenPath>) -> Result<Sandbox, Wrong> {
    match how {
        "none" => Ok(Sandbox::None),
        "strict" => Ok(Sandbox::Strict(given)),
        _ => Err(Wrong::new(
            format!("{} is not a kind of sandbox", quoted(how)),
            did_you_mean(how, ["none", "strict"])
                .unwrap_or_else(|| r#"allowed: "none", "strict""#.to_owned()),
        )),
    }
}

/// The words of `exec`. `folder` is what a relative program starts at; a new root has none.
fn argv(exec: OneOrMany<String>, folder: Option<&Path>) -> Result<Vec<String>, Wrong> {
    let mut argv = match exec {
        OneOrMany::One(line) => split(line.get_ref())?,
        OneOrMany::Many(words) => words.into_iter().map(Spanned::into_inner).collect(),
    };
    let Some(program) = argv.first_mut().filter(|program| !program.is_empty()) else {
        return Err(Wrong::new(
            "no program",
            r#"write it first, such as "/usr/bin/python3 service.py""#,
        ));
    };
    // A bare name is looked up in PATH when the job is loaded.
    if program.contains('/') && !program.starts_with('/') {
        let Some(folder) = folder else {
            return Err(Wrong::new(
                format!("{} is a relative path", quoted(program)),
                "with `chroot` the program is looked up inside the new root: write its path from there",
            ));
        };
        *program = text::path(std::mem::take(program), folder)?
            .to_string_lossy()
            .into_owned();
    }
    argv.into_iter().map(text::word).collect()
}

/// Splits a line as a shell does, and refuses what only a shell would understand: the program would
/// get it as an argument, which nobody means.
fn split(line: &str) -> Result<Vec<String>, Wrong> {
    let words = shell_words::split(line).map_err(|_| {
        Wrong::new(
            "a quote is not closed",
            "words are split as a shell splits them",
        )
    })?;
    let expands = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '{' | '(');
    let for_a_shell = |word: &&String| {
        matches!(
            word.as_str(),
            "|" | "||" | "&" | "&&" | ";" | "<" | ">" | ">>" | "2>" | "2>&1"
        ) || word.contains('`')
            || word
                .split('$')
                .skip(1)
                .any(|rest| rest.starts_with(expands))
    };
    match words.iter().find(for_a_shell) {
        Some(word) => Err(Wrong::new(
            format!(
                "'{}' is for a shell, and `exec` runs without one",
                printable(word, 60)
            ),
            "use `script`, or write a list of words if the program is to get it as it is",
        )),
        None => Ok(words),
    }
}

fn script(script: String) -> Result<Vec<String>, Wrong> {
    if script.trim().is_empty() {
        return Err(Wrong::new(
            "an empty script",
            "write what /bin/sh is to run",
        ));
    }
    Ok(vec![
        "/bin/sh".to_owned(),
        "-e".to_owned(),
        "-c".to_owned(),
        text::word(script)?,
    ])
}

fn respawn_of(scope: &mut Scope<'_>, field: Field<TextOr<trigger::Respawn>>) -> Respawn {
    let Field::Given(key, written) = field else {
        return RESPAWN;
    };
    let span = written.span();
    match written.into_inner() {
        TextOr::Text(word) => {
            let unlimited = |word: String| match word.as_str() {
                "unlimited" => Ok(Respawn {
                    limit: None,
                    ..RESPAWN
                }),
                _ => Err(Wrong::new(
                    format!("{} is not a way to respawn", quoted(&word)),
                    r#"write { limit = 10, interval = "5s" }, or "unlimited""#,
                )),
            };
            scope
                .part(&key.path, Spanned::new(span, word), unlimited)
                .unwrap_or(RESPAWN)
        }
        TextOr::Table(trigger::Respawn { limit, interval }) => Respawn {
            limit: scope.value(limit, count).or(RESPAWN.limit),
            interval: scope.text(interval, time_limit).unwrap_or(RESPAWN.interval),
        },
    }
}

fn groups(
    scope: &mut Scope<'_>,
    field: Field<Vec<Spanned<NumberOrText>>>,
) -> Option<Vec<Identity<Gid>>> {
    let Field::Given(key, groups) = field else {
        return None;
    };
    let groups = groups.into_inner().into_iter();
    Some(
        groups
            .filter_map(|group| scope.part(&key.path, group, gid))
            .collect(),
    )
}

fn nice(number: i64) -> Result<i32, Wrong> {
    i32::try_from(number)
        .ok()
        .filter(|nice| (-20..=19).contains(nice))
        .ok_or_else(|| {
            Wrong::new(
                format!("{number} is out of range"),
                "a number from -20 (first) to 19 (last) is wanted",
            )
        })
}

fn signal(signal: &NumberOrText) -> Result<Signal, Wrong> {
    let known = match signal {
        NumberOrText::Number(number) => i32::try_from(*number)
            .ok()
            .and_then(|it| Signal::try_from(it).ok()),
        NumberOrText::Text(name) => {
            let short = name.strip_prefix("SIG").unwrap_or(name);
            Signal::iterator().find(|known| known.as_str().strip_prefix("SIG") == Some(short))
        }
    };
    known.ok_or_else(|| {
        let (what, close) = match signal {
            NumberOrText::Number(number) => (format!("`{number}`"), None),
            NumberOrText::Text(name) => (
                quoted(name),
                did_you_mean(name, Signal::iterator().map(|known| &known.as_str()[3..])),
            ),
        };
        Wrong::new(
            format!("{what} is not a signal"),
            close.unwrap_or_else(|| r#"signals are written "TERM", "SIGTERM" or 15"#.to_owned()),
        )
    })
}

//! A native job in words.

use std::fmt::{self, Formatter};
use std::time::Duration;

use super::line;
use crate::plan::words::{
    Command, Count, Door, Name, Time, Word, resource_limit, variables, visible,
};
use crate::plan::{GivenPath, NativeJob, NativeStyle, Sandbox};

pub(super) fn describe(f: &mut Formatter<'_>, what: &str, native: &NativeJob) -> fmt::Result {
    let NativeJob {
        argv,
        env,
        style,
        deadline,
        first_byte,
        setuid,
        setgid,
        groups,
        chdir,
        chroot,
        umask,
        nice,
        limit,
        kill_signal,
        kill_timeout,
        sandbox,
    } = native;
    let gets = match style {
        NativeStyle::Listener { .. } => "gets the listener",
        NativeStyle::Connection(_) => "gets each connection",
    };
    line(
        f,
        what,
        format_args!("{} ({gets})", Command(&shell_words::join(argv))),
    )?;

    let mut words = Vec::new();
    words.extend(setuid.as_ref().map(|user| format!("user {}", Name(user))));
    words.extend(
        setgid
            .as_ref()
            .map(|group| format!("group {}", Name(group))),
    );
    words.extend(groups.as_ref().map(|groups| match groups.as_slice() {
        [] => "no other groups".to_owned(),
        groups => {
            let groups: Vec<String> = groups.iter().map(|group| Name(group).to_string()).collect();
            format!("groups {}", groups.join(" "))
        }
    }));
    words.extend(
        chroot
            .as_ref()
            .map(|path| format!("root {}", visible(&path.to_string_lossy()))),
    );
    words.push(format!("in {}", visible(&chdir.to_string_lossy())));
    words.push(format!("umask {umask:03o}"));
    words.extend(nice.map(|nice| format!("nice {nice}")));
    words.extend(variables("env", env));
    line(f, "runs", words.join("; "))?;
    if let Sandbox::Strict(given) = sandbox {
        let mut touches = vec!["strict".to_owned()];
        touches.extend(given.iter().map(|given| {
            let GivenPath { path, access } = given;
            format!("{} ({})", visible(&path.to_string_lossy()), Word(*access))
        }));
        line(f, "sandbox", touches.join("; "))?;
    }

    line(f, "limits", native_limits(style, *deadline, *first_byte))?;
    let mut limit = limit.clone();
    limit.extend(sandbox.limits().filter(|own| {
        // What the file says of a resource goes before.
        native
            .limit
            .iter()
            .all(|given| given.resource != own.resource)
    }));
    if !limit.is_empty() {
        let limits: Vec<String> = limit.iter().map(resource_limit).collect();
        line(f, "", limits.join(", "))?;
    }
    let signal = kill_signal.as_str().trim_start_matches("SIG");
    line(
        f,
        "ends",
        format_args!("by {signal}, by KILL after {}", Time(*kill_timeout)),
    )
}

fn native_limits(
    style: &NativeStyle,
    deadline: Option<Duration>,
    first_byte: Option<Duration>,
) -> String {
    let deadline = match deadline {
        Some(deadline) => format!("{} deadline", Time(deadline)),
        None => "no deadline".to_owned(),
    };
    let first_byte = first_byte.map(|limit| format!(", {} to the first byte", Time(limit)));
    let deadline = deadline + &first_byte.unwrap_or_default();
    match style {
        NativeStyle::Connection(admission) => format!("{}; {deadline}", Door(admission)),
        NativeStyle::Listener { instances, respawn } => {
            let processes = if instances.get() == 1 {
                "process"
            } else {
                "processes"
            };
            let failures = match respawn.limit {
                Some(limit) => {
                    format!(
                        "{} in {}",
                        Count(limit.get(), "failure"),
                        Time(respawn.interval)
                    )
                }
                None => "any number of failures".to_owned(),
            };
            format!("{instances} {processes} at once, {failures}; {deadline}")
        }
    }
}

//! A plan in words: what `check` prints, a block for each trigger, with the defaults of its limits filled in. The
//! values of variables are not shown, because they may be secrets.

mod native;

use std::fmt::{self, Display, Formatter};

use super::words::{
    Command, Count, Door, Inside, Listen, Name, Size, Time, Word, admits, reaches, variables,
    visible,
};
use super::{
    Admission, Confine, Coredumps, GuestJob, Job, Location, NativeStyle, Plan, SocketOptions,
    Trigger,
};

/// The host's own part of a plan, as a block of lines.
#[must_use]
pub fn host(plan: &Plan) -> impl Display {
    fmt::from_fn(|f| {
        writeln!(f, "host")?;
        line(f, "drain", Time(plan.grace))?;
        match plan.connections {
            Some(connections) => line(
                f,
                "limits",
                format_args!(
                    "{} over all triggers",
                    Count(connections.get(), "connection")
                ),
            ),
            None => line(
                f,
                "limits",
                "as many connections over all triggers as this machine carries",
            ),
        }?;
        let user = plan
            .user
            .as_ref()
            .map(|user| format!("user {}", Name(user)));
        let group = plan
            .group
            .as_ref()
            .map(|group| format!("group {}", Name(group)));
        let runs: Vec<String> = user.into_iter().chain(group).collect();
        if !runs.is_empty() {
            line(
                f,
                "runs",
                format_args!("as {}, once it has bound", runs.join("; ")),
            )?;
        }
        match plan.confine {
            Confine::Auto => Ok(()),
            Confine::Off => line(f, "sandbox", "off"),
            Confine::Required => line(f, "sandbox", "required"),
        }?;
        match &plan.cache {
            Location::Usual => Ok(()),
            Location::None => line(f, "cache", "none"),
            Location::At(path) => line(f, "cache", visible(&path.to_string_lossy())),
        }?;
        match &plan.control {
            Location::Usual => Ok(()),
            Location::None => line(f, "control", "none"),
            Location::At(path) => line(f, "control", visible(&path.to_string_lossy())),
        }?;
        match &plan.coredumps {
            Some(Coredumps { path, total }) => {
                let path = visible(&path.to_string_lossy());
                line(f, "dumps", format_args!("{path}, up to {}", Size(*total)))
            }
            None => Ok(()),
        }
    })
}

/// One trigger, as a block of lines. `serves` is what is known about its handler after trying to load
/// it: which one serves, and why.
#[must_use]
pub fn trigger(trigger: &Trigger, serves: Option<&str>) -> impl Display {
    fmt::from_fn(move |f| {
        let Trigger {
            name,
            description,
            listen,
            socket,
            job,
        } = trigger;
        match description {
            Some(description) => writeln!(f, "{name}: {}", Command(description))?,
            None => writeln!(f, "{name}")?,
        }
        let mut addresses = listen.iter();
        if let Some(address) = addresses.next() {
            line(f, "listen", Listen(address))?;
        }
        for address in addresses {
            line(f, "", Listen(address))?;
        }
        describe_socket(f, socket, admission(job).is_some())?;
        if let Some(admits) = admission(job).and_then(admits) {
            line(f, "admits", admits)?;
        }
        match job {
            Job::Guest {
                guest,
                admission,
                fallback,
            } => {
                describe_guest(f, guest)?;
                line(
                    f,
                    "limits",
                    format_args!("{}; {}", Door(admission), Inside(&guest.limits)),
                )?;
                if let Some(native) = fallback {
                    native::describe(f, "fallback", native)?;
                }
            }
            Job::Native(native) => native::describe(f, "handler", native)?,
        }
        if let Some(serves) = serves {
            line(f, "serves", visible(serves))?;
        }
        Ok(())
    })
}

/// The whole plan: every block, with an empty line between.
impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        host(self).fmt(f)?;
        for each in &self.triggers {
            write!(f, "\n{}", trigger(each, None))?;
        }
        Ok(())
    }
}

fn line(f: &mut Formatter<'_>, what: &str, text: impl Display) -> fmt::Result {
    writeln!(f, "  {what:<8} {text}")
}

/// Who is let in, where the host accepts.
fn admission(job: &Job) -> Option<&Admission> {
    match job {
        Job::Guest { admission, .. } => Some(admission),
        Job::Native(native) => match &native.style {
            NativeStyle::Connection(admission) => Some(admission),
            NativeStyle::Listener { .. } => None,
        },
    }
}

/// What is not as it is by default.
fn describe_socket(
    f: &mut Formatter<'_>,
    socket: &SocketOptions,
    nodelay_by_default: bool,
) -> fmt::Result {
    let SocketOptions {
        backlog,
        nodelay,
        keepalive,
        mode,
        owner,
        group,
    } = socket;
    let mut words = Vec::new();
    words.extend(backlog.map(|length| format!("backlog {length}")));
    if *nodelay != nodelay_by_default {
        words.push(if *nodelay { "nodelay" } else { "no nodelay" }.to_owned());
    }
    words.extend(keepalive.then(|| "keepalive".to_owned()));
    words.extend(mode.map(|mode| format!("mode {mode:04o}")));
    words.extend(owner.as_ref().map(|owner| format!("owner {}", Name(owner))));
    words.extend(group.as_ref().map(|group| format!("group {}", Name(group))));
    if words.is_empty() {
        Ok(())
    } else {
        line(f, "socket", words.join(", "))
    }
}

fn describe_guest(f: &mut Formatter<'_>, guest: &GuestJob) -> fmt::Result {
    let GuestJob {
        path,
        args,
        env,
        dirs,
        network,
        config,
        limits: _,
    } = guest;
    let path = path.to_string_lossy();
    let words = std::iter::once(path.as_ref()).chain(args.iter().map(String::as_str));
    line(
        f,
        "handler",
        format_args!("guest {}", Command(&shell_words::join(words))),
    )?;
    let mut touches = Vec::new();
    for dir in dirs {
        let access = Word(dir.access);
        let host = dir.host.to_string_lossy();
        touches.push(format!(
            "{} -> {} ({access})",
            visible(&dir.guest),
            visible(&host)
        ));
    }
    touches.extend(variables("env", env));
    touches.extend(variables("config", config));
    let nothing = if network.is_empty() {
        "nothing but its connection"
    } else {
        "nothing but its connection and the network"
    };
    line(
        f,
        "touches",
        if touches.is_empty() {
            nothing.to_owned()
        } else {
            touches.join("; ")
        },
    )?;
    match reaches(network) {
        Some(reaches) => line(f, "reaches", reaches),
        None => Ok(()),
    }
}

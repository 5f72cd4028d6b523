//! From what is written to what is meant: every key of a trigger file is taken apart here and in
//! `host`, `guest`, `native` and `socket`, by name and without a rest, so that a key which is forgotten does
//! not compile.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::clash::Claims;
use super::fit::{self, Fit};
use super::native::Bounds;
use super::quantity::{memory, stack, time_limit, volume};
use super::scope::Scope;
use super::{
    Confine, GivenPath, GuestLimits, Job, Location, Plan, Trigger, admission, guest, host, native,
    rules, socket, text,
};
use crate::trigger::{self, Field, Limits, Problems, Source, Span, TriggerFile, quoted};

const CPU: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_hours(1);
const IDLE: Duration = Duration::from_mins(5);

/// Names stand in log lines, ready lines and `LISTEN_FDNAMES`.
const NAME_MAX: usize = 64;

impl Plan {
    /// The plan that one text makes. `name` is how problems call it, and relative paths in it start
    /// at `folder`. No system is asked anything: whether files and users exist is found out when
    /// handlers are loaded.
    ///
    /// # Errors
    /// All that is wrong, each with its place.
    pub fn read(
        text: impl Into<String>,
        name: impl Into<String>,
        folder: impl Into<std::path::PathBuf>,
    ) -> Result<Self, Problems> {
        Self::of(vec![Source::new(name, folder, text)])
    }

    /// The plan that several files make together.
    ///
    /// # Errors
    /// All that is wrong, each with its place.
    pub fn of(sources: Vec<Arc<Source>>) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let first = sources.first().cloned();
        let files = sources
            .into_iter()
            .filter_map(|source| TriggerFile::read(source, &mut problems));
        let files: Vec<TriggerFile> = files.collect();
        let plan = plan(files, &mut problems);
        if let Some(first) = first
            && plan.triggers.is_empty()
            && problems.is_empty()
        {
            problems
                .add(&first, &(0..0), "no trigger")
                .help("a trigger is a table `[trigger.NAME]` with `listen` and one of `wasm`, `exec` and `script`");
        }
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(problems)
        }
    }
}

/// What the files mean, as far as they mean something.
fn plan(files: Vec<TriggerFile>, problems: &mut Problems) -> Plan {
    let mut plan = Plan {
        grace: host::GRACE,
        connections: None,
        cache: Location::Usual,
        control: Location::Usual,
        coredumps: None,
        user: None,
        group: None,
        confine: Confine::Auto,
        triggers: Vec::new(),
    };
    let mut hosts: Option<(Arc<Source>, Span)> = None;
    let mut names: HashMap<String, (Arc<Source>, Span)> = HashMap::new();
    let mut claims = Claims::default();
    for TriggerFile {
        source,
        host,
        triggers,
    } in files
    {
        if let Some(key) = host.key() {
            let place = (Arc::clone(&source), key.span.clone());
            if let Some((first, span)) = &hosts {
                problems
                    .add(&source, &key.span, "`[host]` is written twice")
                    .see("the first one", first, span);
            }
            hosts.get_or_insert(place);
        }
        let mut scope = Scope {
            source: &source,
            owner: "`[host]`".to_owned(),
            problems,
        };
        if let Field::Given(_, host) = host {
            host::read(&mut scope, host.into_inner(), &mut plan);
        }
        for trigger in triggers {
            let name = &trigger.name;
            scope.owner = format!("trigger {}", quoted(name.get_ref()));
            match names.get(name.get_ref()) {
                Some((first, span)) => {
                    let message = format!("{} is written twice", scope.owner);
                    scope
                        .problem(&name.span(), message)
                        .see("the first one", first, span);
                }
                None => {
                    names.insert(name.get_ref().clone(), (Arc::clone(&source), name.span()));
                }
            }
            plan.triggers
                .extend(read_trigger(&mut scope, trigger, &mut claims));
        }
    }
    plan
}

fn read_trigger(
    scope: &mut Scope<'_>,
    written: trigger::Trigger,
    claims: &mut Claims,
) -> Option<Trigger> {
    check_name(scope, &written.name);
    let fit = fit::handler(scope, &written);
    let trigger::Trigger {
        name,
        description,
        listen,
        socket,
        env,
        limits,
        defer,
        allow,
        deny,
        access_times,
        banner,
        guest: guest_keys,
        native: native_keys,
        has_unknown_keys,
    } = written;

    if !listen.is_written() && !has_unknown_keys {
        let message = format!("no `listen` in {}", scope.owner);
        scope
            .problem(&name.span(), message)
            .help(r#"write where, such as listen = "127.0.0.1:8000""#);
    }
    let listen = socket::listen(scope, listen);
    for address in &listen {
        claims.claim(scope, address.get_ref(), &address.span());
    }
    let accept = matches!(&native_keys.accept, Field::Given(_, yes) if *yes.get_ref());
    let host_accepts = accept || fit != Some(Fit::Native);
    let socket = socket::options(scope, socket, &listen, host_accepts);
    let env = text::env(scope, env);
    let limits = read_limits(scope, limits.given().unwrap_or_default());
    rules::fit(scope, &allow, &deny, &listen);
    let keys = admission::Keys {
        allow,
        deny,
        access_times,
        banner,
        defer,
    };
    let admission = admission::read(scope, &limits.admission, keys);
    let guest_limits = GuestLimits {
        memory: limits.memory.unwrap_or(GuestLimits::MEMORY),
        stack: limits.stack.unwrap_or(GuestLimits::STACK),
        cpu: limits.cpu.unwrap_or(CPU),
        deadline: limits.deadline.unwrap_or(DEADLINE),
        idle: limits.idle.unwrap_or(IDLE),
        first_byte: limits.first_byte,
        rx: limits.rx,
        tx: limits.tx,
    };
    let bounds = || Bounds {
        admission: admission.clone(),
        deadline: limits.deadline,
        deadline_of_connections: DEADLINE,
        first_byte: limits.first_byte,
    };
    let job = match fit? {
        Fit::Guest => {
            let guest = guest::job(scope, guest_keys, env, guest_limits)?;
            Job::Guest {
                guest: Box::new(guest),
                admission,
                fallback: None,
            }
        }
        Fit::GuestOrNative => {
            let guest = guest::job(scope, guest_keys, env.clone(), guest_limits);
            // It may touch what the guest would have found open.
            let given = guest
                .iter()
                .flat_map(|guest| &guest.dirs)
                .map(GivenPath::from)
                .collect();
            let fallback = native::job(scope, native_keys, env, bounds(), given);
            Job::Guest {
                guest: Box::new(guest?),
                admission,
                fallback: Some(fallback?),
            }
        }
        Fit::Native => {
            let given = match &native_keys.sandbox {
                Field::Given(_, how) if how.get_ref() == "strict" => {
                    guest::given(scope, guest_keys.dirs)
                }
                // Refused, and so not looked at.
                _ => Vec::new(),
            };
            Job::Native(native::job(scope, native_keys, env, bounds(), given)?)
        }
    };
    Some(Trigger {
        name: name.into_inner().into(),
        description: description.given(),
        listen: listen.into_iter().map(Spanned::into_inner).collect(),
        socket,
        job,
    })
}

fn check_name(scope: &mut Scope<'_>, name: &Spanned<String>) {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if !(1..=NAME_MAX).contains(&name.get_ref().len()) || !name.get_ref().bytes().all(fits) {
        let message = format!("{} cannot be the name of a trigger", quoted(name.get_ref()));
        scope.problem(&name.span(), message).help(format!(
            "a name is 1 to {NAME_MAX} letters, digits, `.`, `_` and `-`"
        ));
    }
}

/// The limits that are written.
struct WrittenLimits {
    admission: admission::Written,
    memory: Option<u64>,
    stack: Option<u64>,
    cpu: Option<Duration>,
    deadline: Option<Duration>,
    idle: Option<Duration>,
    first_byte: Option<Duration>,
    rx: Option<u64>,
    tx: Option<u64>,
}

fn read_limits(scope: &mut Scope<'_>, limits: Limits) -> WrittenLimits {
    let Limits {
        connections,
        per_source,
        rate,
        memory: size,
        stack: depth,
        cpu,
        deadline,
        idle,
        first_byte,
        rx,
        tx,
    } = limits;
    WrittenLimits {
        admission: admission::limits(scope, connections, per_source, rate),
        memory: scope.text(size, memory),
        stack: scope.text(depth, stack),
        cpu: scope.text(cpu, time_limit),
        deadline: scope.text(deadline, time_limit),
        idle: scope.text(idle, time_limit),
        first_byte: scope.text(first_byte, time_limit),
        rx: scope.text(rx, volume),
        tx: scope.text(tx, volume),
    }
}

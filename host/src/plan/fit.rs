//! Which keys go together. A key that means nothing for a trigger's handler is refused with a word
//! on what does what was meant, because a limit that nobody enforces is worse than none.

use super::scope::Scope;
use crate::trigger::{Field, GuestKeys, Key, Limits, NativeKeys, Trigger};

/// What serves a trigger, by the keys that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// `wasm`
    Guest,
    /// `wasm` and `exec`
    GuestOrNative,
    /// `exec` or `script`
    Native,
}

const HANDLERS: &str = "exactly one of `wasm`, `exec` and `script` is the handler; \
    `wasm` and `exec` together mean that the executable serves when the guest cannot be loaded";

/// Says what serves, and refuses every key that does not go with it. `None`: nothing does, or too
/// much, which is reported.
pub(super) fn handler(scope: &mut Scope<'_>, trigger: &Trigger) -> Option<Fit> {
    let (wasm, exec, script) = (
        &trigger.guest.wasm,
        &trigger.native.exec,
        &trigger.native.script,
    );
    let fit = match (wasm.key(), exec.key(), script.key()) {
        (Some(_), None, None) => Fit::Guest,
        (Some(_), Some(_), None) => Fit::GuestOrNative,
        (None, Some(_), None) | (None, None, Some(_)) => Fit::Native,
        (Some(_), None | Some(_), Some(script)) => {
            scope.refuse(script, "stands beside `wasm`", HANDLERS);
            return None;
        }
        (None, Some(_), Some(script)) => {
            scope.refuse(script, "stands beside `exec`", HANDLERS);
            return None;
        }
        (None, None, None) => {
            if !trigger.has_unknown_keys {
                let message = format!("no handler in {}", scope.owner);
                scope.problem(&trigger.name.span(), message).help(HANDLERS);
            }
            return None;
        }
    };
    let accept = matches!(&trigger.native.accept, Field::Given(_, yes) if *yes.get_ref());
    if fit == Fit::Guest {
        for key in native_keys(&trigger.native) {
            scope.refuse(
                key,
                "means nothing for a guest",
                instead_for_guest(&key.path),
            );
        }
    } else if accept {
        for key in listener_keys(&trigger.native) {
            scope.refuse(
                key,
                "means nothing with `accept = true`",
                "each connection gets a process of its own: `limits.connections` and `limits.rate` bound them",
            );
        }
    }
    if fit == Fit::GuestOrNative && !accept {
        for key in access_keys(trigger) {
            scope.refuse(
                key,
                "would not hold for the fallback, which accepts by itself,",
                "with `accept = true` the host accepts for it, too, and can refuse",
            );
        }
    }
    let strict =
        matches!(&trigger.native.sandbox, Field::Given(_, how) if how.get_ref() == "strict");
    if fit == Fit::Native {
        for key in guest_keys(&trigger.guest) {
            if strict && key.path == "dirs" {
                continue;
            }
            scope.refuse(
                key,
                "means nothing for a native job",
                instead_for_native(&key.path),
            );
        }
        if !accept {
            for key in trigger.defer.key().into_iter().chain(access_keys(trigger)) {
                let why = "means nothing for a native job that accepts by itself";
                scope.refuse(key, why, instead_for_native(&key.path));
            }
        }
        if let Field::Given(_, limits) = &trigger.limits {
            let deferred = matches!(&trigger.defer, Field::Given(_, yes) if *yes.get_ref());
            for key in limits_beyond(limits.get_ref(), accept, deferred) {
                let why = match key.path.as_str() {
                    "limits.memory" | "limits.stack" | "limits.cpu" | "limits.idle"
                    | "limits.rx" | "limits.tx" => "means nothing for a native job",
                    "limits.first_byte" if accept => {
                        "means nothing for a native job without `defer = true`"
                    }
                    _ => "means nothing for a native job that accepts by itself",
                };
                scope.refuse(key, why, instead_for_native(&key.path));
            }
        }
    }
    Some(fit)
}

/// The keys that say who is refused: what is not asked of everybody protects nobody.
fn access_keys(trigger: &Trigger) -> impl Iterator<Item = &Key> {
    [
        trigger.allow.key(),
        trigger.deny.key(),
        trigger.access_times.key(),
        trigger.banner.key(),
    ]
    .into_iter()
    .flatten()
}

/// Every key beside the handler that only a guest gives a meaning to.
fn guest_keys(keys: &GuestKeys) -> impl Iterator<Item = &Key> {
    let GuestKeys {
        wasm: _,
        args,
        dirs,
        network,
        config,
    } = keys;
    [args.key(), dirs.key(), network.key(), config.key()]
        .into_iter()
        .flatten()
}

/// Every key beside the handler that only a native job gives a meaning to.
fn native_keys(keys: &NativeKeys) -> impl Iterator<Item = &Key> {
    let NativeKeys {
        exec: _,
        script: _,
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
    [
        accept.key(),
        setuid.key(),
        setgid.key(),
        groups.key(),
        chdir.key(),
        chroot.key(),
        umask.key(),
        nice.key(),
        limit.key(),
        instances.key(),
        kill_signal.key(),
        kill_timeout.key(),
        respawn.key(),
        sandbox.key(),
    ]
    .into_iter()
    .flatten()
}

/// Those that are about processes that share a listener.
fn listener_keys(keys: &NativeKeys) -> impl Iterator<Item = &Key> {
    [keys.instances.key(), keys.respawn.key()]
        .into_iter()
        .flatten()
}

/// Limits that nobody could enforce on a native job.
fn limits_beyond(limits: &Limits, accept: bool, deferred: bool) -> impl Iterator<Item = &Key> {
    let Limits {
        connections,
        per_source,
        rate,
        memory,
        stack,
        cpu,
        deadline: _,
        idle,
        first_byte,
        rx,
        tx,
    } = limits;
    let at_the_door = [connections.key(), per_source.key(), rate.key()];
    let inside = [memory, stack, cpu, idle, rx, tx].map(Field::key);
    let first_byte = first_byte.key().filter(|_| !(accept && deferred));
    at_the_door
        .into_iter()
        .filter(move |_| !accept)
        .chain(inside)
        .chain([first_byte])
        .flatten()
}

fn instead_for_guest(path: &str) -> &'static str {
    match path {
        "accept" => "a guest is always given one connection: leave it out",
        "setuid" | "setgid" | "groups" => {
            "a guest has no user: it may touch what `dirs` and `env` give it, and nothing else"
        }
        "chdir" | "chroot" => "a guest sees the directories in `dirs`, and nothing else",
        "umask" => "a guest has no umask: give it a directory in `dirs`",
        "nice" | "limit" => "`limits.memory`, `limits.cpu` and `limits.deadline` bound a guest",
        "instances" => {
            "each connection gets an instance of its own: `limits.connections` bounds them"
        }
        "sandbox" => "a guest is always in a sandbox: leave it out",
        "kill_signal" | "kill_timeout" => "a guest takes no signals: `limits.deadline` ends it",
        _ => "each connection gets an instance of its own: `limits.rate` bounds how fast",
    }
}

fn instead_for_native(path: &str) -> &'static str {
    match path {
        "args" => "write the arguments into `exec` or `script` itself",
        "dirs" => {
            "a native job sees what its user sees: use `sandbox = \"strict\"`, or `chroot`, `chdir` and `setuid`"
        }
        "network" => "a native job reaches what this machine reaches: use the system's firewall",
        "config" => "a native job is told by `env` and by its arguments",
        "defer" => "with `accept = true` the host accepts and can wait for the first byte",
        "allow" | "deny" | "access_times" | "banner" => {
            "with `accept = true` the host accepts, and can refuse"
        }
        "limits.memory" => r#"use `limit`, such as `limit = { as = "512MiB" }`"#,
        "limits.stack" => r#"use `limit`, such as `limit = { stack = "8MiB" }`"#,
        "limits.cpu" => "use `limit`, in seconds, such as `limit = { cpu = 10 }`",
        "limits.idle" => "the host does not see a job's bytes: use `limits.deadline`",
        "limits.rx" | "limits.tx" => {
            "the host does not see a job's bytes: only those of a guest (`wasm`) can be bounded"
        }
        "limits.first_byte" => {
            "the host does not see a job's bytes; with `accept = true` and `defer = true` it waits \
             for the first one itself"
        }
        "limits.connections" => {
            "with `accept = true` the host accepts and can count; `instances` bounds processes"
        }
        _ => "with `accept = true` the host accepts and can count",
    }
}

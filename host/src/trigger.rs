//! The trigger file as written: every key that there is, with the shape that TOML gives it and the
//! place where it stands. What the words in it mean, and which keys go together, is the plan's to
//! say. Nothing here asks the system anything.

mod diagnostic;
mod file;
mod reader;
mod shape;
mod source;

use std::sync::Arc;

use toml::Spanned;

pub use diagnostic::{Problem, Problems, did_you_mean, printable, quoted};
pub use reader::{Field, Key};
pub use shape::{BooleanOrText, CountOr, Entries, ListOr, NumberOrText, OneOrMany, TextOr};
pub use source::{Source, Span};

use reader::{Keys, Table};

/// One trigger file.
#[derive(Clone, Debug)]
pub struct TriggerFile {
    /// The text it was read from.
    pub source: Arc<Source>,
    /// `[host]`.
    pub host: Field<Host>,
    /// `[trigger.NAME]`, in the order of the file.
    pub triggers: Vec<Trigger>,
}

/// `[host]`.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// How long a drain may take.
    pub grace: Field<String>,
    /// Over all triggers.
    pub limits: Field<HostLimits>,
    /// The path of a folder, or `false`.
    pub cache: Field<BooleanOrText>,
    /// The path of a socket, or `false`.
    pub control: Field<BooleanOrText>,
    /// The path of a folder, or more of it.
    pub coredumps: Field<TextOr<Coredumps>>,
    /// A user by name or number.
    pub user: Field<NumberOrText>,
    /// A group by name or number.
    pub group: Field<NumberOrText>,
    /// `auto`, `off` or `required`.
    pub sandbox: Field<String>,
}

/// `coredumps`, written in full.
#[derive(Clone, Debug, Default)]
pub struct Coredumps {
    /// A folder.
    pub path: Field<String>,
    /// A size.
    pub total: Field<String>,
}

/// `limits` in `[host]`.
#[derive(Clone, Debug, Default)]
pub struct HostLimits {
    /// Connections open at once.
    pub connections: Field<i64>,
}

/// `[trigger.NAME]`.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The key of its table.
    pub name: Spanned<String>,
    /// For people.
    pub description: Field<String>,
    /// Addresses.
    pub listen: Field<OneOrMany<String>>,
    /// Options of the sockets.
    pub socket: Field<Socket>,
    /// Variables.
    pub env: Field<Entries<String>>,
    /// What is let in, and what it may use.
    pub limits: Field<Limits>,
    /// Whether a handler starts at the first byte only.
    pub defer: Field<bool>,
    /// Clients that are let in.
    pub allow: Field<OneOrMany<String>>,
    /// Clients that are not.
    pub deny: Field<OneOrMany<String>>,
    /// Hours in which clients are let in.
    pub access_times: Field<OneOrMany<String>>,
    /// What refused clients hear.
    pub banner: Field<String>,
    /// The keys that only a guest gives a meaning to.
    pub guest: GuestKeys,
    /// The keys that only a native job gives a meaning to.
    pub native: NativeKeys,
    /// Whether there were other keys: what seems to be missing may only be misspelt.
    pub has_unknown_keys: bool,
}

/// The keys of `[trigger.NAME]` that only a guest gives a meaning to.
#[derive(Clone, Debug)]
pub struct GuestKeys {
    /// The handler: path of a guest.
    pub wasm: Field<String>,
    /// Arguments.
    pub args: Field<Vec<Spanned<String>>>,
    /// Directories by where the guest sees them; for a native job, its accesses by where they are.
    pub dirs: Field<Entries<TextOr<Dir>>>,
    /// Where it may connect to.
    pub network: Field<ListOr<Network>>,
    /// Settings by name.
    pub config: Field<Entries<String>>,
}

/// The keys of `[trigger.NAME]` that only a native job gives a meaning to.
#[derive(Clone, Debug)]
pub struct NativeKeys {
    /// The handler: a command line, or the words of one.
    pub exec: Field<OneOrMany<String>>,
    /// The handler: a script for /bin/sh.
    pub script: Field<String>,
    /// Whether the host accepts.
    pub accept: Field<bool>,
    /// A user by name or number.
    pub setuid: Field<NumberOrText>,
    /// A group by name or number.
    pub setgid: Field<NumberOrText>,
    /// Supplementary groups by name or number.
    pub groups: Field<Vec<Spanned<NumberOrText>>>,
    /// A path.
    pub chdir: Field<String>,
    /// A path.
    pub chroot: Field<String>,
    /// Octal digits.
    pub umask: Field<String>,
    /// From -20 to 19.
    pub nice: Field<i64>,
    /// Resources by name; soft and hard limit, or one for both.
    pub limit: Field<Entries<OneOrMany<NumberOrText>>>,
    /// Processes at once.
    pub instances: Field<i64>,
    /// A signal by name or number.
    pub kill_signal: Field<NumberOrText>,
    /// A duration.
    pub kill_timeout: Field<String>,
    /// How often a job may fail.
    pub respawn: Field<TextOr<Respawn>>,
    /// `none` or `strict`.
    pub sandbox: Field<String>,
}

/// `[trigger.NAME.socket]`.
#[derive(Clone, Debug, Default)]
pub struct Socket {
    /// Connections that wait in the kernel.
    pub backlog: Field<i64>,
    /// `TCP_NODELAY`.
    pub nodelay: Field<bool>,
    /// `SO_KEEPALIVE`.
    pub keepalive: Field<bool>,
    /// Octal digits.
    pub mode: Field<String>,
    /// A user by name or number.
    pub owner: Field<NumberOrText>,
    /// A group by name or number.
    pub group: Field<NumberOrText>,
}

/// `limits` of a trigger.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Open at once.
    pub connections: Field<i64>,
    /// Of one source.
    pub per_source: Field<CountOr<PerSource>>,
    /// Accepted per time.
    pub rate: Field<TextOr<Rate>>,
    /// A size.
    pub memory: Field<String>,
    /// A size.
    pub stack: Field<String>,
    /// A duration.
    pub cpu: Field<String>,
    /// A duration.
    pub deadline: Field<String>,
    /// A duration.
    pub idle: Field<String>,
    /// A duration.
    pub first_byte: Field<String>,
    /// A size.
    pub rx: Field<String>,
    /// A size.
    pub tx: Field<String>,
}

/// `limits.per_source`, written in full.
#[derive(Clone, Debug, Default)]
pub struct PerSource {
    /// Open at once.
    pub connections: Field<i64>,
    /// Accepted per time.
    pub rate: Field<TextOr<Rate>>,
    /// Bits of an IPv4 address.
    pub inet: Field<i64>,
    /// Bits of an IPv6 address.
    pub inet6: Field<i64>,
}

/// A rate, written in full.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    /// A rate.
    pub limit: Field<String>,
    /// Connections.
    pub burst: Field<i64>,
    /// `wait` or `refuse`.
    pub over: Field<String>,
}

/// One of `dirs`, written in full.
#[derive(Clone, Debug, Default)]
pub struct Dir {
    /// Of the host.
    pub path: Field<String>,
    /// `ro` or `rw`.
    pub access: Field<String>,
}

/// `network`, written in full.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// What may be reached.
    pub allow: Field<Vec<Spanned<String>>>,
    /// What may not, whatever is allowed.
    pub deny: Field<Vec<Spanned<String>>>,
}

/// `respawn`, written in full.
#[derive(Clone, Debug, Default)]
pub struct Respawn {
    /// Failures.
    pub limit: Field<i64>,
    /// Within this duration.
    pub interval: Field<String>,
}

impl Keys for Host {
    const ELSEWHERE: &'static [(&'static str, &'static str)] =
        &[("connections", "limits.connections")];

    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            grace: table.take("grace", r#"a duration such as "30s""#),
            limits: table.take("limits", "a table such as { connections = 10000 }"),
            cache: table.take("cache", "a path or `false`"),
            control: table.take("control", "a path or `false`"),
            coredumps: table.take(
                "coredumps",
                r#"a path or a table such as { path = "/var/lib/portcullis", total = "256MiB" }"#,
            ),
            user: table.take("user", "the name or number of a user"),
            group: table.take("group", "the name or number of a group"),
            sandbox: table.take("sandbox", r#""auto", "off" or "required""#),
        }
    }
}

impl Keys for Coredumps {
    const ELSEWHERE: &'static [(&'static str, &'static str)] =
        &[("dir", "path"), ("size", "total"), ("max", "total")];

    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            path: table.take("path", "a path"),
            total: table.take("total", r#"a size such as "256MiB""#),
        }
    }
}

impl Keys for HostLimits {
    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            connections: table.take("connections", "an integer"),
        }
    }
}

impl Keys for Trigger {
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[
        ("address", "listen"),
        ("port", "listen"),
        ("bind", "listen"),
        ("guest", "wasm"),
        ("module", "wasm"),
        ("component", "wasm"),
        ("command", "exec"),
        ("server", "exec"),
        ("argv", "args"),
        ("server_args", "args"),
        ("environment", "env"),
        ("preopens", "dirs"),
        ("mounts", "dirs"),
        ("net", "network"),
        ("outbound", "network"),
        ("allowed_hosts", "network"),
        ("allowed_outbound_hosts", "network"),
        ("variables", "config"),
        ("user", "setuid"),
        ("group", "setgid"),
        ("cwd", "chdir"),
        ("working_directory", "chdir"),
        ("root", "chroot"),
        ("rlimit", "limit"),
        ("rlimits", "limit"),
        ("connections", "limits.connections"),
        ("max_connections", "limits.connections"),
        ("per_source", "limits.per_source"),
        ("instances_per_source", "limits.per_source"),
        ("only_from", "allow"),
        ("no_access", "deny"),
        ("allowed", "allow"),
        ("denied", "deny"),
        ("access_time", "access_times"),
        ("banner_fail", "banner"),
        ("rate", "limits.rate"),
        ("cps", "limits.rate"),
        ("memory", "limits.memory"),
        ("stack", "limits.stack"),
        ("cpu", "limits.cpu"),
        ("deadline", "limits.deadline"),
        ("timeout", "limits.deadline"),
        ("idle", "limits.idle"),
        ("first_byte", "limits.first_byte"),
        ("rx", "limits.rx"),
        ("tx", "limits.tx"),
        ("backlog", "socket.backlog"),
        ("nodelay", "socket.nodelay"),
        ("keepalive", "socket.keepalive"),
        ("mode", "socket.mode"),
        ("owner", "socket.owner"),
    ];

    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            // Whoever reads the table of all triggers knows the name, and puts it here.
            name: Spanned::new(0..0, String::new()),
            description: table.take("description", "a string"),
            listen: table.take("listen", "a string or a list of strings"),
            socket: table.take("socket", "a table"),
            env: table.take("env", r#"a table such as { NAME = "value" }"#),
            limits: table.take("limits", "a table such as { connections = 100 }"),
            defer: table.take("defer", "a boolean"),
            allow: table.take("allow", r#"a list such as ["10.0.0.0/8", "uid:1000"]"#),
            deny: table.take("deny", r#"a list such as ["10.0.0.0/8", "uid:1000"]"#),
            access_times: table.take("access_times", r#"a list such as ["mon-fri 08:00-18:00"]"#),
            banner: table.take("banner", "a string"),
            guest: GuestKeys::ask(table),
            native: NativeKeys::ask(table),
            has_unknown_keys: table.finish(),
        }
    }
}

impl Keys for GuestKeys {
    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            wasm: table.take("wasm", "the path of a wasm file"),
            args: table.take("args", "a list of strings"),
            dirs: table.take("dirs", r#"a table such as { "/data" = "data" }"#),
            network: table.take(
                "network",
                r#"a list such as ["tcp:10.0.0.5:5432"] or a table of `allow` and `deny`"#,
            ),
            config: table.take("config", r#"a table such as { NAME = "value" }"#),
        }
    }
}

impl Keys for NativeKeys {
    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            exec: table.take("exec", "a string or a list of strings"),
            script: table.take("script", "a string"),
            accept: table.take("accept", "a boolean"),
            setuid: table.take("setuid", "the name or number of a user"),
            setgid: table.take("setgid", "the name or number of a group"),
            groups: table.take("groups", "a list of names or numbers of groups"),
            chdir: table.take("chdir", "a path"),
            chroot: table.take("chroot", "a path"),
            umask: table.take("umask", r#"a string of octal digits such as "022""#),
            nice: table.take("nice", "an integer"),
            limit: table.take("limit", "a table such as { nofile = 1024 }"),
            instances: table.take("instances", "an integer"),
            kill_signal: table.take("kill_signal", r#"a signal such as "TERM" or 15"#),
            kill_timeout: table.take("kill_timeout", r#"a duration such as "5s""#),
            respawn: table.take(
                "respawn",
                r#""unlimited" or a table such as { limit = 10, interval = "5s" }"#,
            ),
            sandbox: table.take("sandbox", r#""none" or "strict""#),
        }
    }
}

impl Keys for Socket {
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[("user", "owner")];

    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            backlog: table.take("backlog", "an integer"),
            nodelay: table.take("nodelay", "a boolean"),
            keepalive: table.take("keepalive", "a boolean"),
            mode: table.take("mode", r#"a string of octal digits such as "0660""#),
            owner: table.take("owner", "the name or number of a user"),
            group: table.take("group", "the name or number of a group"),
        }
    }
}

impl Keys for Limits {
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[
        ("timeout", "deadline"),
        ("received", "rx"),
        ("sent", "tx"),
        ("bytes_in", "rx"),
        ("bytes_out", "tx"),
        ("nofile", "limit.nofile"),
        ("nproc", "limit.nproc"),
        ("as", "limit.as"),
    ];

    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            connections: table.take("connections", "an integer"),
            per_source: table.take(
                "per_source",
                r#"an integer, "unlimited" or a table such as { connections = 20, rate = "10/s" }"#,
            ),
            rate: table.take(
                "rate",
                r#"a rate such as "50/s" or a table such as { limit = "50/s", over = "refuse" }"#,
            ),
            memory: table.take("memory", r#"a size such as "64MiB""#),
            stack: table.take("stack", r#"a size such as "512KiB""#),
            cpu: table.take("cpu", r#"a duration such as "10s""#),
            deadline: table.take("deadline", r#"a duration such as "1h""#),
            idle: table.take("idle", r#"a duration such as "5m""#),
            first_byte: table.take("first_byte", r#"a duration such as "10s""#),
            rx: table.take("rx", r#"a size such as "10MiB""#),
            tx: table.take("tx", r#"a size such as "10MiB""#),
        }
    }
}

impl Keys for PerSource {
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[
        ("limit", "connections"),
        ("ipv4", "inet"),
        ("ipv6", "inet6"),
        ("prefix", "inet"),
    ];

    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            connections: table.take("connections", "an integer"),
            rate: table.take(
                "rate",
                r#"a rate such as "10/s" or a table such as { limit = "10/s", burst = 20 }"#,
            ),
            inet: table.take("inet", "an integer"),
            inet6: table.take("inet6", "an integer"),
        }
    }
}

impl Keys for Rate {
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[("rate", "limit")];

    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            limit: table.take("limit", r#"a rate such as "50/s""#),
            burst: table.take("burst", "an integer"),
            over: table.take("over", r#""wait" or "refuse""#),
        }
    }
}

impl Keys for Dir {
    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            path: table.take("path", "a string"),
            access: table.take("access", r#""ro" or "rw""#),
        }
    }
}

impl Keys for Network {
    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            allow: table.take("allow", r#"a list such as ["tcp:10.0.0.5:5432"]"#),
            deny: table.take("deny", r#"a list such as ["10.0.0.0/8"]"#),
        }
    }
}

impl Keys for Respawn {
    fn ask(table: &mut Table<'_>) -> Self {
        Self {
            limit: table.take("limit", "an integer"),
            interval: table.take("interval", r#"a duration such as "5s""#),
        }
    }
}

//! The same stories for everything that can serve a connection: modules, components of every world,
//! both kinds of native job; over every family. What a handler does in its own way is in its row of
//! the table, so that nothing is left out in silence.

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use nix::unistd::{getgid, getuid};
use serde_json::Value;
use socket2::SockRef;
use support::{Client, Host, noise, verb};

/// Something that serves connections.
struct Handler {
    /// The name of its trigger.
    name: &'static str,
    /// One that echoes until the client has finished.
    echo: &'static str,
    /// One that says what it was told of its client, and ends.
    who: &'static str,
    told: Told,
    sees: Sees,
    /// How an echo ends whose client breaks off: a guest has a host that knows why it failed, of a
    /// process only the status is known.
    reset: &'static str,
}

/// How a handler is told who its client is.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// By its variables.
    Variables,
    /// By the resource of the typed world.
    Resource,
    /// By the kernel: it is started before there is a client to speak of.
    Kernel,
}

/// What the host sees of a connection, and so can log.
#[derive(Clone, Copy, PartialEq)]
enum Sees {
    /// Who came, and every byte.
    Bytes,
    /// Who came: the bytes go past it.
    Client,
    /// That a job ran: who came, and how many, is the job's affair.
    Run,
}

const HANDLERS: [Handler; 8] = [
    Handler {
        name: "module-in-socket-style",
        echo: r#"wasm = "{guest:echo}""#,
        who: r#"wasm = "{guest:getenv}""#,
        told: Told::Variables,
        sees: Sees::Bytes,
        reset: "hangup",
    },
    Handler {
        name: "module-in-stdio-style",
        echo: r#"wasm = "{guest:echo-stdio}""#,
        who: r#"wasm = "{guest:getenv-stdio}""#,
        told: Told::Variables,
        sees: Sees::Bytes,
        reset: "hangup",
    },
    Handler {
        name: "stdio-of-wasi-02",
        echo: r#"wasm = "{guest:echo-stdio.component}""#,
        who: r#"wasm = "{guest:getenv-stdio.component}""#,
        told: Told::Variables,
        sees: Sees::Bytes,
        reset: "hangup",
    },
    Handler {
        name: "stdio-of-wasi-03",
        echo: r#"wasm = "{guest:echo-run3.component}""#,
        who: r#"wasm = "{guest:who-run3.component}""#,
        told: Told::Variables,
        sees: Sees::Bytes,
        reset: "hangup",
    },
    Handler {
        name: "typed-of-wasi-02",
        echo: r#"wasm = "{guest:echo-typed.component}""#,
        who: r#"wasm = "{guest:who-typed.component}""#,
        told: Told::Resource,
        sees: Sees::Bytes,
        reset: "hangup",
    },
    Handler {
        name: "typed-of-wasi-03",
        echo: r#"wasm = "{guest:echo-async.component}""#,
        who: r#"wasm = "{guest:who-async.component}""#,
        told: Told::Resource,
        sees: Sees::Bytes,
        reset: "hangup",
    },
    Handler {
        name: "job-that-is-given-the-connection",
        echo: "exec = \"{native:exec-echo}\"\naccept = true",
        who: "exec = \"env\"\naccept = true",
        told: Told::Variables,
        sees: Sees::Client,
        reset: "exit(1)",
    },
    Handler {
        name: "job-that-is-given-the-listener",
        echo: r#"exec = "python3 {repo}/guests/native/echo.py""#,
        who: r#"exec = "python3 {repo}/guests/native/who.py""#,
        told: Told::Kernel,
        sees: Sees::Run,
        reset: "exit(1)",
    },
];

/// One handler at one address.
struct Case<'a> {
    host: &'a Host,
    handler: &'a Handler,
    address: &'a str,
    /// Connections of this handler that have ended.
    ended: &'a Cell<usize>,
}

impl Case<'_> {
    fn connect(&self) -> Client {
        Client::to(self.address)
    }

    /// Waits for the next connection to end, and gives its line.
    fn end(&self) -> Value {
        let count = self.ended.get() + 1;
        self.ended.set(count);
        let mut ends = self.host.logged_times(count, "its end", |line| {
            verb(line) == "end" && line["trigger"] == self.handler.name
        });
        ends.remove(count - 1)
    }

    /// Waits for that, and expects it to be `done`.
    fn done(&self) -> Value {
        let end = self.end();
        assert_eq!(end["outcome"], "done", "{end}");
        end
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("this was {} at {}", self.handler.name, self.address);
        }
    }
}

/// Tells `story` of every handler at every address, with a line of keys for its trigger, and says
/// of which handlers it is not true.
fn of_every_handler(job: fn(&Handler) -> &str, keys: &str, story: fn(&Case)) {
    // Abstract names are the machine's, and tests run side by side.
    static HOSTS: AtomicUsize = AtomicUsize::new(0);
    let scope = format!("{}-{}", process::id(), HOSTS.fetch_add(1, Relaxed));
    let triggers = HANDLERS.iter().map(|handler| {
        let (name, job) = (handler.name, job(handler));
        format!(
            r#"
            [trigger.{name}]
            listen = ["127.0.0.1:0", "[::1]:0", "unix:{{dir}}/{name}", "unix:@{scope}-{name}"]
            {job}
            {keys}
            "#
        )
    });
    let triggers: String = triggers.collect();
    let host = &Host::start(&format!(
        "[host]\nlimits = {{ connections = 50 }}\n{triggers}"
    ));
    thread::scope(|scope| {
        let told = HANDLERS.iter().map(|handler| {
            let tell = move || {
                let ended = Cell::new(0);
                for address in host.addresses(handler.name) {
                    story(&Case {
                        host,
                        handler,
                        address,
                        ended: &ended,
                    });
                }
            };
            let thread = thread::Builder::new().name(handler.name.to_owned());
            (handler.name, thread.spawn_scoped(scope, tell).unwrap())
        });
        let told: Vec<_> = told.collect();
        let failed = told
            .into_iter()
            .filter_map(|(name, told)| told.join().err().map(|_| name));
        let failed: Vec<_> = failed.collect();
        assert!(failed.is_empty(), "not true of {}", failed.join(", "));
    });
}

/// The client as the log calls it.
fn peer(client: &Client) -> String {
    match client {
        Client::Tcp(stream) => stream.local_addr().unwrap().to_string(),
        Client::Unix(_) => format!("unix:uid={},pid={}", getuid(), process::id()),
    }
}

#[test]
fn what_a_client_sends_comes_back_bit_for_bit_in_pieces_of_every_size() {
    of_every_handler(
        |handler| handler.echo,
        "",
        |case| {
            let mut client = case.connect();
            let data = noise(1 << 18);
            // One by one, and with every value that a byte can have.
            let every: Vec<u8> = (0..=u8::MAX).collect();
            for byte in every.chunks(1) {
                client.echo(byte);
            }
            for size in [4095, 4096, 4097, 65_535, 65_536, 65_537] {
                client.echo(&data[..size]);
            }
            assert!(client.exchange(&data) == data);
            case.done();
        },
    );
}

#[test]
fn sixteen_mib_pass_bit_for_bit_both_ways_at_once() {
    of_every_handler(
        |handler| handler.echo,
        "",
        |case| {
            // More than all buffers hold between a client and a handler and back.
            let data = noise(16 << 20);
            assert!(case.connect().exchange(&data) == data);
            case.done();
        },
    );
}

#[test]
fn a_client_that_has_half_closed_is_still_answered_and_then_sees_the_end() {
    of_every_handler(
        |handler| handler.echo,
        "",
        |case| {
            assert_eq!(case.connect().ask(b""), b"");
            case.done();
            assert_eq!(case.connect().ask(b"last word"), b"last word");
            case.done();
            // After a conversation, with nothing more to say.
            let mut client = case.connect();
            client.echo(b"first");
            client.shutdown(Shutdown::Write);
            assert_eq!(client.rest(), b"");
            case.done();
        },
    );
}

#[test]
fn a_handler_that_ends_first_has_its_answer_heard_by_a_client_that_has_not_half_closed() {
    of_every_handler(
        |handler| handler.who,
        "",
        |case| {
            let mut client = case.connect();
            let end = case.done();
            let answer = client.rest();
            assert!(!answer.is_empty());
            if case.handler.sees == Sees::Bytes {
                assert_eq!(end["tx"], answer.len(), "{end}");
            }
        },
    );
}

#[test]
fn a_client_that_breaks_off_ends_its_handler() {
    of_every_handler(
        |handler| handler.echo,
        "",
        |case| {
            let mut client = case.connect();
            client.echo(b"in the middle of");
            client.write_all(b"something").unwrap();
            // What has come and is not read makes a unix socket break off, as a linger of 0 does TCP.
            let socket = match &client {
                Client::Tcp(stream) => SockRef::from(stream),
                Client::Unix(stream) => SockRef::from(stream),
            };
            assert_ne!(socket.peek(&mut [MaybeUninit::uninit()]).unwrap(), 0);
            client.reset();
            let end = case.end();
            assert_eq!(end["outcome"], case.handler.reset, "{end}");
            // And the next one is served.
            assert_eq!(case.connect().ask(b"next"), b"next");
            case.done();
        },
    );
}

#[test]
fn a_conversation_that_never_ends_ends_at_its_deadline() {
    let keys = "limits = { deadline = \"150ms\" }";
    of_every_handler(
        |handler| handler.echo,
        keys,
        |case| {
            let mut client = case.connect();
            // It may come before the first word, where a process has to be started.
            while client.write_all(b"and").is_ok() && client.read_exact(&mut [0; 3]).is_ok() {}
            let end = case.end();
            assert_eq!(
                (&end["outcome"], &end["level"]),
                (&"deadline".into(), &"WARN".into())
            );
            assert!(end["ms"].as_u64().unwrap() >= 150, "{end}");
        },
    );
}

#[test]
fn the_log_says_of_each_connection_who_came_how_it_ended_and_what_was_sent() {
    of_every_handler(
        |handler| handler.echo,
        "",
        |case| {
            let mut client = case.connect();
            let peer = peer(&client);
            client.echo(b"Hello, World!");
            assert_eq!(client.ask(b"That is all."), b"That is all.");
            let end = case.done();
            let line = end.as_object().unwrap();
            let mut fields: Vec<_> = line.keys().map(String::as_str).collect();
            fields.sort_unstable();
            let (began, expected) = match case.handler.sees {
                Sees::Bytes => ("accept", &["cpu_ms", "peer", "rx", "tx"][..]),
                Sees::Client => ("accept", &["peer"][..]),
                Sees::Run => ("start", &[][..]),
            };
            let mut expected = expected.to_vec();
            expected.extend([
                "id",
                "level",
                "message",
                "ms",
                "outcome",
                "timestamp",
                "trigger",
            ]);
            expected.sort_unstable();
            assert_eq!(fields, expected, "{end}");
            assert!(line["ms"].is_u64(), "{end}");
            assert_eq!(line["level"], "INFO");
            if case.handler.sees == Sees::Bytes {
                assert_eq!(
                    (&line["rx"], &line["tx"]),
                    (&25.into(), &25.into()),
                    "{end}"
                );
            }
            // It began with a line of the same number, and of no other.
            let log = case.host.log();
            let began: Vec<_> = log
                .iter()
                .filter(|l| verb(l) == began && l["id"] == end["id"])
                .collect();
            assert_eq!(began.len(), 1, "{began:#?}");
            assert_eq!(began[0]["trigger"], case.handler.name);
            if case.handler.sees != Sees::Run {
                assert_eq!(
                    (&line["peer"], &began[0]["peer"]),
                    (&peer.clone().into(), &peer.into())
                );
            }
        },
    );
}

#[test]
fn a_handler_is_told_who_its_client_is_and_where_it_arrived() {
    of_every_handler(
        |handler| handler.who,
        "",
        |case| {
            let mut client = case.connect();
            let remote = match &client {
                Client::Tcp(stream) => Some(stream.local_addr().unwrap()),
                Client::Unix(_) => None,
            };
            let said = String::from_utf8(client.rest()).unwrap();
            case.done();
            let (uid, gid, pid) = (getuid(), getgid(), process::id());
            if case.handler.told == Told::Resource {
                let peer = match remote {
                    Some(remote) => format!("inet {remote}"),
                    None => format!("unix uid={uid} gid={gid} pid={pid}"),
                };
                let local = match case.address.strip_prefix("unix:") {
                    Some(name) => format!("unix {name}"),
                    None => format!("inet {}", case.address),
                };
                let trigger = case.handler.name;
                assert_eq!(
                    said,
                    format!("peer={peer} local={local} trigger={trigger}\n")
                );
                return;
            }
            // Those that no other story tells of.
            let own = [
                "ADDR",
                "PEER",
                "PORT",
                "PROTO",
                "REMOTE_ADDR",
                "REMOTE_PORT",
                "SOCKET_PATH",
            ];
            let variables: BTreeMap<_, _> = said
                .lines()
                .filter_map(|line| line.strip_prefix("env ").unwrap_or(line).split_once('='))
                .filter(|(name, _)| own.contains(name))
                .collect();
            let mut expected = BTreeMap::new();
            let (ip, port) = match remote {
                Some(remote) => (remote.ip().to_string(), remote.port().to_string()),
                None => <_>::default(),
            };
            // IPv6 has a scope and a flow beside the two.
            let by_kernel = match remote {
                Some(remote) if remote.is_ipv6() => format!("{ip} {port} 0 0"),
                Some(_) => format!("{ip} {port}"),
                None => format!("{uid} {gid} {pid}"),
            };
            if case.handler.told == Told::Kernel {
                expected.insert("PEER", &*by_kernel);
            } else if remote.is_some() {
                expected.extend([("REMOTE_ADDR", &*ip), ("REMOTE_PORT", &*port)]);
            }
            if let Some(path) = case.address.strip_prefix("unix:") {
                expected.extend([("PROTO", "unix"), ("SOCKET_PATH", path)]);
            } else {
                let (address, port) = case.address.rsplit_once(':').unwrap();
                let v6 = address.starts_with('[');
                expected.extend([
                    ("PROTO", if v6 { "inet6" } else { "inet" }),
                    ("ADDR", address.trim_matches(['[', ']'])),
                    ("PORT", port),
                ]);
            }
            assert_eq!(variables, expected);
        },
    );
}

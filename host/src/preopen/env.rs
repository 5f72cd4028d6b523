//! The variables a guest or a native job finds: what it was started for, in the words of Upstart,
//! systemd and Enarx, and what its trigger adds. Never one of the host's own.

use super::Style;
use super::args::Strings;
use crate::connection::{Local, Peer};

/// Variables by name, in the order they are found. What a later one says goes before an earlier.
pub type Variables = Vec<(String, String)>;

/// What a handler is told before any client has come, made once for each listener: as variables,
/// and as the block of strings that preview 1 hands over.
#[derive(Clone, Debug)]
pub struct Facts {
    /// By name and value.
    pub variables: Variables,
    /// As `NAME=value`.
    pub block: Strings,
}

impl Facts {
    /// What a handler of the trigger `name` is told: what the trigger file has `given`, the facts of
    /// the listener at `local`, and in the socket style where it finds the listener. (A native job
    /// is told of its descriptors when it is started, since `LISTEN_PID` is known only then.)
    pub fn new(name: &str, given: &[(String, String)], style: Style, local: &Local) -> Self {
        let variables = facts(name, given, style, local);
        let block = Strings::of_variables(&variables);
        Self { variables, block }
    }
}

fn facts(name: &str, given: &[(String, String)], style: Style, local: &Local) -> Variables {
    let mut variables = given.to_vec();
    let mut set = |key: &str, value: String| variables.push((key.to_owned(), value));
    set("UPSTART_EVENTS", "socket".to_owned());
    set("UPSTART_JOB", name.to_owned());
    set("UPSTART_INSTANCE", String::new());
    match local {
        Local::Inet(address) => {
            set(
                "PROTO",
                if address.is_ipv4() { "inet" } else { "inet6" }.to_owned(),
            );
            set("PORT", address.port().to_string());
            set("ADDR", address.ip().to_string());
        }
        Local::Unix(path) => {
            set("PROTO", "unix".to_owned());
            set("SOCKET_PATH", path.to_string_lossy().into_owned());
        }
        Local::Abstract(socket) => {
            set("PROTO", "unix".to_owned());
            set(
                "SOCKET_PATH",
                format!("@{}", String::from_utf8_lossy(socket)),
            );
        }
        Local::Unnamed => set("PROTO", "unix".to_owned()),
    }
    if style == Style::Socket {
        set("UPSTART_FDS", "3".to_owned());
        set("LISTEN_FDS", "1".to_owned());
        set("LISTEN_FDNAMES", name.to_owned());
        set("FD_COUNT", "4".to_owned());
        set("FD_NAMES", format!("stdin:stdout:stderr:{name}"));
    }
    variables
}

/// What a handler is told of the client, when the host has accepted it.
pub fn remote(peer: &Peer) -> Variables {
    match peer {
        Peer::Inet(address) => vec![
            ("REMOTE_ADDR".to_owned(), address.ip().to_string()),
            ("REMOTE_PORT".to_owned(), address.port().to_string()),
        ],
        Peer::Unix { .. } => Vec::new(),
    }
}

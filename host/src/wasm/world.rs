//! What a component has to export to be served: one of a closed set of interfaces, told apart by
//! name and version.

use std::fmt;

use anyhow::bail;

/// How a component takes its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// By our typed world, on the streams of WASI 0.2.
    Handler,
    /// By our typed world, on the streams of WASI 0.3.
    AsyncHandler,
    /// As stdin and stdout, in WASI 0.2.
    Run2,
    /// As stdin and stdout, in WASI 0.3.
    Run3,
    /// As HTTP requests, in WASI 0.2: an instance for each.
    Http2,
    /// As HTTP requests, in WASI 0.3: an instance for each connection.
    Http3,
}

impl World {
    const ALL: [Self; 6] = [
        Self::Handler,
        Self::AsyncHandler,
        Self::Run2,
        Self::Run3,
        Self::Http2,
        Self::Http3,
    ];

    /// The one world among what a component exports. What is a program besides, as everything is that
    /// has a `main`, is served as the other.
    ///
    /// # Errors
    /// When there is none, or several; the error lists what there is.
    pub fn of(exports: &[String]) -> anyhow::Result<Self> {
        let mut served = Self::ALL.to_vec();
        served.retain(|world| exports.iter().any(|name| world.is(name)));
        if !served.iter().all(|world| world.is_run()) {
            served.retain(|world| !world.is_run());
        }
        match served[..] {
            [world] => Ok(world),
            [first, second, ..] => bail!(
                "it exports more than one interface that can serve a connection, {first} and \
                 {second}: build it for one of them"
            ),
            [] => bail!(
                "it exports nothing that can serve a connection: wanted is one of {}; it exports {}",
                Self::ALL.map(|world| format!("{world}.x")).join(", "),
                if exports.is_empty() {
                    "nothing".to_owned()
                } else {
                    exports.join(", ")
                }
            ),
        }
    }

    fn is_run(self) -> bool {
        matches!(self, Self::Run2 | Self::Run3)
    }

    /// The interface, and the beginning of the versions that are served.
    fn interface(self) -> (&'static str, &'static str) {
        match self {
            Self::Handler => ("portcullis:bridge/handler", "0.1"),
            Self::AsyncHandler => ("portcullis:bridge/async-handler", "0.1"),
            Self::Run2 => ("wasi:cli/run", "0.2"),
            Self::Run3 => ("wasi:cli/run", "0.3"),
            Self::Http2 => ("wasi:http/incoming-handler", "0.2"),
            Self::Http3 => ("wasi:http/handler", "0.3"),
        }
    }

    /// Whether this is the name of an export that makes a component one of this world. Drafts
    /// (0.3.0-rc) are worlds of their own, which nobody serves.
    fn is(self, export: &str) -> bool {
        let (interface, version) = self.interface();
        let Some((name, found)) = export.split_once('@') else {
            return false;
        };
        let patch = found
            .strip_prefix(version)
            .and_then(|f| f.strip_prefix('.'));
        name == interface && patch.is_some_and(|patch| patch.bytes().all(|b| b.is_ascii_digit()))
    }

    /// What it is, in a few words.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Handler => "component, portcullis:bridge/handler",
            Self::AsyncHandler => "component, portcullis:bridge/async-handler",
            Self::Run2 => "component, wasi:cli/run 0.2",
            Self::Run3 => "component, wasi:cli/run 0.3",
            Self::Http2 => "component, wasi:http 0.2, an instance for each request",
            Self::Http3 => "component, wasi:http 0.3, an instance for each connection",
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (interface, version) = self.interface();
        write!(f, "{interface}@{version}")
    }
}

/// Whether an interface of this name is one of WASI 0.3, or of ours for it.
pub fn is_concurrent(interface: &str) -> bool {
    let ours = interface.starts_with("portcullis:bridge/async-");
    let version = interface.split_once('@').map(|(_, version)| version);
    ours || interface.starts_with("wasi:")
        && version.is_some_and(|version| version.starts_with("0.3."))
}

//! What a wasm file is and what it wants, read from the file alone: nothing is compiled and nothing
//! runs.

use std::fmt::{self, Write as _};
use std::path::Path;

use crate::plan::GuestLimits;
use crate::wasm::{Kind, Wasm, World};

/// What a file turned out to be.
#[derive(Debug)]
pub struct Profile(Wasm);

impl Profile {
    /// That of `wasm`.
    pub fn of(wasm: Wasm) -> Self {
        Self(wasm)
    }

    /// Bytes of memory it starts with.
    fn memory(&self) -> u64 {
        self.0
            .memories
            .iter()
            .fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    fn style(&self) -> String {
        match self.0.kind {
            Kind::Component => match World::of(&self.0.exports) {
                Ok(world) => style(world).to_owned(),
                Err(error) => format!("none that this host serves: {error}"),
            },
            Kind::Module if !self.0.exports.iter().any(|e| e == "_start") => {
                "none that this host serves: it exports no _start".to_owned()
            }
            Kind::Module if self.0.takes_preview1("sock_accept") => {
                "socket: it accepts its connection from the listener at fd 3 (UPSTART_FDS)"
                    .to_owned()
            }
            Kind::Module => "stdio: its stdin and stdout are the connection".to_owned(),
        }
    }

    /// What it may want that a trigger does not give by itself.
    fn wants(&self) -> Vec<&'static str> {
        let wasm = &self.0;
        let mut wants = Vec::new();
        if wasm.takes_preview1("path_open") || wasm.takes("wasi:filesystem/preopens") {
            wants.push("may open files: give it folders with `dirs`");
        }
        if wasm.takes_preview1("environ_get") || wasm.takes("wasi:cli/environment") {
            wants.push("may read variables: give it some with `env`");
        }
        if wasm.takes("wasi:sockets/")
            || wasm.takes("wasi:http/outgoing-handler")
            || wasm.takes("wasi:http/client")
        {
            wants.push("may reach out: what it calls is refused unless `network` allows it");
        }
        if wasm.takes("wasi:config/") {
            wants.push("may read settings: give it some with `config`");
        }
        wants
    }

    /// The report for the file at `path`.
    pub fn report(&self, path: &Path) -> impl fmt::Display {
        let mut out = String::new();
        let kind = match self.0.kind {
            Kind::Component => "component",
            Kind::Module => "core module",
        };
        // Writing to a String cannot fail.
        let _ = self.write(&mut out, path, kind);
        out
    }

    fn write(&self, out: &mut String, path: &Path, kind: &str) -> fmt::Result {
        writeln!(out, "{}: {kind}", path.display())?;
        writeln!(out, "  style    {}", self.style())?;
        writeln!(out, "  memory   {} KiB to begin with", self.memory() >> 10)?;
        for (from, names) in &self.0.imports {
            writeln!(
                out,
                "  imports  {} {}",
                from.escape_debug(),
                printable(names)
            )?;
        }
        writeln!(out, "  exports  {}", printable(&self.0.exports))?;
        for want in self.wants() {
            writeln!(out, "  wants    {want}")?;
        }
        let stem = path
            .file_stem()
            .map_or("guest".into(), |stem| stem.to_string_lossy());
        let name: String = stem
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-_".contains(c) {
                    c
                } else {
                    '-'
                }
            })
            .take(64)
            .collect();
        writeln!(out, "\n[trigger.{name}]")?;
        writeln!(out, "listen = \"127.0.0.1:34567\"")?;
        writeln!(
            out,
            "wasm = {}",
            toml::Value::from(path.display().to_string())
        )?;
        if self.memory() > GuestLimits::MEMORY {
            writeln!(
                out,
                "limits = {{ memory = \"{}MiB\" }}",
                (self.memory() >> 20) * 2
            )?;
        }
        Ok(())
    }
}

/// How a component of this world finds its connections.
fn style(world: World) -> &'static str {
    match world {
        World::Handler => "typed: it is handed its connection (portcullis:bridge/handler)",
        World::AsyncHandler => {
            "typed: it is handed its connection (portcullis:bridge/async-handler)"
        }
        World::Run2 => "stdio: its stdin and stdout are the connection (wasi:cli/run)",
        World::Run3 => "stdio: its stdin and stdout are the connection (wasi:cli/run 0.3)",
        World::Http2 => "HTTP: an instance for each request (wasi:http/incoming-handler)",
        World::Http3 => "HTTP: an instance for each connection (wasi:http/handler)",
    }
}

/// Names from a file that anybody may have written, for a terminal.
fn printable(names: &[String]) -> String {
    names
        .iter()
        .map(|name| name.escape_debug().to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

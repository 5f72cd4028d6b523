//! What a wasm file is and what it wants, read from the file alone: nothing is compiled and nothing
//! runs.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;
use wasmparser::{Encoding, Parser, Payload};

/// What a trigger gives a guest that it says nothing about, in bytes of memory.
const DEFAULT: u64 = 64 << 20;

/// What a file turned out to be.
#[derive(Debug, Default)]
pub struct Profile {
    component: bool,
    /// What it imports, by the module or interface it comes from.
    imports: BTreeMap<String, Vec<String>>,
    exports: Vec<String>,
    /// Bytes of memory it starts with.
    memory: u64,
}

impl Profile {
    /// Reads `wasm`.
    ///
    /// # Errors
    /// When it is no well-formed wasm file.
    pub fn of(wasm: &[u8]) -> anyhow::Result<Self> {
        let mut profile = Self::default();
        // Only the outermost module or component says what the host has to give.
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.context("it is not well formed")? {
                Payload::Version { encoding, .. } => {
                    if depth == 0 {
                        profile.component = encoding == Encoding::Component;
                    }
                    depth += 1;
                }
                Payload::End(_) => depth -= 1,
                Payload::ImportSection(imports) if depth == 1 => {
                    for import in imports.into_imports() {
                        let import = import?;
                        profile.import(import.module, import.name);
                    }
                }
                Payload::ExportSection(exports) if depth == 1 => {
                    for export in exports {
                        profile.exports.push(export?.name.to_owned());
                    }
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let memory = memory?;
                        let page = 1u64 << memory.page_size_log2.unwrap_or(16);
                        let bytes = memory.initial.saturating_mul(page);
                        profile.memory = profile.memory.saturating_add(bytes);
                    }
                }
                Payload::ComponentImportSection(imports) if depth == 1 => {
                    for import in imports {
                        profile.import(import?.name.name, "");
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 1 => {
                    for export in exports {
                        profile.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(profile)
    }

    fn import(&mut self, from: &str, name: &str) {
        let names = self.imports.entry(from.to_owned()).or_default();
        if !name.is_empty() {
            names.push(name.to_owned());
        }
    }

    fn imports(&self, from: &str, name: &str) -> bool {
        self.imports.iter().any(|(module, names)| {
            module.starts_with(from) && (name.is_empty() || names.iter().any(|n| n == name))
        })
    }

    fn preview1(&self, name: &str) -> bool {
        self.imports("wasi_snapshot_preview1", name)
    }

    fn style(&self) -> &'static str {
        match (
            self.component,
            self.exports
                .iter()
                .any(|e| e.starts_with("wasi:cli/run@0.2")),
        ) {
            (true, true) => "stdio: its stdin and stdout are the connection (wasi:cli/run)",
            (true, false) => "none that this host serves: it does not export wasi:cli/run",
            (false, _) if !self.exports.iter().any(|e| e == "_start") => {
                "none that this host serves: it exports no _start"
            }
            (false, _) if self.preview1("sock_accept") => {
                "socket: it accepts its connection from the listener at fd 3 (UPSTART_FDS)"
            }
            (false, _) => "stdio: its stdin and stdout are the connection",
        }
    }

    /// What it may want that a trigger does not give by itself.
    fn wants(&self) -> Vec<&'static str> {
        let mut wants = Vec::new();
        if self.preview1("path_open") || self.imports("wasi:filesystem/preopens", "") {
            wants.push("may open files: give it folders with `dirs`");
        }
        if self.preview1("environ_get") || self.imports("wasi:cli/environment", "") {
            wants.push("may read variables: give it some with `env`");
        }
        if self.imports("wasi:sockets/", "") {
            wants.push("names network interfaces: what it calls there is refused");
        }
        wants
    }

    /// The report for the file at `path`.
    pub fn report(&self, path: &Path) -> impl fmt::Display {
        let mut out = String::new();
        let kind = if self.component {
            "component"
        } else {
            "core module"
        };
        // Writing to a String cannot fail.
        let _ = self.write(&mut out, path, kind);
        out
    }

    fn write(&self, out: &mut String, path: &Path, kind: &str) -> fmt::Result {
        writeln!(out, "{}: {kind}", path.display())?;
        writeln!(out, "  style    {}", self.style())?;
        writeln!(out, "  memory   {} KiB to begin with", self.memory >> 10)?;
        for (from, names) in &self.imports {
            writeln!(
                out,
                "  imports  {} {}",
                from.escape_debug(),
                printable(names)
            )?;
        }
        writeln!(out, "  exports  {}", printable(&self.exports))?;
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
        if self.memory > DEFAULT {
            writeln!(
                out,
                "limits = {{ memory = \"{}MiB\" }}",
                (self.memory >> 20) * 2
            )?;
        }
        Ok(())
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

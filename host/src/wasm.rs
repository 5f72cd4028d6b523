//! Wasm files as they lie on disk, and what can be told of one without compiling it: which of the two
//! kinds it is, what it imports and exports, and the memory and tables it begins with. Nothing runs
//! here.

mod world;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use wasmparser::{Parser, Payload};

use crate::plan::{Job, Plan};

pub use world::World;

/// The module from which preview 1 is imported.
pub const PREVIEW1: &str = "wasi_snapshot_preview1";

/// What tells the content of a file from every other.
pub type Digest = blake3::Hash;

/// One file, whole.
#[derive(Debug)]
pub struct Wasm {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Of that.
    pub digest: Digest,
    /// Which kind it is.
    pub kind: Kind,
    /// What it imports, by the module or interface it comes from; an interface has no names here.
    pub imports: BTreeMap<String, Vec<String>>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Bytes each of its memories begins with, those of inner modules included.
    pub memories: Vec<u64>,
    /// Tables it defines, those of inner modules included.
    pub tables: Vec<Table>,
    /// Whether it says where in its source its functions are.
    pub debug: bool,
    /// Bytes that its memories begin with and that are not 0, roughly.
    pub data: usize,
}

/// A table by its number of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it begins with.
    pub initial: u64,
    /// What it may grow to; `None`: to any size.
    pub maximum: Option<u64>,
}

/// The two kinds of wasm file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A core module.
    Module,
    /// A component.
    Component,
}

impl Kind {
    /// Tells them apart by their first bytes.
    ///
    /// # Errors
    /// When it is neither.
    pub fn of(wasm: &[u8]) -> anyhow::Result<Self> {
        match wasm.get(..8) {
            Some(b"\0asm\x01\0\0\0") => Ok(Self::Module),
            Some(b"\0asm\x0d\0\x01\0") => Ok(Self::Component),
            Some([b'\0', b'a', b's', b'm', ..]) => {
                bail!("it is of a version of WebAssembly that this host does not know")
            }
            _ if wasm.starts_with(b"(module") || wasm.starts_with(b"(component") => {
                bail!("it is WebAssembly text; make it binary first, with `wasm-tools parse`")
            }
            _ => bail!("it is not a wasm file: it does not begin with \\0asm"),
        }
    }
}

impl Wasm {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or is no well-formed wasm file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::new(bytes)
    }

    /// What `bytes` are.
    ///
    /// # Errors
    /// When they are no well-formed wasm file.
    pub fn new(bytes: Vec<u8>) -> anyhow::Result<Self> {
        let mut wasm = Self {
            kind: Kind::of(&bytes)?,
            digest: blake3::hash(&bytes),
            bytes: Vec::new(),
            imports: BTreeMap::new(),
            exports: Vec::new(),
            memories: Vec::new(),
            tables: Vec::new(),
            debug: false,
            data: 0,
        };
        // Only the outermost module or component says what the host has to give.
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(&bytes) {
            match payload.context("it is not well formed")? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                payload => wasm
                    .note(payload, depth == 1)
                    .context("it is not well formed")?,
            }
        }
        wasm.bytes = bytes;
        Ok(wasm)
    }

    fn note(&mut self, payload: Payload<'_>, outermost: bool) -> wasmparser::Result<()> {
        match payload {
            Payload::ImportSection(imports) if outermost => {
                for import in imports.into_imports() {
                    let import = import?;
                    let names = self.imports.entry(import.module.to_owned()).or_default();
                    names.push(import.name.to_owned());
                }
            }
            Payload::ComponentImportSection(imports) if outermost => {
                for import in imports {
                    self.imports
                        .entry(import?.name.name.to_owned())
                        .or_default();
                }
            }
            Payload::ExportSection(exports) if outermost => {
                for export in exports {
                    self.exports.push(export?.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if outermost => {
                for export in exports {
                    self.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    let memory = memory?;
                    let page = 1u64.checked_shl(memory.page_size_log2.unwrap_or(16));
                    let bytes = memory.initial.saturating_mul(page.unwrap_or(u64::MAX));
                    self.memories.push(bytes);
                }
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    let table = table?.ty;
                    self.tables.push(Table {
                        initial: table.initial,
                        maximum: table.maximum,
                    });
                }
            }
            Payload::CustomSection(section) => self.debug |= section.name() == ".debug_info",
            Payload::DataSection(data) => self.data += data.range().len(),
            _ => {}
        }
        Ok(())
    }

    /// Whether it takes anything from a module or interface whose name begins like this.
    pub fn takes(&self, from: &str) -> bool {
        self.imports.keys().any(|name| name.starts_with(from))
    }

    /// Whether it takes this function of preview 1.
    pub fn takes_preview1(&self, name: &str) -> bool {
        let names = self.imports.get(PREVIEW1);
        names.is_some_and(|names| names.iter().any(|known| known == name))
    }

    /// Whether it speaks WASI 0.3, whose functions, streams and futures run at the same time.
    pub fn is_concurrent(&self) -> bool {
        let mut names = self.imports.keys().chain(&self.exports);
        names.any(|name| world::is_concurrent(name))
    }
}

/// The guests of a plan by their paths, each file read once.
#[derive(Debug, Default)]
pub struct Guests(HashMap<PathBuf, Result<Arc<Wasm>, String>>);

impl Guests {
    /// Reads those of `plan`. One that cannot be read is told of when it is asked for.
    pub fn of(plan: &Plan) -> Self {
        let jobs = plan
            .triggers
            .iter()
            .filter_map(|trigger| match &trigger.job {
                Job::Guest { guest, .. } => Some(&guest.path),
                Job::Native(_) => None,
            });
        let mut guests = HashMap::new();
        for path in jobs {
            guests.entry(path.clone()).or_insert_with_key(|path| {
                let read = Wasm::read(path).map(Arc::new);
                read.map_err(|error| format!("{error:#}"))
            });
        }
        Self(guests)
    }

    /// Those of all that could be read.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        self.0.values().flatten().map(|wasm| wasm.digest)
    }

    /// The one at `path`.
    ///
    /// # Errors
    /// When it could not be read.
    pub fn get(&self, path: &Path) -> anyhow::Result<&Arc<Wasm>> {
        match self.0.get(path) {
            Some(Ok(wasm)) => Ok(wasm),
            Some(Err(error)) => bail!("{error}"),
            None => bail!("it is not in the plan"),
        }
    }
}

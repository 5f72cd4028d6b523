//! From a wasm file to machine code that is ready to run: taken from the cache when it was compiled
//! before, compiled otherwise, and only once for all triggers whose files are the same.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tracing::{debug, warn};
use wasmtime::Module;
use wasmtime::component::Component;

use super::cache::{Cache, Found, Key};
use super::progress::millis;
use super::{Engine, Progress};
use crate::trigger::printable;
use crate::wasm::{Digest, Guests, Kind, Wasm};

/// Makes guests ready for one engine.
pub struct Compiler {
    engine: Engine,
    cache: Option<Cache>,
    progress: Progress,
    /// What machine code depends on beside the guest.
    settings: Digest,
    /// By the digests of the files.
    made: Mutex<HashMap<Digest, Pending>>,
    /// Whether it was told already that the cache cannot be written.
    told: AtomicBool,
}

/// Filled by the first who asks, while the others wait. Errors are kept as they are shown.
type Pending = Arc<OnceLock<Result<Made, String>>>;

/// A guest that is ready.
#[derive(Clone)]
struct Made {
    code: Code,
    origin: Origin,
}

/// Machine code.
#[derive(Clone)]
enum Code {
    Module(Module),
    Component(Component),
}

/// Where machine code came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was in the cache.
    Cached,
    /// It was compiled in this time, and is in the cache if there is one.
    Compiled(Duration),
    /// The same, but this kept it from the cache.
    Unkept(String),
}

impl Compiler {
    /// A compiler for `engine`.
    pub fn new(engine: Engine, cache: Option<Cache>, progress: Progress) -> Self {
        let mut settings = Settings(blake3::Hasher::new());
        let wasmtime = engine.wasmtime();
        wasmtime.precompile_compatibility_hash().hash(&mut settings);
        Self {
            settings: settings.0.finalize(),
            engine,
            cache,
            progress,
            made: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// One for the same engine that has ready what this one has of `guests`.
    #[must_use]
    pub fn renewed(&self, cache: Option<Cache>, guests: &Guests) -> Self {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = guests.digests();
        let made = wanted.filter_map(|digest| Some((digest, made.get(&digest)?.clone())));
        Self {
            engine: self.engine.clone(),
            cache,
            progress: Progress::Log,
            settings: self.settings,
            made: Mutex::new(made.collect()),
            told: AtomicBool::new(false),
        }
    }

    /// What it compiles for.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A core module, ready. `path` is what it is called.
    ///
    /// # Errors
    /// When it is not valid, or uses what this host does not offer.
    pub fn module(&self, wasm: &Wasm, path: &Path) -> anyhow::Result<Module> {
        match self.make(wasm, path)?.code {
            Code::Module(module) => Ok(module),
            Code::Component(_) => bail!("it is a component"),
        }
    }

    /// A component, ready. `path` is what it is called.
    ///
    /// # Errors
    /// When it is not valid, or uses what this host does not offer.
    pub fn component(&self, wasm: &Wasm, path: &Path) -> anyhow::Result<Component> {
        match self.make(wasm, path)?.code {
            Code::Component(component) => Ok(component),
            Code::Module(_) => bail!("it is a module"),
        }
    }

    /// Makes a guest ready and does nothing with it.
    ///
    /// # Errors
    /// When it is not valid, or uses what this host does not offer.
    pub fn prepare(&self, wasm: &Wasm, path: &Path) -> anyhow::Result<Origin> {
        Ok(self.make(wasm, path)?.origin)
    }

    /// Removes from the cache what nobody has used for long. To be called when all guests are ready,
    /// so that those in use stay.
    pub fn sweep(&self) {
        if let Some(cache) = &self.cache
            && let Err(error) = cache.sweep()
        {
            let path = cache.path().display();
            warn!(reason = %format!("cannot clean up {path}: {error}"), "start");
        }
    }

    fn make(&self, wasm: &Wasm, path: &Path) -> anyhow::Result<Made> {
        let slot = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            made.entry(wasm.digest).or_default().clone()
        };
        let made = slot.get_or_init(|| self.find(wasm, path).map_err(|e| format!("{e:#}")));
        made.clone().map_err(|error| anyhow!(error))
    }

    fn find(&self, wasm: &Wasm, path: &Path) -> anyhow::Result<Made> {
        let key = Key::new(&wasm.digest, &self.settings);
        if let Some(cache) = &self.cache
            && let Some(code) = self.restore(cache, &key, wasm.kind, path)
        {
            let origin = Origin::Cached;
            return Ok(Made { code, origin });
        }
        let began = Instant::now();
        let code = self.progress.watch(path, || self.compile(wasm));
        let code = code.context("it does not compile")?;
        let time = began.elapsed();
        let kept = match &self.cache {
            Some(cache) => self.keep(cache, &key, &code),
            None => Ok(()),
        };
        let origin = kept.map_or_else(Origin::Unkept, |()| Origin::Compiled(time));
        Ok(Made { code, origin })
    }

    fn compile(&self, wasm: &Wasm) -> anyhow::Result<Code> {
        let engine = self.engine.wasmtime();
        Ok(match wasm.kind {
            Kind::Module => Code::Module(Module::new(engine, &wasm.bytes)?),
            Kind::Component => Code::Component(Component::new(engine, &wasm.bytes)?),
        })
    }

    /// What the cache has, if it is fit to run.
    fn restore(&self, cache: &Cache, key: &Key, kind: Kind, path: &Path) -> Option<Code> {
        let began = Instant::now();
        let guest = printable(&path.to_string_lossy(), 200);
        let unfit = match cache.load(key) {
            Found::Nothing => return None,
            Found::Unfit(why) => why,
            Found::Entry(entry) => match self.trust(kind, entry.code()) {
                Ok(code) => {
                    let ms = millis(began);
                    debug!(%guest, code = %"cached", ms, "start");
                    return Some(code);
                }
                Err(error) => format!("{error:#}"),
            },
        };
        let reason = format!(
            "the entry {} in {} cannot be used: {unfit}; the guest is compiled again",
            key.name(),
            cache.path().display()
        );
        warn!(%guest, reason, "start");
        None
    }

    /// Takes back machine code of this host's own making. It comes from an entry of the cache: a file
    /// that nobody but this user and root could write, in a folder of which the same is true, named and
    /// headed by a key of the guest, of this version and of all settings that code depends on, whole by
    /// its digest, and read into memory that nobody else has. wasmtime itself compares version, processor
    /// and settings with the engine's once more.
    #[expect(unsafe_code, reason = "compiled guests come from the cache")]
    fn trust(&self, kind: Kind, code: &[u8]) -> anyhow::Result<Code> {
        let engine = self.engine.wasmtime();
        // SAFETY: `code` is what wasmtime serialized, for the reasons above.
        Ok(unsafe {
            match kind {
                Kind::Module => Code::Module(Module::deserialize(engine, code)?),
                Kind::Component => Code::Component(Component::deserialize(engine, code)?),
            }
        })
    }

    /// Puts code into the cache. That it cannot is told once.
    fn keep(&self, cache: &Cache, key: &Key, code: &Code) -> Result<(), String> {
        let bytes = match code {
            Code::Module(module) => module.serialize(),
            Code::Component(component) => component.serialize(),
        };
        let bytes = bytes.map_err(|error| io::Error::other(format!("{error:#}")));
        bytes
            .and_then(|bytes| cache.store(key, &bytes))
            .map_err(|error| {
                let folder = cache.path().display();
                let reason = format!("cannot keep compiled guests in {folder}: {error}");
                if !self.told.swap(true, Ordering::Relaxed) {
                    warn!(reason, "start");
                }
                reason
            })
    }
}

/// Takes in what wasmtime says of its settings, to make a digest of it.
struct Settings(blake3::Hasher);

impl Hasher for Settings {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.finalize();
        let first = digest.as_bytes().first_chunk();
        u64::from_le_bytes(*first.unwrap_or(&[0; 8]))
    }
}

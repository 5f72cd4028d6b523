//! The directories a trigger gives its guests: opened once, when the handler is loaded, and shared
//! by all its instances. No path of the host is looked up for a connection.

mod files;
mod listing;
mod open;

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use crate::plan::{Access, Dir};

pub use files::{Files, Opening};
pub use listing::read_directory_3;
pub use open::{guard_open_at, guard_open_at_3};

/// What one guest may have open at once. Each file is a descriptor of the host, too, and no guest
/// may take those that the other connections need.
pub const FILES: u32 = 64;

/// Directories that one guest may be given: they count among what it has open.
const MOST: usize = FILES as usize / 2;

/// Opened directories, ready to be given to an instance.
#[derive(Clone, Default)]
pub struct Dirs {
    opened: WasiFilesystemCtx,
    count: u32,
}

impl Dirs {
    /// Opens them.
    ///
    /// # Errors
    /// When one is not there or may not be opened.
    pub fn open(dirs: &[Dir]) -> anyhow::Result<Self> {
        if dirs.len() > MOST {
            bail!(
                "{} directories are more than the {MOST} a guest may be given",
                dirs.len()
            );
        }
        let mut context = WasiCtxBuilder::new();
        for dir in dirs {
            ensure!(
                !holds_processes(&dir.host),
                "{} holds /proc, in which a guest would find the variables and the memory of the host: name what \
                 it needs",
                dir.host.display()
            );
            let perms = match dir.access {
                Access::ReadOnly => FsPerms::ReadOnly,
                Access::ReadWrite => FsPerms::ReadWrite,
            };
            let opened = context.preopened_dir(&dir.host, &dir.guest, perms);
            opened.map_err(anyhow::Error::from).with_context(|| {
                format!(
                    "cannot open {} for the guest's {}",
                    dir.host.display(),
                    dir.guest
                )
            })?;
        }
        let count = u32::try_from(dirs.len()).context("more directories than descriptors")?;
        Ok(Self {
            opened: context.build().filesystem().clone(),
            count,
        })
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Descriptors of the host that an instance which has them may open; none without.
    pub fn files(&self) -> u32 {
        if self.count == 0 { 0 } else { FILES }
    }

    /// Gives them to `context`, in place of what it had.
    pub fn give(&self, context: &mut WasiCtx) {
        *context.filesystem() = self.opened.clone();
    }
}

/// Whether the files of processes are there, or below.
fn holds_processes(path: &Path) -> bool {
    let proc = Path::new("/proc");
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real.starts_with(proc) || proc.starts_with(&real)
}

impl std::fmt::Debug for Dirs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dirs")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

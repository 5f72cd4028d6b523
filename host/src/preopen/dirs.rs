//! The directories a trigger gives its guests: opened once, when the handler is loaded, and shared
//! by all its instances. No path of the host is looked up for a connection.

use anyhow::Context as _;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use crate::plan::{Access, Dir};

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
        let mut context = WasiCtxBuilder::new();
        for dir in dirs {
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

    /// Gives them to `context`, in place of what it had.
    pub fn give(&self, context: &mut WasiCtx) {
        *context.filesystem() = self.opened.clone();
    }
}

impl std::fmt::Debug for Dirs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dirs")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

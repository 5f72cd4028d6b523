//! The directories a trigger gives its guests: opened once, when the handler is loaded, and shared
//! by all its instances. No path of the host is looked up for a connection.

use anyhow::{Context as _, bail};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtx, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor as _, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    self as types3, HostDescriptorWithStore as _,
};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiView};

use crate::plan::{Access, Dir};

/// The interface of WASI 0.2 that opens files, as wasmtime-wasi defines it; a component may import an
/// older or a newer patch of it.
const FILESYSTEM: &str = "wasi:filesystem/types@0.2.12";

/// Its like of WASI 0.3.
const FILESYSTEM_3: &str = "wasi:filesystem/types@0.3.0";

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

/// Has components open files and directories only, as `preview1` does for modules: a FIFO would hold
/// a thread of the host until somebody opens its other end, and a device does who knows what.
///
/// # Errors
/// When WASI's own functions are not defined in `linker`.
pub fn guard_open_at<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    type Arguments = (
        Resource<Descriptor>,
        PathFlags,
        String,
        OpenFlags,
        DescriptorFlags,
    );
    linker.allow_shadowing(true);
    linker.instance(FILESYSTEM)?.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store, (dir, path_flags, path, open, flags): Arguments| {
            Box::new(async move {
                let mut files = store.data_mut().filesystem();
                let same = Resource::new_borrow(dir.rep());
                let found = files.stat_at(same, path_flags, path.clone()).await;
                let special = found.is_ok_and(|found| {
                    !matches!(
                        found.type_,
                        DescriptorType::RegularFile
                            | DescriptorType::Directory
                            | DescriptorType::SymbolicLink
                    )
                });
                if special {
                    return Ok((Err(ErrorCode::Unsupported),));
                }
                match files.open_at(dir, path_flags, path, open, flags).await {
                    Ok(opened) => Ok((Ok(opened),)),
                    Err(error) => Ok((Err(error.downcast()?),)),
                }
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The same for components of WASI 0.3.
///
/// # Errors
/// When WASI's own functions are not defined in `linker`.
pub fn guard_open_at_3<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    type Arguments = (
        Resource<Descriptor>,
        types3::PathFlags,
        String,
        types3::OpenFlags,
        types3::DescriptorFlags,
    );
    linker.allow_shadowing(true);
    linker.instance(FILESYSTEM_3)?.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |store, (dir, path_flags, path, open, flags): Arguments| {
            Box::pin(async move {
                let store = &store.with_getter::<WasiFilesystem>(T::filesystem);
                let same = Resource::new_borrow(dir.rep());
                let found = WasiFilesystem::stat_at(store, same, path_flags, path.clone()).await;
                let special = found.is_ok_and(|found| {
                    !matches!(
                        found.type_,
                        types3::DescriptorType::RegularFile
                            | types3::DescriptorType::Directory
                            | types3::DescriptorType::SymbolicLink
                    )
                });
                if special {
                    return Ok((Err(types3::ErrorCode::Unsupported),));
                }
                match WasiFilesystem::open_at(store, dir, path_flags, path, open, flags).await {
                    Ok(opened) => Ok((Ok(opened),)),
                    Err(error) => Ok((Err(error.downcast()?),)),
                }
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl std::fmt::Debug for Dirs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dirs")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

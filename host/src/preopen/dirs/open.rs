//! How components open what lies in their directories: files and directories only, and no more of them than
//! they may.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor as _, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    self as types3, HostDescriptorWithStore as _,
};

use super::files::{self, Opening, TYPES_3};

/// The interface of WASI 0.2 that opens files, as wasmtime-wasi defines it; a component may import an
/// older or a newer patch of it.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// Has components open files and directories only, as `preview1` does for modules: a FIFO would hold
/// a thread of the host until somebody opens its other end, and a device does who knows what. What is
/// opened is counted.
///
/// # Errors
/// When WASI's own functions are not defined in `linker`.
pub fn guard_open_at<T: Opening>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    type Arguments = (
        Resource<Descriptor>,
        PathFlags,
        String,
        OpenFlags,
        DescriptorFlags,
    );
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store, (dir, path_flags, path, open, flags): Arguments| {
            Box::new(async move {
                let Some(_place) = store.data_mut().files().place() else {
                    // WASI 0.2 has no word for it; this one is `ENOMEM` to a program.
                    return Ok((Err(ErrorCode::InsufficientMemory),));
                };
                let mut view = store.data_mut().filesystem();
                let same = Resource::new_borrow(dir.rep());
                let found = view.stat_at(same, path_flags, path.clone()).await;
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
                match view.open_at(dir, path_flags, path, open, flags).await {
                    Ok(opened) => {
                        files::count(store.data_mut(), &opened)?;
                        Ok((Ok(opened),))
                    }
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
pub fn guard_open_at_3<T: Opening>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    type Arguments = (
        Resource<Descriptor>,
        types3::PathFlags,
        String,
        types3::OpenFlags,
        types3::DescriptorFlags,
    );
    linker.allow_shadowing(true);
    linker.instance(TYPES_3)?.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |store, (dir, path_flags, path, open, flags): Arguments| {
            Box::pin(async move {
                let Some(_place) = store.with(|mut store| store.get().files().place()) else {
                    return Ok((Err(files::limit()),));
                };
                let view = &store.with_getter::<WasiFilesystem>(T::filesystem);
                let same = Resource::new_borrow(dir.rep());
                let found = WasiFilesystem::stat_at(view, same, path_flags, path.clone()).await;
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
                match WasiFilesystem::open_at(view, dir, path_flags, path, open, flags).await {
                    Ok(opened) => {
                        store.with(|mut store| files::count(store.get(), &opened))?;
                        Ok((Ok(opened),))
                    }
                    Err(error) => Ok((Err(error.downcast()?),)),
                }
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

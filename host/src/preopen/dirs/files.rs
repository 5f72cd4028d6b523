//! What one component has open, counted by the descriptors themselves: a stream of a file keeps it open when the
//! guest has dropped its handle, and so does a call that is under way.

use std::fs::File;
use std::sync::{Arc, Weak};

use wasmtime::component::Resource;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p3::bindings::filesystem::types::ErrorCode;

use super::FILES;

/// The interface of WASI 0.3 that opens files, as wasmtime-wasi defines it.
pub(super) const TYPES_3: &str = "wasi:filesystem/types@0.3.0";

/// A state whose instance may open files.
pub trait Opening: WasiView + 'static {
    /// What it has open.
    fn files(&mut self) -> &mut Files;
}

/// The files and directories that an instance has opened.
#[derive(Debug, Default)]
pub struct Files {
    opened: Vec<Weak<File>>,
    places: Arc<()>,
}

/// A place for a descriptor that is not among those that are opened: not yet, or never.
pub(super) struct Place {
    _held: Arc<()>,
}

impl Files {
    /// A place for one more; `None`: there are as many as there may be.
    pub(super) fn place(&mut self) -> Option<Place> {
        self.opened.retain(|file| file.strong_count() > 0);
        let count = self.opened.len() + Arc::strong_count(&self.places) - 1;
        (count < FILES as usize).then(|| Place {
            _held: self.places.clone(),
        })
    }
}

/// Counts what was opened, until it is closed.
pub(super) fn count<T: Opening>(
    state: &mut T,
    opened: &Resource<Descriptor>,
) -> wasmtime::Result<()> {
    let opened = match state.ctx().table.get(opened)? {
        Descriptor::File(file) => Arc::downgrade(&file.file),
        Descriptor::Dir(dir) => Arc::downgrade(&dir.dir),
    };
    state.files().opened.push(opened);
    Ok(())
}

/// What is said in place of an error that 0.3 has no word for.
pub(super) fn limit() -> ErrorCode {
    ErrorCode::Other(Some("as many files are open as may be".to_owned()))
}

//! What lies in a directory, for WASI 0.3: read in parts, each when the guest asks for it. The stock stream of
//! wasmtime-wasi holds a thread of the host, and a descriptor, for as long as the guest has not read all.

use std::fs::File;
use std::iter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::try_unfold;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Destination, FutureReader, Linker, Resource, StreamProducer, StreamReader, StreamResult,
    VecBuffer,
};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p3::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};

use super::files::{Opening, Place, TYPES_3, limit};

/// Entries that are read at once.
const PART: usize = 256;

/// Has components of WASI 0.3 read directories by this.
///
/// # Errors
/// When WASI's own functions are not defined in `linker`.
pub fn read_directory_3<T: Opening>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(TYPES_3)?.func_wrap(
        "[method]descriptor.read-directory",
        |mut store, (dir,): (Resource<Descriptor>,)| {
            let state = store.data_mut();
            let source = match state.ctx().table.get(&dir)? {
                Descriptor::File(_) => Err(ErrorCode::NotDirectory),
                Descriptor::Dir(dir) => {
                    let dir = dir.dir.clone();
                    let place = state.files().place().ok_or_else(limit);
                    place.map(|place| Source::Closed(dir, place))
                }
            };
            let (tell, told) = oneshot::channel();
            let entries = match source {
                Ok(source) => StreamReader::new(&mut store, Listing::new(source, tell))?,
                Err(error) => {
                    let _ = tell.send(Err(error));
                    StreamReader::new(&mut store, iter::empty())?
                }
            };
            Ok(((entries, FutureReader::new(&mut store, told)?),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Where entries are read from. It has a place for the descriptor by which they are.
enum Source {
    Closed(Arc<File>, Place),
    Open(Dir, Place),
}

impl Source {
    /// Reads the next part; `None`: that was all.
    fn read(self) -> Result<Option<(Vec<DirectoryEntry>, Self)>, ErrorCode> {
        let (mut entries, place) = match self {
            // Opened anew: what is read of one is not read of another. That of the guest is `O_PATH`.
            Self::Closed(dir, place) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let dir = openat(&*dir, ".", flags, Mode::empty()).map_err(failure)?;
                (Dir::new(dir).map_err(failure)?, place)
            }
            Self::Open(entries, place) => (entries, place),
        };
        let mut part = Vec::new();
        while part.len() < PART {
            let Some(entry) = entries.read() else { break };
            let entry = entry.map_err(failure)?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                let folder = entries.fd().map_err(failure)?;
                let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failure)?;
                kind = FileType::from_raw_mode(found.st_mode);
            }
            let name = name.to_str().map_err(|_| ErrorCode::IllegalByteSequence)?;
            part.push(DirectoryEntry {
                type_: descriptor_type(kind),
                name: name.to_owned(),
            });
        }
        Ok((!part.is_empty()).then_some((part, Self::Open(entries, place))))
    }
}

fn failure(error: rustix::io::Errno) -> ErrorCode {
    std::io::Error::from(error).into()
}

fn descriptor_type(kind: FileType) -> DescriptorType {
    match kind {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Unknown => DescriptorType::Other(None),
    }
}

/// The stream of the entries.
struct Listing {
    parts: Pin<Box<dyn Stream<Item = Result<Vec<DirectoryEntry>, ErrorCode>> + Send>>,
    tell: Option<oneshot::Sender<Result<(), ErrorCode>>>,
}

impl Listing {
    fn new(source: Source, tell: oneshot::Sender<Result<(), ErrorCode>>) -> Self {
        let parts = try_unfold(source, async |source| {
            let read = spawn_blocking(|| source.read()).await;
            // The runtime is ending, and everybody with it.
            read.unwrap_or(Err(ErrorCode::Interrupted))
        });
        Self {
            parts: Box::pin(parts),
            tell: Some(tell),
        }
    }

    fn end(&mut self, ended: Result<(), ErrorCode>) -> StreamResult {
        if let Some(tell) = self.tell.take() {
            // A guest that does not ask is not told.
            let _ = tell.send(ended);
        }
        StreamResult::Dropped
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.end(Ok(()));
    }
}

impl<T> StreamProducer<T> for Listing {
    type Item = DirectoryEntry;
    type Buffer = VecBuffer<DirectoryEntry>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut store: StoreContextMut<'a, T>,
        mut to: Destination<'a, DirectoryEntry, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        // There is no telling whether there are more without reading them.
        if to.remaining(&mut store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        Poll::Ready(Ok(match self.parts.as_mut().poll_next(cx) {
            Poll::Pending if finish => StreamResult::Cancelled,
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(part))) => {
                to.set_buffer(part.into());
                StreamResult::Completed
            }
            Poll::Ready(Some(Err(error))) => self.end(Err(error)),
            Poll::Ready(None) => self.end(Ok(())),
        }))
    }
}

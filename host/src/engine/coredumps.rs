//! Core dumps of guests, in the format of the WebAssembly tool conventions: files in one folder, which
//! never hold more than they may together. The oldest make room for the newest, as with systemd-coredump.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use cap_std::fs::{Dir, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use rustix::process::{Resource, getrlimit};

use super::folder;
use crate::plan;

/// The ending of their names.
const ENDING: &str = ".coredump";

/// How many there may be: a folder with very many files is slow to look through.
const MOST: usize = 1000;

/// A folder of core dumps.
#[derive(Debug)]
pub struct Coredumps {
    dir: Dir,
    path: PathBuf,
    /// Bytes of all of them.
    total: u64,
    /// Held while room is made and used.
    keeping: Mutex<()>,
}

impl Coredumps {
    /// Opens the folder, which is made when it is missing.
    ///
    /// # Errors
    /// When it cannot be opened or made, or others could write to it: what is in a dump is the guest's
    /// memory, and what its clients have told it.
    pub fn open(plan: &plan::Coredumps) -> anyhow::Result<Self> {
        let plan::Coredumps { path, total } = plan;
        let dir = folder::open(path)
            .with_context(|| format!("cannot keep core dumps in {}", path.display()))?;
        Ok(Self {
            dir,
            path: path.clone(),
            total: *total,
            keeping: Mutex::new(()),
        })
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps one that was taken at `time`, and removes the oldest for it. Gives its path.
    ///
    /// # Errors
    /// When it is larger than all of them may be, or cannot be written; nothing is left of it then.
    pub(super) fn keep(&self, name: &str, time: SystemTime, core: &[u8]) -> io::Result<PathBuf> {
        let size = core.len() as u64;
        if size > self.total {
            return Err(io::Error::other("it is larger than all may be together"));
        }
        // A file that grew past this limit would end the host by a signal.
        if getrlimit(Resource::Fsize)
            .current
            .is_some_and(|most| most < size)
        {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let _keeping = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        self.make_room(size)?;
        let seconds = time.duration_since(SystemTime::UNIX_EPOCH);
        let name = format!("{name}-{}{ENDING}", seconds.unwrap_or_default().as_secs());
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = self.dir.open_with(&name, &options)?;
        if let Err(error) = file.write_all(core) {
            let _ = self.dir.remove_file(&name);
            return Err(error);
        }
        Ok(self.path.join(name))
    }

    /// Removes the oldest until so many bytes more, in one file more, are not too much.
    fn make_room(&self, size: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in self.dir.entries()? {
            let entry = entry?;
            let name = entry.file_name();
            // Another host may make room in it, too.
            let Ok(found) = entry.metadata() else {
                continue;
            };
            if found.is_file() && name.to_string_lossy().ends_with(ENDING) {
                files.push(((found.mtime(), found.mtime_nsec()), found.size(), name));
            }
        }
        files.sort_unstable();
        let mut sum = files.iter().map(|(_, size, _)| size).sum::<u64>();
        let mut count = files.len();
        for (_, freed, name) in &files {
            if sum + size <= self.total && count < MOST {
                break;
            }
            match self.dir.remove_file(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            sum -= freed;
            count -= 1;
        }
        Ok(())
    }
}

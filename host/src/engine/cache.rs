//! Compiled guests on disk: found by what they were made from and for, in a folder that only the host's
//! user can write to. An entry is believed when all of it is as it was written, and is otherwise as
//! good as none; a cache that cannot be used costs time and nothing else.

mod entry;
mod sweep;

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use cap_std::fs::{Dir, File, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::process::{Resource, getrlimit};
use tracing::warn;

use super::folder;
use crate::plan::Location;
pub use entry::Key;
use entry::{HEADER, LARGEST};

/// An open folder of compiled guests.
#[derive(Debug)]
pub struct Cache {
    dir: Dir,
    path: PathBuf,
    opened: SystemTime,
}

/// What the folder has under a key.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Something that is not to be used, and why.
    Unfit(String),
    /// What was written there.
    Entry(Entry),
}

/// An entry that is whole.
#[derive(Debug)]
pub(super) struct Entry(Vec<u8>);

impl Entry {
    /// The code.
    pub fn code(&self) -> &[u8] {
        &self.0[HEADER..]
    }
}

impl Cache {
    /// Opens the folder, or does without: why is logged, unless the trigger file says so itself.
    pub fn find(folder: &Location) -> Option<Self> {
        match Self::open(folder) {
            Ok(cache) => cache,
            Err(error) => {
                let reason = format!("{error:#}; guests are compiled at each start");
                warn!(reason, "start");
                None
            }
        }
    }

    /// Where it would be.
    pub fn place(folder: &Location) -> Option<PathBuf> {
        match folder {
            Location::None => None,
            Location::At(path) => Some(path.clone()),
            Location::Usual => folder::usual(),
        }
    }

    /// Opens the folder. There may be none.
    ///
    /// # Errors
    /// When it cannot be opened or made, or somebody else could put something there.
    pub fn open(folder: &Location) -> anyhow::Result<Option<Self>> {
        let Some(path) = Self::place(folder) else {
            return Ok(None);
        };
        let dir = folder::open(&path)
            .with_context(|| format!("cannot keep compiled guests in {}", path.display()))?;
        Ok(Some(Self {
            dir,
            path,
            opened: SystemTime::now(),
        }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks up what is there under `key`. What is found counts as used.
    pub(super) fn load(&self, key: &Key) -> Found {
        match self.read(key) {
            Ok(bytes) => match entry::code(&bytes, key) {
                Ok(_) => Found::Entry(Entry(bytes)),
                Err(why) => Found::Unfit(why.to_owned()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(error) => Found::Unfit(error.to_string()),
        }
    }

    /// All of the file, into memory that nobody else can write to.
    fn read(&self, key: &Key) -> io::Result<Vec<u8>> {
        let name = key.name();
        let mut options = OpenOptions::new();
        // Neither a link nor a FIFO is what it seems: the one leads elsewhere, the other blocks.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.read(true).custom_flags(flags.bits().cast_signed());
        let file = self.dir.open_with(name, &options)?;
        let found = file.metadata()?;
        if !folder::is_own_file(&found) {
            return Err(io::Error::other(
                "it is no file that the host's user alone can write to",
            ));
        }
        if found.size() > LARGEST {
            return Err(io::Error::other("it is too large"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(found.size()).unwrap_or_default());
        // It may grow while it is read, if not by anybody who may write to it.
        (&file).take(LARGEST).read_to_end(&mut bytes)?;
        touch(&file);
        Ok(bytes)
    }

    /// Keeps `code` under `key`. Others see the whole entry or none.
    ///
    /// # Errors
    /// When it cannot be written; nothing is left of it then.
    pub(super) fn store(&self, key: &Key, code: &[u8]) -> io::Result<()> {
        let size = (HEADER + code.len()) as u64;
        if size > LARGEST {
            return Err(io::Error::other("the compiled guest is too large"));
        }
        // A file that grew past this limit would end the host by a signal.
        if getrlimit(Resource::Fsize)
            .current
            .is_some_and(|most| most < size)
        {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let (name, draft) = (key.name(), sweep::draft(key)?);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = self.dir.open_with(&draft, &options)?;
        let written = write(&file, key, code).and_then(|()| {
            drop(file);
            self.dir.rename(&draft, &self.dir, name)
        });
        if written.is_err() {
            // One that stays is removed when it is old.
            let _ = self.dir.remove_file(&draft);
        }
        written
    }

    /// Removes what nobody has used for long, and what is too much. Whatever was used since the cache
    /// was opened stays, and so does everything that is not the cache's by its name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn sweep(&self) -> io::Result<()> {
        sweep::sweep(&self.dir, self.opened)
    }
}

fn write(mut file: &File, key: &Key, code: &[u8]) -> io::Result<()> {
    file.write_all(&entry::header(key, code))?;
    file.write_all(code)
}

/// Notes that it was used. In a folder that may only be read there is no such note.
fn touch(file: &File) {
    let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    let times = Timestamps {
        last_access: time(UTIME_OMIT),
        last_modification: time(UTIME_NOW),
    };
    let _ = rustix::fs::futimens(file, &times);
}

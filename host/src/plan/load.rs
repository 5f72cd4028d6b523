//! The only part of a plan that touches the system: reading the file, or the files of a folder.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Plan;
use crate::trigger::{Problems, Source};

/// No trigger file that a person wrote is larger.
const FILE_MAX: u64 = 1024 * 1024;

/// Why there is no plan. `Display` is all that the user is to see.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file has more than a mebibyte.
    #[error("{} is larger than 1 MiB, which no trigger file is", .0.display())]
    TooLarge(PathBuf),
    /// A folder holds no trigger file.
    #[error("there is no *.toml in {}", .0.display())]
    Empty(PathBuf),
    /// What the files say.
    #[error("{0}")]
    Wrong(Problems),
}

impl Plan {
    /// Reads a trigger file, or every `*.toml` in a folder, in the order of their names.
    ///
    /// # Errors
    /// When something cannot be read, or when something in it is wrong.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let paths = if path.is_dir() {
            files_in(path)?
        } else {
            vec![path.to_owned()]
        };
        let mut sources = Vec::new();
        for path in paths {
            sources.push(source(&path)?);
        }
        Self::of(sources).map_err(PlanError::Wrong)
    }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, PlanError> {
    let unread = |error| PlanError::Read {
        path: folder.to_owned(),
        error,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        // As a shell's `*.toml` does, this passes over the hidden files that editors leave.
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "toml")
            && path.is_file()
        {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(PlanError::Empty(folder.to_owned()));
    }
    paths.sort_unstable();
    Ok(paths)
}

fn source(path: &Path) -> Result<Arc<Source>, PlanError> {
    let unread = |error| PlanError::Read {
        path: path.to_owned(),
        error,
    };
    let mut bytes = Vec::new();
    // One byte more, to see that there is more; the length in the inode says nothing about a pipe.
    File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(unread)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(PlanError::TooLarge(path.to_owned()));
    }
    let name = path.display().to_string();
    let folder = std::path::absolute(path).map_err(unread)?;
    let folder = folder.parent().unwrap_or(Path::new("/")).to_owned();
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, folder, text)),
        Err(error) => {
            // Up to here the lossy text has the same bytes, so the place is right.
            let at = error.utf8_error().valid_up_to();
            let byte = error.as_bytes()[at];
            let source = Source::new(name, folder, String::from_utf8_lossy(error.as_bytes()));
            let mut problems = Problems::default();
            problems
                .add(
                    &source,
                    &(at..at + '\u{fffd}'.len_utf8()),
                    format!("the byte 0x{byte:02x} is not UTF-8"),
                )
                .help("a trigger file is UTF-8: save it so");
            Err(PlanError::Wrong(problems))
        }
    }
}

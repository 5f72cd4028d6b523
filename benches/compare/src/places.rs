//! Where things are that servers are started with.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

#[derive(Debug)]
pub struct Places {
    /// The host's binary.
    pub host: PathBuf,
    /// What `guests/build` made.
    pub guests: PathBuf,
    /// Native jobs and guests that wasmtime compiled, by `run`; what is written for servers, and by them.
    pub work: PathBuf,
}

impl Places {
    pub fn guest(&self, file: &str) -> anyhow::Result<String> {
        built(&self.guests.join(file))
    }

    pub fn job(&self, file: &str) -> anyhow::Result<String> {
        built(&self.work.join(file))
    }

    /// A file of ours.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<String> {
        let path = self.work.join(name);
        fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        Ok(path.display().to_string())
    }
}

fn built(path: &Path) -> anyhow::Result<String> {
    ensure!(path.is_file(), "{} is missing", path.display());
    Ok(path.display().to_string())
}

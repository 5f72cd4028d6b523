//! Finding a job's program and folders when it is loaded, as its process will see them: below its
//! root, with every link resolved inside that root.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::LoadError;
use crate::plan::NativeJob;

/// Where execvp looks when there is no PATH.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// The job's root, as the host sees it.
pub(super) fn root(job: &NativeJob) -> &Path {
    job.chroot.as_deref().unwrap_or(Path::new("/"))
}

/// The program of a job, absolute in the job's root. A name without `/` is searched in the PATH of the
/// job's environment, as execvp would; one with `/` that is relative belongs to the working folder.
pub(super) fn find(job: &NativeJob, env: &[(String, String)]) -> Result<CString, LoadError> {
    let root = root(job);
    let Some(program) = job.argv.first().filter(|program| !program.is_empty()) else {
        return Err(LoadError::NoProgram);
    };
    if program.contains('/') {
        let path = job.chdir.join(program);
        check_program(root, &path)?;
        return string(&path);
    }
    let folders = env
        .iter()
        .rfind(|(key, _)| key == "PATH")
        .map_or(DEFAULT_PATH, |(_, path)| path);
    let mut refused = None;
    for folder in folders.split(':') {
        // An empty entry is the working folder.
        let path = job.chdir.join(folder).join(program);
        match check_program(root, &path) {
            Ok(()) => return string(&path),
            // As execvp: one that may not be executed is passed over, and told when there is no other.
            Err(error) if stat(root, &path).is_ok() => {
                refused.get_or_insert(error);
            }
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| LoadError::NotInPath {
        program: program.clone(),
        path: folders.to_owned(),
    }))
}

/// Refuses a folder that is not there or is none.
pub(super) fn check_folder(root: &Path, path: &Path, what: &'static str) -> Result<(), LoadError> {
    let stat = stat(root, path).map_err(|error| wrong(what, root, path, &error.to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(wrong(what, root, path, "is not a folder"));
    }
    Ok(())
}

fn check_program(root: &Path, path: &Path) -> Result<(), LoadError> {
    let stat =
        stat(root, path).map_err(|error| wrong("program", root, path, &error.to_string()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(wrong("program", root, path, "is a folder")),
        _ => return Err(wrong("program", root, path, "is not a regular file")),
    }
    // Whether this user may is decided by the kernel, with access lists and all; without any such bit
    // nobody may, not even root.
    if stat.st_mode & 0o111 == 0 {
        return Err(wrong("program", root, path, "is not executable"));
    }
    Ok(())
}

fn stat(root: &Path, path: &Path) -> io::Result<Stat> {
    open(root, path).map(|(_, stat)| stat)
}

/// What lies at a path in the job's root, to be pointed at and not to be read.
pub(super) fn open(root: &Path, path: &Path) -> io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let folder = rustix::fs::open(root, flags | OFlags::DIRECTORY, Mode::empty())?;
    let file: OwnedFd =
        match rustix::fs::openat2(&folder, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            // Before Linux 5.6, or behind a filter: absolute links then lead out of a chroot.
            Err(Errno::NOSYS | Errno::PERM) => {
                rustix::fs::openat(CWD, in_host(root, path), flags, Mode::empty())?
            }
            opened => opened?,
        };
    let stat = rustix::fs::fstat(&file)?;
    Ok((file, stat))
}

fn in_host(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

pub(super) fn wrong(what: &'static str, root: &Path, path: &Path, why: &str) -> LoadError {
    LoadError::Path {
        what,
        path: in_host(root, path).display().to_string(),
        why: why.to_owned(),
    }
}

fn string(path: &Path) -> Result<CString, LoadError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| LoadError::Nul(path.display().to_string()))
}

//! A folder in which the host keeps what is its own, compiled guests and core dumps: whether nobody but the host's user can put
//! anything there. Code that is found in the cache will run in the host, outside of every sandbox.

use std::env;
use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use cap_std::ambient_authority;
use cap_std::fs::{
    Dir, DirBuilder, DirBuilderExt as _, Metadata, MetadataExt as _, OpenOptions,
    OpenOptionsExt as _,
};
use rustix::fs::OFlags;
use rustix::process::geteuid;

/// Write permission for the group and for all others.
const OTHERS_WRITE: u32 = 0o022;

/// In such a folder everybody may have files, and each can replace only their own.
const STICKY: u32 = 0o1000;

/// Where it is when nobody says where: what systemd gives to a unit with `CacheDirectory=`, or where
/// the programs of a person keep such things.
pub(super) fn usual() -> Option<PathBuf> {
    let variable = |name| {
        // systemd names several, with colons between them.
        let paths = env::var_os(name)?;
        let first = env::split_paths(&paths).next()?;
        first.is_absolute().then_some(first)
    };
    variable("CACHE_DIRECTORY")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("portcullis")))
        .or_else(|| Some(variable("HOME")?.join(".cache/portcullis")))
}

/// Opens the folder at `path`, which is made when it is missing. Every folder that leads there is
/// looked at as it is opened, and no name is looked up a second time.
///
/// # Errors
/// When it cannot be opened or made, or when somebody else could write to it or put another one in
/// its place.
pub(in crate::engine) fn open(path: &Path) -> anyhow::Result<Dir> {
    let (there, missing) = existing(path)?;
    let mut at = PathBuf::from("/");
    let mut dir = Dir::open_ambient_dir(&at, ambient_authority()).context("cannot open /")?;
    for part in there.components() {
        let Component::Normal(name) = part else {
            continue;
        };
        ours(&dir, &at, STICKY)?;
        at.push(name);
        dir = step(&dir, Path::new(name))
            .with_context(|| format!("cannot open the folder {}", at.display()))?;
    }
    for name in missing.iter().rev() {
        ours(&dir, &at, STICKY)?;
        at.push(name);
        let made = dir.create_dir_with(name, DirBuilder::new().mode(0o700));
        if let Err(error) = made
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| format!("cannot make the folder {}", at.display()));
        }
        dir =
            step(&dir, name).with_context(|| format!("cannot open the folder {}", at.display()))?;
    }
    ours(&dir, &at, 0)?;
    Ok(dir)
}

/// The part of `path` that is there, without links, and the names behind it, the last one first.
fn existing(path: &Path) -> anyhow::Result<(PathBuf, Vec<PathBuf>)> {
    let mut missing = Vec::new();
    let mut part = path;
    loop {
        match part.canonicalize() {
            Ok(there) => return Ok((there, missing)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot look up {}", part.display()));
            }
        }
        let (Some(parent), Some(name)) = (part.parent(), part.file_name()) else {
            bail!("{} leads nowhere", part.display());
        };
        missing.push(PathBuf::from(name));
        part = parent;
    }
}

/// The folder `name` in `dir`, and not what a link of that name leads to.
fn step(dir: &Dir, name: &Path) -> io::Result<Dir> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::PATH;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let opened = dir.open_with(name, &options)?;
    Ok(Dir::from_std_file(opened.into_std()))
}

/// Checks that only this host's user and root can write to `dir`, or that others cannot replace what
/// is there because of the bit `but_for`.
fn ours(dir: &Dir, at: &Path, but_for: u32) -> anyhow::Result<()> {
    let found = dir
        .dir_metadata()
        .with_context(|| format!("cannot look at {}", at.display()))?;
    ensure!(
        is_ours(&found),
        "{} belongs to the user {}, who could replace what the host keeps there; give it to the \
         user {}, or choose another folder",
        at.display(),
        found.uid(),
        geteuid().as_raw()
    );
    ensure!(
        found.mode() & OTHERS_WRITE == 0 || found.mode() & but_for != 0,
        "others may write to {} (mode {:04o}) and could replace what the host keeps there; take that right \
         away with `chmod go-w`, or choose another folder",
        at.display(),
        found.mode() & 0o7777
    );
    Ok(())
}

/// Whether this host's user, or root, owns it.
pub(super) fn is_ours(found: &Metadata) -> bool {
    found.uid() == 0 || found.uid() == geteuid().as_raw()
}

/// Whether it is a file that only this host's user and root can have written.
pub(super) fn is_own_file(found: &Metadata) -> bool {
    found.is_file() && is_ours(found) && found.mode() & OTHERS_WRITE == 0
}

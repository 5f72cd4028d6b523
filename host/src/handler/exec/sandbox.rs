//! The Landlock ruleset of a strict job: what its processes may touch of the file system, and that they may touch no
//! port, no abstract unix socket and no process outside. It is made when the job is loaded. A path that is given stands
//! for what lies there at that moment, as a directory of a guest does.

use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};
use rustix::fs::FileType;

use super::LoadError;
use super::program;
use crate::plan::{Access, GivenPath, NativeJob, Sandbox};

/// Where the system keeps programs and what they load.
const PROGRAMS: [&str; 8] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/ld.so.cache",
];

/// Devices that hold nothing of anybody.
const SOURCES: [&str; 3] = ["/dev/zero", "/dev/random", "/dev/urandom"];
const SINK: &str = "/dev/null";

/// All that is needed of the kernel: scopes came last.
const NEEDED: ABI = ABI::V6;

/// Look, read and run.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});

/// Look, read and change. What was written is not run.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSym | MakeFifo
        | MakeSock | Refer
});

/// The ruleset of a job with this program; `None` for one that is in no sandbox.
pub(super) fn rules(job: &NativeJob, program: &CStr) -> Result<Option<OwnedFd>, LoadError> {
    let Sandbox::Strict(given) = &job.sandbox else {
        return Ok(None);
    };
    let mut rules = ruleset().map_err(refused)?;
    let (root, host) = (program::root(job), Path::new("/"));
    let program = Path::new(OsStr::from_bytes(program.to_bytes()));
    allow(&mut rules, "exec", root, program, READ)?;
    let system = PROGRAMS.map(|path| (path, READ));
    let sources = SOURCES.map(|path| (path, AccessFs::ReadFile.into()));
    let sink = (SINK, AccessFs::ReadFile | AccessFs::WriteFile);
    for (path, access) in system.into_iter().chain(sources).chain([sink]) {
        match allow(&mut rules, "system", root, Path::new(path), access) {
            // Not every system, and not every root, has all of them.
            Ok(()) | Err(LoadError::Path { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    for GivenPath { path, access } in given {
        let access = match access {
            Access::ReadOnly => READ,
            Access::ReadWrite => WRITE,
        };
        allow(&mut rules, "dirs", host, path, access)?;
    }
    Ok(rules.into())
}

/// One that allows nothing.
fn ruleset() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(NEEDED))?
        .handle_access(AccessNet::from_all(NEEDED))?
        .scope(Scope::from_all(NEEDED))?
        .create()
}

fn allow(
    rules: &mut RulesetCreated,
    key: &'static str,
    root: &Path,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<(), LoadError> {
    let (file, stat) = program::open(root, path)
        .map_err(|error| program::wrong(key, root, path, &error.to_string()))?;
    let access = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => access,
        _ => access & AccessFs::from_file(NEEDED),
    };
    let added = rules.add_rule(PathBeneath::new(file, access));
    added.map(drop).map_err(refused)
}

fn refused(error: RulesetError) -> LoadError {
    let why = anyhow::Error::from(error);
    LoadError::Sandbox(format!(
        "{why}; it takes Landlock of ABI 6, which Linux has from 6.12 on where it is enabled"
    ))
}

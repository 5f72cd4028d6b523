//! The rules of the kernel's that a host puts on itself: Landlock, as far as this kernel has it.

use std::fs;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope, make_bitflags,
};

use super::reach::{Connects, Reach, Right};

/// What this was written for and tried with; of an older kernel it takes what there is.
const KNOWN: ABI = ABI::V6;

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const BIND: BitFlags<AccessFs> = make_bitflags!(AccessFs::{MakeSock | RemoveFile});
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSym | MakeFifo
        | MakeSock | Refer
});

/// What a host reads of the system: of itself, and how much of the machine it may use.
const SYSTEM: [&str; 9] = [
    "/proc/self",
    "/proc/sys/vm/max_map_count",
    "/proc/sys/vm/overcommit_memory",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/urandom",
    // Where a panic finds the names of functions.
    "/proc/self/exe",
];

/// What it takes to look up users and hosts, and to know whom one speaks to over TLS: databases, the libraries that read
/// them, certificates. Files in `/etc` are replaced rather than written to, so it is the folder.
const LOOKUP: [&str; 9] = [
    "/etc",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/run/systemd/resolve",
    "/run/NetworkManager",
];

/// As many as the kernel follows.
const LINKS: usize = 40;

/// Where the environment may say that certificates are.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// How much of the rules the kernel holds a process to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enforced {
    Whole,
    Part,
    None,
}

/// Confines this thread, and all that it starts, to what `reach` names, as far as the kernel does that.
pub(super) fn enforce(reach: &Reach) -> Result<Enforced, RulesetError> {
    let mut rules = ruleset(reach)?;
    for path in SYSTEM {
        allow(&mut rules, Path::new(path), READ)?;
    }
    let null = AccessFs::ReadFile | AccessFs::WriteFile;
    allow(&mut rules, Path::new("/dev/null"), null)?;
    if reach.looks_up {
        for path in LOOKUP {
            allow(&mut rules, Path::new(path), READ)?;
        }
        for path in CERTIFICATES.iter().filter_map(std::env::var_os) {
            allow(&mut rules, Path::new(&path), READ)?;
        }
    }
    for (path, rights) in &reach.paths {
        for right in rights {
            match right {
                Right::Read => allow_folder(&mut rules, path, READ)?,
                Right::Bind => allow(&mut rules, path, BIND)?,
                Right::Write => allow(&mut rules, path, WRITE)?,
            }
        }
    }
    for file in &reach.files {
        // Of a folder of trigger files, each may be a link.
        let inside = fs::read_dir(file).into_iter().flatten().flatten();
        let inside = inside.map(|entry| entry.path());
        for link in inside.chain([file.clone()]) {
            for folder in behind(&link) {
                allow_folder(&mut rules, &folder, READ)?;
            }
        }
    }
    if let Connects::To(ports) = &reach.connects {
        for port in ports {
            (&mut rules).add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    let status = rules.restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Whole,
        RulesetStatus::PartiallyEnforced => Enforced::Part,
        RulesetStatus::NotEnforced => Enforced::None,
    })
}

/// One that allows nothing of what it is about.
fn ruleset(reach: &Reach) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?;
    if let Connects::To(_) = reach.connects {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    // What it may be told to notify.
    let notify = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    if !notify.as_encoded_bytes().starts_with(b"@") {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    // It ends the jobs of a spawner that has died.
    if reach.is_settled() && !reach.native {
        ruleset = ruleset.scope(Scope::Signal)?;
    }
    ruleset.create()
}

/// The folders in which lie what a link leads to, and the links on the way there.
fn behind(link: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut at = link.to_owned();
    while let (Ok(to), Some(folder), true) =
        (fs::read_link(&at), at.parent(), folders.len() < LINKS)
    {
        at = folder.join(to);
        folders.extend(at.parent().map(Path::to_owned));
    }
    folders
}

/// What is not there needs no rule: whoever misses it says so.
fn allow(
    rules: &mut RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<(), RulesetError> {
    let Ok(there) = PathFd::new(path) else {
        return Ok(());
    };
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(KNOWN)
    };
    rules.add_rule(PathBeneath::new(there, access)).map(drop)
}

/// The same for a folder that is read again and again, such as that of a guest. A link on the way to it may lead elsewhere
/// by then, as where versions are changed by a link: to what lies beside it.
fn allow_folder(
    rules: &mut RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<(), RulesetError> {
    let links = path.ancestors().filter(|part| part.is_symlink());
    let beside = links.filter_map(Path::parent).map(Path::to_owned);
    let beside: Vec<PathBuf> = beside.filter(|folder| folder.parent().is_some()).collect();
    for folder in beside {
        allow(rules, &folder, access)?;
    }
    allow(rules, path, access)
}

//! What a host has to touch for a plan, as a value: the rules of its sandbox come from it, and whether another plan
//! can be served by a host that has confined itself already.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::path::{Component, Path, PathBuf};

use crate::engine::Cache;
use crate::plan::{
    Access, Address, Admission, Allowed, Confine, GuestJob, Host, Job, NativeJob, NativeStyle,
    Plan, Ports, Rule, Target, Transport,
};

/// Where the time zone of the host is told, and what it is like.
const ZONES: [&str; 2] = ["/etc/localtime", "/usr/share/zoneinfo"];

/// Where names are asked for.
const DNS: u16 = 53;

/// What is done at a path and below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Look and read.
    Read,
    /// Make and remove sockets.
    Bind,
    /// Look, read and change.
    Write,
}

/// To which TCP ports it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connects {
    /// These.
    To(BTreeSet<u16>),
    /// Any.
    Anywhere,
}

/// What a host touches for its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Absolute paths, as the plan spells them.
    pub paths: BTreeMap<PathBuf, BTreeSet<Right>>,
    /// Files that are read, which may be links to elsewhere.
    pub files: BTreeSet<PathBuf>,
    /// Whether names of users or hosts are looked up.
    pub looks_up: bool,
    /// For guests that have a network.
    pub connects: Connects,
    /// Whether it has jobs to signal.
    pub native: bool,
    /// Who it is.
    identity: Option<String>,
    confine: Confine,
}

/// What a host that has confined itself cannot do for another plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beyond {
    /// Touch this path.
    Path(PathBuf, Right),
    /// Look up names.
    Names,
    /// Connect to this port, or to any.
    Port(Option<u16>),
    /// Start native jobs.
    Native,
    /// Be somebody else, or be confined in another way.
    Host,
}

impl Display for Beyond {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path, right) => {
                let what = match right {
                    Right::Read => "read",
                    Right::Bind => "bind sockets in",
                    Right::Write => "write to",
                };
                write!(f, "{what} {}", path.display())
            }
            Self::Names => f.write_str("look up names of users or hosts"),
            Self::Port(Some(port)) => write!(f, "connect to TCP port {port}"),
            Self::Port(None) => f.write_str("connect to any TCP port"),
            Self::Native => f.write_str("start native jobs"),
            Self::Host => f.write_str("change `user`, `group` or `sandbox` of [host]"),
        }?;
        f.write_str(
            ": this host has confined itself to what its first plan names; have another take its place, with \
             `portcullis run --upgrade`",
        )
    }
}

impl Reach {
    /// What the plan in the trigger file at `file`, or in that folder of them, takes, with its `control` socket.
    pub fn of(plan: &Plan, file: &Path, control: Option<&Path>) -> Self {
        let identity = plan
            .user
            .as_ref()
            .map(|user| format!("{user:?} {:?}", plan.group));
        let mut reach = Self {
            paths: BTreeMap::new(),
            files: BTreeSet::new(),
            looks_up: false,
            connects: Connects::To(BTreeSet::new()),
            native: false,
            identity,
            confine: plan.confine,
        };
        // The file may be replaced by another, as editors do it, so it is its folder that is read.
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        match file.parent() {
            Some(folder) if !file.is_dir() => reach.add(folder, Right::Read),
            _ => reach.add(&file, Right::Read),
        }
        reach.files.insert(file.clone());
        if let Some(cache) = Cache::place(&plan.cache) {
            reach.add(&cache, Right::Write);
        }
        if let Some(control) = control {
            reach.add_folder(control, Right::Bind);
        }
        if let Some(coredumps) = &plan.coredumps {
            reach.add(&coredumps.path, Right::Write);
        }
        for trigger in &plan.triggers {
            for address in &trigger.listen {
                if let Address::Unix(path) = address {
                    reach.add_folder(path, Right::Bind);
                }
            }
            let socket = &trigger.socket;
            reach.looks_up |= socket.owner.is_some() || socket.group.is_some();
            match &trigger.job {
                Job::Guest {
                    guest,
                    admission,
                    fallback,
                } => {
                    reach.add_guest(guest);
                    reach.add_admission(admission);
                    if let Some(job) = fallback {
                        reach.add_native(job);
                    }
                }
                Job::Native(job) => reach.add_native(job),
            }
        }
        reach
    }

    fn add(&mut self, path: &Path, right: Right) {
        self.paths.entry(path.to_owned()).or_default().insert(right);
    }

    fn add_folder(&mut self, path: &Path, right: Right) {
        self.add(path.parent().unwrap_or(path), right);
    }

    fn add_guest(&mut self, guest: &GuestJob) {
        self.add_folder(&guest.path, Right::Read);
        self.files.insert(guest.path.clone());
        for dir in &guest.dirs {
            let right = match dir.access {
                Access::ReadOnly => Right::Read,
                Access::ReadWrite => Right::Write,
            };
            self.add(&dir.host, right);
        }
        for allowed in &guest.network.allow {
            let (named, tcp) = match allowed {
                Allowed::Socket {
                    transport,
                    target,
                    ports,
                } => (
                    matches!(target, Target::Name(_)),
                    (*transport == Transport::Tcp).then_some(*ports),
                ),
                Allowed::Http { host, port, .. } => {
                    (matches!(host, Host::Name(_)), Some(Ports::One(*port)))
                }
            };
            // Whom a request over TLS is sent to is known by certificates of the system's.
            self.looks_up |= named || matches!(allowed, Allowed::Http { .. });
            if let (Connects::To(ports), true) = (&mut self.connects, named) {
                // An answer may be too long for a datagram.
                ports.insert(DNS);
            }
            match (&mut self.connects, tcp) {
                (_, None) | (Connects::Anywhere, _) => {}
                (Connects::To(ports), Some(Ports::One(port))) => drop(ports.insert(port.get())),
                (connects, Some(Ports::All)) => *connects = Connects::Anywhere,
            }
        }
    }

    fn add_admission(&mut self, admission: &Admission) {
        let mut rules = admission.rules.iter();
        self.looks_up |= rules.any(|rule| !matches!(rule, Rule::Net(_)));
        if !admission.hours.is_empty() {
            for path in ZONES {
                self.add(Path::new(path), Right::Read);
            }
        }
    }

    fn add_native(&mut self, job: &NativeJob) {
        self.native = true;
        if let NativeStyle::Connection(admission) = &job.style {
            self.add_admission(admission);
        }
        // Even a number is looked up, for the name and the groups that belong to it.
        self.looks_up |= job.setuid.is_some() || job.setgid.is_some() || job.groups.is_some();
    }

    /// Whether a host that has confined itself to this can do all that `other` takes; `held`: the kernel holds it to its
    /// paths, names and ports.
    ///
    /// # Errors
    /// The first thing that it cannot.
    pub fn covers(&self, other: &Self, held: bool) -> Result<(), Beyond> {
        if (&self.identity, self.confine) != (&other.identity, other.confine) {
            return Err(Beyond::Host);
        }
        if self.is_settled() && other.native && !self.native {
            return Err(Beyond::Native);
        }
        if held { self.touches(other) } else { Ok(()) }
    }

    fn touches(&self, other: &Self) -> Result<(), Beyond> {
        for (path, rights) in &other.paths {
            for right in rights {
                if !self.allows(path, *right) {
                    return Err(Beyond::Path(path.clone(), *right));
                }
            }
        }
        if other.looks_up && !self.looks_up {
            return Err(Beyond::Names);
        }
        match (&self.connects, &other.connects) {
            (Connects::Anywhere, _) => {}
            (Connects::To(_), Connects::Anywhere) => return Err(Beyond::Port(None)),
            (Connects::To(may), Connects::To(want)) => {
                if let Some(port) = want.difference(may).next() {
                    return Err(Beyond::Port(Some(*port)));
                }
            }
        }
        Ok(())
    }

    /// Whether no job comes once all are loaded: nobody can have the spawner start another program. Where neither a user
    /// nor a sandbox is asked for, a reload may bring jobs.
    pub fn is_settled(&self) -> bool {
        self.identity.is_some() || self.confine == Confine::Required
    }

    fn allows(&self, path: &Path, right: Right) -> bool {
        // Where `..` leads to depends on links.
        let plain = !path.components().any(|part| part == Component::ParentDir);
        self.paths.iter().any(|(known, rights)| {
            let within = path == known || plain && path.starts_with(known);
            within && (rights.contains(&right) || rights.contains(&Right::Write))
        })
    }
}

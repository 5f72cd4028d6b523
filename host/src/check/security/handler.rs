//! What whoever takes over the handler of a trigger could reach with it.

use std::path::Path;

use nix::sys::resource::Resource;

use super::clients::{connect, load};
use super::host::is_root;
use super::{Finding, Report};
use crate::plan::words::{Name, Time, reaches, visible};
use crate::plan::{
    Access, Admission, Allowed, GuestJob, Job, NativeJob, NativeStyle, Network, Plan, Ports,
    Sandbox, Target, Trigger,
};

/// One for each handler that may serve it.
pub(super) fn reports(plan: &Plan, trigger: &Trigger) -> Vec<Report> {
    let name = trigger.name.to_string();
    match &trigger.job {
        Job::Guest {
            guest,
            admission,
            fallback,
        } => {
            let mut reports = vec![of_guest(name, trigger, guest, admission)];
            let name = format!("{}, served by its fallback", trigger.name);
            reports.extend(
                fallback
                    .as_ref()
                    .map(|job| of_job(name, plan, trigger, job)),
            );
            reports
        }
        Job::Native(job) => vec![of_job(name, plan, trigger, job)],
    }
}

fn of_guest(name: String, trigger: &Trigger, guest: &GuestJob, admission: &Admission) -> Report {
    let limits = &guest.limits;
    let dirs = guest
        .dirs
        .iter()
        .map(|dir| (dir.host.as_path(), dir.access));
    let memory = if limits.memory > 1 << 30 { 50 } else { 0 };
    let code = "a guest, in a sandbox of its own for each connection";
    let cpu = format!("{} for each connection", Time(limits.cpu));
    Report {
        name,
        findings: vec![
            Finding::new("code", 20, 0, code),
            files(None, dirs),
            Finding::new("user", 15, 0, "none: a guest is nobody"),
            network(&guest.network),
            Finding::new("processes", 10, 0, "none"),
            connect(trigger, Some(admission)),
            load(Some(admission)),
            Finding::new("memory", 4, memory, "bounded for each connection"),
            Finding::new("cpu", 3, 0, cpu),
            Finding::new("time", 3, 0, format!("{} at most", Time(limits.deadline))),
        ],
    }
}

fn of_job(name: String, plan: &Plan, trigger: &Trigger, job: &NativeJob) -> Report {
    let admission = match &job.style {
        NativeStyle::Listener { .. } => None,
        NativeStyle::Connection(admission) => Some(admission),
    };
    let memory = [Resource::RLIMIT_AS, Resource::RLIMIT_DATA];
    let (code, files, network) = confined(job);
    let mut findings = vec![code, files, user(plan, job), network, processes(plan, job)];
    findings.extend([connect(trigger, admission), load(admission)]);
    findings.extend([
        bounded(job, "memory", 4, &memory, "all of the machine's"),
        bounded(
            job,
            "cpu",
            3,
            &[Resource::RLIMIT_CPU],
            "as much as it likes",
        ),
        match job.deadline {
            Some(deadline) => Finding::new("time", 3, 0, format!("{} at most", Time(deadline))),
            None => Finding::new("time", 3, 100, "as long as it likes"),
        },
    ]);
    Report { name, findings }
}

/// What a job may do by its sandbox: run, touch, and reach.
fn confined(job: &NativeJob) -> (Finding, Finding, Finding) {
    match &job.sandbox {
        Sandbox::Strict(given) => {
            let code = "a program, without the calls that reach into the kernel or other processes";
            let given = given
                .iter()
                .map(|given| (given.path.as_path(), given.access));
            (
                Finding::new("code", 20, 40, code),
                files(Some((20, "what the system has installed")), given),
                Finding::new("network", 15, 0, "none but its connections"),
            )
        }
        Sandbox::None => {
            let files = match job.chroot {
                Some(_) => (60, "all that its user may, in its root"),
                None => (100, "all that its user may"),
            };
            (
                Finding::new("code", 20, 100, "a program, with all calls of the kernel"),
                Finding::new("files", 15, files.0, files.1),
                Finding::new("network", 15, 100, "all that this machine reaches"),
            )
        }
    }
}

/// `always`: what is touched in any case, and how bad that is.
fn files<'a>(
    always: Option<(u32, &str)>,
    given: impl Iterator<Item = (&'a Path, Access)>,
) -> Finding {
    let (mut badness, words) = always.unwrap_or((0, "none"));
    let mut words = vec![words.to_owned()];
    for (path, access) in given {
        let all = path.parent().is_none();
        let (own, access) = match access {
            Access::ReadOnly => (if all { 70 } else { 20 }, "ro"),
            Access::ReadWrite => (if all { 100 } else { 40 }, "rw"),
        };
        badness = badness.max(own);
        words.push(format!("{} ({access})", visible(&path.to_string_lossy())));
    }
    if always.is_none() && words.len() > 1 {
        words.remove(0);
    }
    Finding::new("files", 15, badness, words.join(", "))
}

fn network(network: &Network) -> Finding {
    let Some(words) = reaches(network) else {
        return Finding::new("network", 15, 0, "none but its connection");
    };
    let wide = network.allow.iter().any(|allowed| match allowed {
        Allowed::Socket { target, ports, .. } => {
            let everybody = matches!(target, Target::Net(net) if net.prefix_len() == 0);
            everybody || *ports == Ports::All
        }
        Allowed::Http { .. } => false,
    });
    Finding::new("network", 15, if wide { 70 } else { 20 }, words)
}

/// Who it is. A strict job has no rights of root's, and root's files only where it may touch them.
fn user(plan: &Plan, job: &NativeJob) -> Finding {
    let user = job.setuid.as_ref().or(plan.user.as_ref());
    let (badness, words) = match user {
        Some(user) if is_root(user) => (100, "root".to_owned()),
        Some(user) => (20, visible(&Name(user).to_string())),
        None => (100, "whoever starts the host, be it root".to_owned()),
    };
    match job.sandbox {
        Sandbox::None => Finding::new("user", 15, badness, words),
        Sandbox::Strict(_) => {
            Finding::new("user", 15, badness * 3 / 10, words + "; no capabilities")
        }
    }
}

fn processes(plan: &Plan, job: &NativeJob) -> Finding {
    let own = job.setuid.is_some() && job.setuid != plan.user;
    let (badness, words) = match (&job.sandbox, own) {
        (Sandbox::Strict(_), _) => (0, "its own"),
        (Sandbox::None, true) => (50, "all of its user's"),
        (Sandbox::None, false) => (100, "all of its user's, the host among them"),
    };
    Finding::new("processes", 10, badness, words)
}

/// Whether one of these resources has a bound.
fn bounded(
    job: &NativeJob,
    about: &'static str,
    weight: u32,
    resources: &[Resource],
    unbounded: &str,
) -> Finding {
    let has = |limit: &crate::plan::ResourceLimit| {
        resources.contains(&limit.resource) && limit.hard.is_some()
    };
    if job.limit.iter().any(has) {
        Finding::new(about, weight, 0, "bounded for each process")
    } else {
        Finding::new(about, weight, 100, unbounded)
    }
}

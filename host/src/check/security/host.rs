//! What the host itself could still do: the process that reads what clients send, and runs guests.

use nix::unistd::Uid;

use super::{Finding, Report};
use crate::plan::words::{Name, visible};
use crate::plan::{Confine, Identity, Job, NativeJob, Plan};

pub(super) fn report(plan: &Plan) -> Report {
    Report {
        name: "host".to_owned(),
        findings: vec![
            user(plan),
            files(plan),
            calls(plan),
            programs(plan),
            spawner(plan),
        ],
    }
}

fn user(plan: &Plan) -> Finding {
    let (badness, words) = match &plan.user {
        Some(user) if is_root(user) => (100, "root, with every right".to_owned()),
        Some(user) => {
            let name = visible(&Name(user).to_string());
            (0, format!("{name}, for good, from before a guest is read"))
        }
        None => (
            80,
            "whoever starts it, be it root; `user` of [host] makes it another".to_owned(),
        ),
    };
    Finding::new("user", 30, badness, words)
}

fn files(plan: &Plan) -> Finding {
    let (badness, words) = match plan.confine {
        Confine::Required => (10, "what the plan names, by Landlock"),
        Confine::Auto => (
            25,
            "what the plan names, by Landlock, as far as the kernel has it",
        ),
        Confine::Off => (100, "all that its user may: `sandbox` of [host] is off"),
    };
    Finding::new("files", 25, badness, words)
}

fn calls(plan: &Plan) -> Finding {
    let (badness, words) = match plan.confine {
        Confine::Required | Confine::Auto => (
            30,
            "of the kernel's, none that executes, or reaches into the kernel or other processes",
        ),
        Confine::Off => (100, "all of the kernel's, and it may execute any program"),
    };
    Finding::new("calls", 15, badness, words)
}

/// What it could have its spawner start.
fn programs(plan: &Plan) -> Finding {
    let native = jobs(plan).next().is_some();
    let sealed = plan.user.is_some() || plan.confine == Confine::Required;
    let (badness, words) = match (sealed, native) {
        (true, false) => (0, "none: the plan has no native job"),
        (true, true) => (20, "the native jobs of the plan, and no other"),
        (false, _) => (
            100,
            "any, since a reload may bring jobs; with `user`, or `sandbox = \"required\"`, those of the plan",
        ),
    };
    Finding::new("programs", 20, badness, words)
}

/// The process that starts native jobs.
fn spawner(plan: &Plan) -> Finding {
    let needs_root = |job: &NativeJob| {
        let other = job.setuid.is_some() && job.setuid != plan.user;
        let other = other || job.setgid.is_some() || job.groups.is_some();
        other || job.chroot.is_some() || job.nice.is_some_and(|nice| nice < 0)
    };
    let (badness, words) = if plan.user.is_none() {
        (50, "who starts native jobs is the same user as the host")
    } else if jobs(plan).any(needs_root) {
        (
            50,
            "who starts native jobs stays root, as some are other users or groups, or have another root or a higher priority",
        )
    } else {
        (
            10,
            "who starts native jobs is root only where strict jobs or raised limits need it",
        )
    };
    Finding::new("spawner", 10, badness, words)
}

fn jobs(plan: &Plan) -> impl Iterator<Item = &NativeJob> {
    plan.triggers
        .iter()
        .filter_map(|trigger| match &trigger.job {
            Job::Native(job) => Some(job),
            Job::Guest { fallback, .. } => fallback.as_ref(),
        })
}

/// Whether that is root, as far as its name tells.
pub(super) fn is_root(user: &Identity<Uid>) -> bool {
    match user {
        Identity::Name(name) => name == "root",
        Identity::Number(uid) => uid.is_root(),
    }
}

//! Who may connect to a trigger, and how much of it one of them may have.

use super::Finding;
use crate::plan::{Address, Admission, Trigger};

/// The most open of its addresses decides.
pub(super) fn connect(trigger: &Trigger, admission: Option<&Admission>) -> Finding {
    let mode = trigger.socket.mode;
    let open = trigger.listen.iter().map(|address| match address {
        Address::Inet(address) => inet(address.ip().is_loopback()),
        Address::Inet6(address) => inet(address.ip().is_loopback()),
        Address::Abstract(_) => (40, "every user of this machine"),
        Address::Inherited(_) => (70, "whom the service manager's socket lets in"),
        Address::Unix(_) => match mode {
            Some(mode) if mode & 0o002 == 0 => (10, "owner and group of its unix path"),
            Some(_) => (40, "every user who gets to its unix path"),
            None => (30, "whom the umask lets to its unix path"),
        },
    });
    let (badness, words) = open.max().unwrap_or((0, "nobody"));
    match admission {
        Some(Admission { rules, .. }) if !rules.allow.is_empty() => Finding::new(
            "clients",
            10,
            badness / 2,
            format!("{words}, as far as `allow` lets them in"),
        ),
        _ => Finding::new("clients", 10, badness, words),
    }
}

fn inet(loopback: bool) -> (u32, &'static str) {
    if loopback {
        (30, "every process of this machine")
    } else {
        (100, "everybody whom the network lets through")
    }
}

/// What one client can have for itself.
pub(super) fn load(admission: Option<&Admission>) -> Finding {
    let Some(admission) = admission else {
        let words = "the job accepts for itself: neither connections nor sources nor their rate are bounded";
        return Finding::new("load", 5, 100, words);
    };
    let (source, rate) = (admission.per_source, admission.rate);
    let words = match (source, rate) {
        (Some(_), Some(_)) => "connections, those of one source, and their rate are bounded",
        (Some(_), None) => "connections and those of one source are bounded, their rate is not",
        (None, Some(_)) => "connections and their rate are bounded, those of one source are not",
        (None, None) => "connections are bounded; one source may have all of them",
    };
    let badness = 40 * u32::from(source.is_none()) + 20 * u32::from(rate.is_none());
    Finding::new("load", 5, badness, words)
}

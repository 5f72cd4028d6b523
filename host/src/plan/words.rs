//! The parts of a plan in words, for `describe`.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::hours::DAYS;
use super::{
    Address, Admission, Allowed, Bucket, Denied, GuestLimits, Hours, Identity, Network, Over,
    PerSource, RateLimit, ResourceLimit, Rule, Rules, rlimit,
};
use crate::trigger::printable;

/// Characters shown of a command line: a script is known by how it starts.
const COMMAND_MAX: usize = 200;

/// One entry of `limit`: `nofile 1024 of 4096`.
pub(super) fn resource_limit(limit: &ResourceLimit) -> String {
    let ResourceLimit {
        resource,
        soft,
        hard,
    } = limit;
    let (name, in_bytes) = rlimit::name(*resource);
    let bound = |bound: Option<u64>| match bound {
        Some(bytes) if in_bytes => Size(bytes).to_string(),
        Some(number) => number.to_string(),
        None => "unlimited".to_owned(),
    };
    if soft == hard {
        format!("{name} {}", bound(*soft))
    } else {
        format!("{name} {} of {}", bound(*soft), bound(*hard))
    }
}

/// The names of variables or settings, without their values.
pub(super) fn variables(what: &str, values: &[(String, String)]) -> Option<String> {
    let names: Vec<String> = values.iter().map(|(name, _)| visible(name)).collect();
    (!names.is_empty()).then(|| format!("{what} {}", names.join(" ")))
}

/// What of the network may be reached.
pub(super) fn reaches(network: &Network) -> Option<String> {
    let Network { allow, deny } = network;
    let allow: Vec<String> = allow.iter().map(Allowed::to_string).collect();
    let deny: Vec<String> = deny.iter().map(Denied::to_string).collect();
    let but = if deny.is_empty() { "" } else { "; never " };
    (!allow.is_empty()).then(|| format!("{}{but}{}", allow.join(", "), deny.join(", ")))
}

/// A text with nothing in it that is not visible.
pub(super) fn visible(text: &str) -> String {
    printable(text, usize::MAX)
}

/// A command line or another text of any length, cut.
pub(super) struct Command<'a>(pub &'a str);

impl Display for Command<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(self.0, COMMAND_MAX))
    }
}

/// An address and its family.
pub(super) struct Listen<'a>(pub &'a Address);

impl Display for Listen<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", visible(&self.0.to_string()), self.0.family())
    }
}

/// Limits that hold before a handler starts.
pub(super) struct Door<'a>(pub &'a Admission);

impl Display for Door<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Admission {
            connections,
            per_source,
            rate,
            rules: _,
            hours: _,
            banner: _,
            defer,
        } = self.0;
        write!(f, "{}", Count(connections.get(), "connection"))?;
        if let Some(per_source) = per_source {
            write!(f, ", {}", Each(per_source))?;
        }
        if let Some(RateLimit { bucket, over }) = rate {
            let over = match over {
                Over::Wait => "",
                Over::Refuse => " or refused",
            };
            write!(f, ", {}{over}", Fill(bucket))?;
        }
        if *defer {
            f.write_str(", started at the first byte")?;
        }
        Ok(())
    }
}

/// What one source may have.
struct Each<'a>(&'a PerSource);

impl Display for Each<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let PerSource {
            connections,
            rate,
            inet,
            inet6,
            local,
        } = self.0;
        write!(f, "{connections}")?;
        if let Some(rate) = rate {
            write!(f, " and {}", Fill(rate))?;
        }
        f.write_str(if *local {
            " a source"
        } else {
            " a remote source"
        })?;
        match (inet, inet6) {
            (32, 64) => Ok(()),
            _ => write!(f, " (/{inet}, /{inet6})"),
        }
    }
}

/// A rate, and its burst when that is another number.
struct Fill<'a>(&'a Bucket);

impl Display for Fill<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Bucket { rate, burst } = self.0;
        match rate.per.as_secs_f64() {
            1.0 => write!(f, "{}/s", rate.count)?,
            60.0 => write!(f, "{}/m", rate.count)?,
            3600.0 => write!(f, "{}/h", rate.count)?,
            _ => write!(f, "{}/{}", rate.count, Time(rate.per))?,
        }
        if *burst != rate.count {
            write!(f, " with bursts of {burst}")?;
        }
        Ok(())
    }
}

/// Who is let in, and when; `None`: everybody, always.
pub(super) fn admits(admission: &Admission) -> Option<String> {
    let Admission {
        connections: _,
        per_source: _,
        rate: _,
        rules,
        hours,
        banner,
        defer: _,
    } = admission;
    let Rules { allow, deny } = rules;
    let list = |rules: &[Rule]| {
        let rules: Vec<String> = rules.iter().map(rule).collect();
        rules.join(", ")
    };
    let mut words = Vec::new();
    match (allow.is_empty(), deny.is_empty()) {
        (true, true) => {}
        (true, false) => words.push(format!("all but {}", list(deny))),
        (false, true) => words.push(list(allow)),
        (false, false) => words.push(format!("{}; not {}", list(allow), list(deny))),
    }
    if !hours.is_empty() {
        let hours: Vec<String> = hours.iter().copied().map(time_of_days).collect();
        words.push(hours.join(", "));
    }
    if let Some(banner) = banner {
        words.push(format!("others hear {} bytes", banner.len()));
    }
    (!words.is_empty()).then(|| words.join("; "))
}

fn rule(rule: &Rule) -> String {
    match rule {
        Rule::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        Rule::Net(net) => net.to_string(),
        Rule::User(user) => format!("user {}", Name(user)),
        Rule::Group(group) => format!("group {}", Name(group)),
    }
}

/// `mon-fri 08:00-18:00`
fn time_of_days(hours: Hours) -> String {
    let Hours { days, from, to } = hours;
    let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
    let times = format!("{}-{}", clock(from), clock(to));
    if hours.daily() {
        return times;
    }
    let days: Vec<usize> = (0..DAYS.len()).filter(|day| days >> day & 1 == 1).collect();
    match days[..] {
        [first, _, .., last] if last - first + 1 == days.len() => {
            format!("{}-{} {times}", DAYS[first], DAYS[last])
        }
        _ => {
            let names: Vec<&str> = days.iter().map(|day| DAYS[*day]).collect();
            format!("{} {times}", names.join(","))
        }
    }
}

/// Limits that hold for one instance.
pub(super) struct Inside<'a>(pub &'a GuestLimits);

impl Display for Inside<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let GuestLimits {
            memory,
            stack,
            cpu,
            deadline,
            idle,
        } = self.0;
        write!(f, "{} memory, {} stack, ", Size(*memory), Size(*stack))?;
        write!(f, "{} cpu, ", Time(*cpu))?;
        write!(f, "{} deadline, {} idle", Time(*deadline), Time(*idle))
    }
}

/// A user or group.
pub(super) struct Name<'a, Id>(pub &'a Identity<Id>);

impl<Id: Display> Display for Name<'_, Id> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Identity::Name(name) => f.write_str(&visible(name)),
            Identity::Number(id) => id.fmt(f),
        }
    }
}

/// A duration as the file writes them.
pub(super) struct Time(pub Duration);

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// Bytes in the largest unit that shows them exactly.
struct Size(pub u64);

impl Display for Size {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 >> shift > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// A number of things.
pub(super) struct Count<'a>(pub u32, pub &'a str);

impl Display for Count<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}{}",
            self.0,
            self.1,
            if self.0 == 1 { "" } else { "s" }
        )
    }
}

//! Admission in words: what holds before a handler starts.

use std::fmt::{self, Display, Formatter};

use super::{Count, Name, Time};
use crate::plan::hours::DAYS;
use crate::plan::{Admission, Bucket, Hours, Over, PerSource, RateLimit, Rule, Rules};

/// Limits that hold before a handler starts.
pub(in crate::plan) struct Door<'a>(pub &'a Admission);

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
pub(in crate::plan) fn admits(admission: &Admission) -> Option<String> {
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

//! Rules of access, ready to be asked for each connection: no name is looked up then, nothing is
//! allocated, and how long an answer takes grows with the logarithm of the number of rules.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::refusal::Refusal;
use super::source::Source;
use crate::identity::{self, LookupError};
use crate::plan::{Admission, Hours, Rule, Rules};

/// What is decided at a trigger's door: what the plan says of admission, with its names looked up.
#[derive(Clone, Debug)]
pub struct Door {
    /// As the plan has it.
    pub admission: Admission,
    pub(super) access: Option<Arc<Access>>,
}

#[derive(Debug)]
pub(super) struct Access {
    inet: Ranges,
    inet6: Ranges,
    users: HashMap<u32, bool>,
    groups: HashMap<u32, bool>,
    /// What becomes of those that no rule fits.
    others: bool,
    timetable: Option<Timetable>,
}

/// What holds from each address on, up to the next one in the list: `None` where no rule fits.
#[derive(Debug, Default)]
struct Ranges(Vec<(u128, Option<bool>)>);

/// Hours by the wall clock of this machine, asked when a connection comes: whatever becomes of that
/// clock, by a change of the season or of its time, holds from then on.
#[derive(Debug)]
pub(super) struct Timetable {
    /// Read once: no file is when a connection comes.
    zone: TimeZone,
    hours: Vec<Hours>,
}

impl Door {
    /// Looks up the users and groups that the rules of `admission` name, and the time zone.
    ///
    /// # Errors
    /// When a user or group is not there.
    pub fn of(admission: &Admission) -> Result<Self, LookupError> {
        let Admission { rules, hours, .. } = admission;
        let access = if rules.is_empty() && hours.is_empty() {
            None
        } else {
            let timetable = Some(hours).filter(|hours| !hours.is_empty());
            let timetable = timetable.map(|hours| Timetable::new(TimeZone::system(), hours));
            Some(Arc::new(Access::new(rules, timetable)?))
        };
        Ok(Self {
            admission: admission.clone(),
            access,
        })
    }
}

impl Access {
    pub fn new(rules: &Rules, timetable: Option<Timetable>) -> Result<Self, LookupError> {
        let (mut users, mut groups, mut nets) = (HashMap::new(), HashMap::new(), Vec::new());
        // Those that are denied come last: of two rules for the same clients they win.
        let allowed = rules.allow.iter().map(|rule| (rule, true));
        for (rule, admits) in allowed.chain(rules.deny.iter().map(|rule| (rule, false))) {
            match rule {
                Rule::Net(net) => nets.push((*net, admits)),
                Rule::User(user) => {
                    users.insert(identity::user(user)?.uid.as_raw(), admits);
                }
                Rule::Group(group) => {
                    groups.insert(identity::group(group)?.as_raw(), admits);
                }
            }
        }
        let (inet, inet6): (Vec<_>, Vec<_>) = nets
            .into_iter()
            .partition(|(net, _)| matches!(net, IpNet::V4(_)));
        Ok(Self {
            inet: Ranges::new(inet),
            inet6: Ranges::new(inet6),
            users,
            groups,
            others: rules.allow.is_empty(),
            timetable,
        })
    }

    /// Whether a connection from `source` is let in now.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, source: Source) -> Result<(), Refusal> {
        let rule = match source {
            Source::Inet(ip @ IpAddr::V4(_)) => self.inet.find(number(ip)),
            Source::Inet(ip @ IpAddr::V6(_)) => self.inet6.find(number(ip)),
            Source::Unix { uid, gid } => {
                let user = self.users.get(&uid);
                user.or_else(|| self.groups.get(&gid)).copied()
            }
        };
        if !rule.unwrap_or(self.others) {
            return Err(Refusal::Denied);
        }
        match &self.timetable {
            Some(timetable) if !timetable.is_open(Timestamp::now()) => Err(Refusal::Time),
            _ => Ok(()),
        }
    }
}

impl Ranges {
    /// Of some networks of one family, each with whether it is let in. Of the same network twice, the
    /// last one counts.
    fn new(mut nets: Vec<(IpNet, bool)>) -> Self {
        // Each is painted over what is wider; the sort keeps those of one width in their order.
        nets.sort_by_key(|(net, _)| net.prefix_len());
        let mut painted = BTreeMap::from([(0, None)]);
        for (net, admits) in nets {
            let (first, last) = (number(net.network()), number(net.broadcast()));
            // Nothing begins within it: networks are inside each other or apart.
            let behind = painted.range(..=first).next_back().and_then(|(_, it)| *it);
            painted.insert(first, Some(admits));
            if let Some(next) = last.checked_add(1) {
                painted.entry(next).or_insert(behind);
            }
        }
        Self(painted.into_iter().collect())
    }

    fn find(&self, address: u128) -> Option<bool> {
        let behind = self.0.partition_point(|(start, _)| *start <= address);
        self.0[..behind].last().and_then(|(_, admits)| *admits)
    }
}

impl Timetable {
    pub fn new(zone: TimeZone, hours: &[Hours]) -> Self {
        Self {
            zone,
            hours: hours.to_vec(),
        }
    }

    pub fn is_open(&self, at: Timestamp) -> bool {
        let local = self.zone.to_datetime(at);
        let day = local.weekday().to_monday_zero_offset().unsigned_abs();
        let minute = local.hour().unsigned_abs();
        let minute = u16::from(minute) * 60 + u16::from(local.minute().unsigned_abs());
        self.hours.iter().any(|hours| hours.contain(day, minute))
    }
}

/// The place of an address among those of its family.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

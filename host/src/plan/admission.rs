//! Who is let in, where the host accepts: places, rates, and rules of access. What a trigger does
//! not say is filled in so that it is safe on the open internet: one remote source never has all the
//! places.

mod rates;

use std::num::NonZeroU32;

use super::hours::Hours;
use super::quantity::limit;
use super::rules::Rules;
use super::scope::{Scope, Wrong};
use super::{Rate, hours, rules};
use crate::trigger::{self, CountOr, Field, OneOrMany, TextOr, quoted};
use rates::{rate_limit, source_rate};

/// Who is let in, where the host accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Connections of this trigger open at once; past it the kernel's backlog is the queue.
    pub connections: NonZeroU32,
    /// What one source may have; `None`: as much as all.
    pub per_source: Option<PerSource>,
    /// Connections accepted per time.
    pub rate: Option<RateLimit>,
    /// Which clients are let in at all.
    pub rules: Rules,
    /// When clients are let in; empty: always.
    pub hours: Vec<Hours>,
    /// What a client hears that is refused; at most [`BANNER_MAX`] bytes.
    pub banner: Option<String>,
    /// Whether a handler starts only when its client has sent something.
    pub defer: bool,
}

/// What one source may have. A source is an address, or a prefix of addresses that are one client's;
/// over unix, a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerSource {
    /// Connections open at once; past it they are refused.
    pub connections: NonZeroU32,
    /// Connections accepted per time; past it they are refused.
    pub rate: Option<Bucket>,
    /// Bits of an IPv4 address that make a source: 1 to 32.
    pub inet: u8,
    /// Bits of an IPv6 address that make a source: 1 to 128.
    pub inet6: u8,
    /// Whether it holds for clients of this machine, too: loopback addresses and unix sockets.
    pub local: bool,
}

/// A bound on how fast connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How fast.
    pub bucket: Bucket,
    /// What becomes of what is faster.
    pub over: Over,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// How fast it fills.
    pub rate: Rate,
    /// How much it holds: so many come at once after a while without any.
    pub burst: NonZeroU32,
}

/// What becomes of connections over a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// They wait in the kernel's backlog.
    Wait,
    /// They are accepted and closed.
    Refuse,
}

/// What fits into the send buffer of any new socket.
pub const BANNER_MAX: usize = 4096;

const CONNECTIONS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// One remote source has a tenth of the places, but always this many.
const SHARE: u32 = 10;
const SHARE_MIN: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// An address is one client's in IPv4; whoever has one in IPv6 has its whole /64.
const INET: u8 = 32;
const INET6: u8 = 64;

/// What the file says of admission, each part with its meaning.
pub(super) struct Written {
    pub connections: Option<NonZeroU32>,
    pub per_source: Option<WrittenPerSource>,
    pub rate: Option<RateLimit>,
}

/// What the file says of one source.
pub(super) enum WrittenPerSource {
    Unlimited,
    Limited {
        connections: Option<NonZeroU32>,
        rate: Option<Bucket>,
        inet: Option<u8>,
        inet6: Option<u8>,
    },
}

/// The keys beside `limits` that say who is let in.
pub(super) struct Keys {
    pub allow: Field<OneOrMany<String>>,
    pub deny: Field<OneOrMany<String>>,
    pub access_times: Field<OneOrMany<String>>,
    pub banner: Field<String>,
    pub defer: Field<bool>,
}

/// The part of `limits` that is about admission.
pub(super) fn limits(
    scope: &mut Scope<'_>,
    connections: Field<i64>,
    per_source: Field<CountOr<trigger::PerSource>>,
    rate: Field<TextOr<trigger::Rate>>,
) -> Written {
    Written {
        connections: scope.value(connections, limit),
        per_source: one_source(scope, per_source),
        rate: rate_limit(scope, rate),
    }
}

/// All of it, with what is not written filled in.
pub(super) fn read(scope: &mut Scope<'_>, written: &Written, keys: Keys) -> Admission {
    let Keys {
        allow,
        deny,
        access_times,
        banner,
        defer,
    } = keys;
    let connections = written.connections.unwrap_or(CONNECTIONS);
    Admission {
        connections,
        per_source: per_source(written.per_source.as_ref(), connections),
        rate: written.rate,
        rules: rules::read(scope, allow, deny),
        hours: hours::read(scope, access_times),
        banner: scope.value(banner, self::banner),
        defer: defer.given().unwrap_or(false),
    }
}

/// What holds when a trigger says nothing.
impl Default for Admission {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            per_source: per_source(None, CONNECTIONS),
            rate: None,
            rules: Rules::default(),
            hours: Vec::new(),
            banner: None,
            defer: false,
        }
    }
}

fn per_source(written: Option<&WrittenPerSource>, places: NonZeroU32) -> Option<PerSource> {
    let share = NonZeroU32::new(places.get() / SHARE).map_or(SHARE_MIN, |it| it.max(SHARE_MIN));
    match written {
        Some(WrittenPerSource::Unlimited) => None,
        // A proxy on this machine has the clients of many.
        None => Some(PerSource {
            connections: share,
            rate: None,
            inet: INET,
            inet6: INET6,
            local: false,
        }),
        Some(WrittenPerSource::Limited {
            connections,
            rate,
            inet,
            inet6,
        }) => Some(PerSource {
            connections: connections.unwrap_or(share),
            rate: *rate,
            inet: inet.unwrap_or(INET),
            inet6: inet6.unwrap_or(INET6),
            local: true,
        }),
    }
}

fn one_source(
    scope: &mut Scope<'_>,
    field: Field<CountOr<trigger::PerSource>>,
) -> Option<WrittenPerSource> {
    let limited = |connections| WrittenPerSource::Limited {
        connections: Some(connections),
        rate: None,
        inet: None,
        inet6: None,
    };
    let (key, written) = match field {
        Field::Given(key, written) => (key, written),
        Field::Absent | Field::Refused(_) => return None,
    };
    let span = written.span();
    match written.into_inner() {
        CountOr::Count(count) => {
            let count = toml::Spanned::new(span, count);
            scope.part(&key.path, count, limit).map(limited)
        }
        CountOr::Text(text) => {
            let text = toml::Spanned::new(span, text);
            scope.part(&key.path, text, |text| match text.as_str() {
                "unlimited" => Ok(WrittenPerSource::Unlimited),
                _ => Err(Wrong::new(
                    format!("{} is not a limit", quoted(&text)),
                    r#"write a number, "unlimited", or a table such as { connections = 20, rate = "10/s" }"#,
                )),
            })
        }
        CountOr::Table(trigger::PerSource {
            connections,
            rate,
            inet,
            inet6,
        }) => {
            let rate = source_rate(scope, rate);
            Some(WrittenPerSource::Limited {
                connections: scope.value(connections, limit),
                rate,
                inet: scope.value(inet, |bits| prefix(bits, 32)),
                inet6: scope.value(inet6, |bits| prefix(bits, 128)),
            })
        }
    }
}

fn prefix(bits: i64, most: u8) -> Result<u8, Wrong> {
    let fits = u8::try_from(bits)
        .ok()
        .filter(|bits| (1..=most).contains(bits));
    fits.ok_or_else(|| {
        Wrong::new(
            format!("{bits} is not the length of a prefix"),
            format!("how many bits of an address are one source: 1 to {most}"),
        )
    })
}

fn banner(text: String) -> Result<String, Wrong> {
    if text.is_empty() {
        return Err(Wrong::new(
            "an empty text",
            "leave the key out to say nothing",
        ));
    }
    if text.len() > BANNER_MAX {
        return Err(Wrong::new(
            format!("a text of {} bytes", text.len()),
            format!("at most {BANNER_MAX} bytes are wanted: it is sent without waiting"),
        ));
    }
    Ok(text)
}

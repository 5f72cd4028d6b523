//! Who is let in: permits over the whole host, a trigger and a source, and a rate. A permit is a
//! value that is held and dropped, never a counter kept by hand, so a handler that dies in whatever
//! way gives its place back.

mod ceiling;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::OwnedSemaphorePermit;

use crate::plan::{Admission, Rate};
use ceiling::Ceiling;

/// The places of the whole host.
#[derive(Clone, Debug)]
pub struct HostLimit {
    connections: Arc<Ceiling>,
    /// Descriptors for the files that guests open.
    files: Arc<Ceiling>,
}

/// The places of one trigger.
#[derive(Debug)]
pub struct Limits {
    host: HostLimit,
    trigger: Ceiling,
    /// Descriptors that each handler may open.
    files: u32,
    rate: Option<DefaultDirectRateLimiter>,
    per_source: Option<Arc<Sources>>,
}

/// What a connection holds while it lasts.
#[derive(Debug, Default)]
pub struct Permits {
    _places: Option<Places>,
    _source: Option<SourcePermit>,
}

/// A place in the host and in a trigger: what has to be had before a connection is accepted.
#[derive(Debug)]
pub struct Places {
    _trigger: OwnedSemaphorePermit,
    _files: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
}

impl HostLimit {
    /// Places for `connections`, and for as many `files` that their guests open.
    pub fn new(connections: NonZeroU32, files: u32) -> Self {
        Self {
            connections: Arc::new(Ceiling::new(connections.get())),
            files: Arc::new(Ceiling::new(files)),
        }
    }

    /// There are so many from now on. What is held stays held.
    pub async fn resize(&self, connections: NonZeroU32, files: u32) {
        self.connections.resize(connections.get()).await;
        self.files.resize(files).await;
    }

    /// Connections that are open.
    pub fn open(&self) -> u32 {
        self.connections.held()
    }
}

impl Limits {
    /// The limits of a trigger whose handlers open up to `files` each, in a host with these places.
    pub fn new(admission: &Admission, files: u32, host: HostLimit) -> Self {
        Self {
            host,
            files,
            trigger: Ceiling::new(admission.connections.get()),
            rate: admission.rate.map(|rate| RateLimiter::direct(quota(rate))),
            per_source: admission
                .per_source
                .map(|limit| Arc::new(Sources::new(limit))),
        }
    }

    /// Waits until one more connection may be accepted. To be asked when one is waiting, so that a
    /// trigger without clients holds no place; what is over the limit stays in the kernel's
    /// backlog, as with tcpserver, and costs the host nothing.
    pub async fn place(&self) -> Places {
        // The rate first: who waits for it must not keep a place from others.
        if let Some(rate) = &self.rate {
            while let Err(early) = rate.check() {
                tokio::time::sleep(early.wait_time_from(DefaultClock::default().now())).await;
            }
        }
        let trigger = self.trigger.take(1).await;
        let files = self.host.files.take(self.files).await;
        let host = self.host.connections.take(1).await;
        Places {
            _trigger: trigger,
            _files: files,
            _host: host,
        }
    }

    /// The same where there is nothing to wait for: `None` when there may be.
    pub fn place_at_once(&self) -> Option<Places> {
        if self.rate.is_some() {
            return None;
        }
        Some(Places {
            _trigger: self.trigger.take_at_once(1)?,
            _files: self.host.files.take_at_once(self.files)?,
            _host: self.host.connections.take_at_once(1)?,
        })
    }

    /// Turns a place into the permits of a connection from `source`, unless that holds as many as
    /// it may.
    pub fn admit(&self, places: Places, source: Source) -> Result<Permits, SourceFull> {
        let source = match &self.per_source {
            None => None,
            Some(sources) => Some(sources.take(source)?),
        };
        Ok(Permits {
            _places: Some(places),
            _source: source,
        })
    }
}

impl Permits {
    /// For a connection that no limit counts, such as a terminal.
    pub fn none() -> Self {
        Self::default()
    }
}

/// A source that holds as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceFull;

/// What counts as one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// An IPv4 address, or the /64 prefix of an IPv6 address: whoever has one has all of it.
    Inet(IpAddr),
    /// A user of this machine.
    User(u32),
}

impl Source {
    /// That of an address.
    pub fn inet(ip: IpAddr) -> Self {
        // An IPv4 client of a dual-stack listener is an IPv4 client.
        Self::Inet(match ip.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & !u128::from(u64::MAX)).into()),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// How many connections each source holds. A source without any has no entry, so the table never
/// holds more entries than there are connections.
#[derive(Debug)]
struct Sources {
    limit: NonZeroU32,
    held: Mutex<HashMap<Source, u32>>,
}

#[derive(Debug)]
struct SourcePermit {
    source: Source,
    sources: Arc<Sources>,
}

impl Sources {
    fn new(limit: NonZeroU32) -> Self {
        Self {
            limit,
            held: Mutex::default(),
        }
    }

    fn take(self: &Arc<Self>, source: Source) -> Result<SourcePermit, SourceFull> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(source).or_insert(0);
        if *count >= self.limit.get() {
            return Err(SourceFull);
        }
        *count += 1;
        Ok(SourcePermit {
            source,
            sources: self.clone(),
        })
    }
}

impl Drop for SourcePermit {
    fn drop(&mut self) {
        let mut held = self
            .sources
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = held.entry(self.source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

fn quota(rate: Rate) -> Quota {
    let each = rate.per / rate.count.get();
    Quota::with_period(each.max(Duration::from_nanos(1)))
        .expect("the period is not zero")
        .allow_burst(rate.count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(per_source: Option<u32>) -> Limits {
        let host = HostLimit::new(NonZeroU32::new(2).unwrap(), 0);
        let admission = Admission {
            connections: NonZeroU32::new(10).unwrap(),
            per_source: per_source.and_then(NonZeroU32::new),
            rate: None,
            defer: false,
        };
        Limits::new(&admission, 0, host)
    }

    fn source(address: &str) -> Source {
        Source::inet(address.parse().unwrap())
    }

    #[tokio::test]
    async fn a_place_comes_back_when_the_connection_is_dropped() {
        let limits = limits(None);
        let first = limits.place().await;
        let second = limits.place().await;
        assert_eq!(limits.host.open(), 2);
        drop((first, second));
        assert_eq!(limits.host.open(), 0);
    }

    #[tokio::test]
    async fn fewer_places_are_fewer_when_those_above_come_back() {
        let ceiling = Ceiling::new(3);
        let held = [(); 3].map(|()| ceiling.take_at_once(1).unwrap());
        ceiling.resize(1).await;
        assert_eq!(ceiling.held(), 1);
        let [first, second, third] = held;
        drop((first, second));
        tokio::task::yield_now().await;
        assert!(ceiling.take_at_once(1).is_none());
        drop(third);
        assert!(ceiling.take_at_once(1).is_some());
        ceiling.resize(2).await;
        let both = (ceiling.take(1).await, ceiling.take_at_once(1).unwrap());
        assert_eq!(ceiling.held(), 2);
        drop(both);
    }

    #[tokio::test]
    async fn an_ipv6_source_is_its_64_bit_prefix_and_leaves_no_trace() {
        let limits = limits(Some(1));
        let held = limits
            .admit(limits.place().await, source("2001:db8::1"))
            .unwrap();
        let same = limits.admit(limits.place().await, source("2001:db8::2"));
        assert_eq!(same.unwrap_err(), SourceFull);
        let other = limits
            .admit(limits.place().await, source("2001:db8:0:1::1"))
            .unwrap();
        drop((held, other));
        assert!(limits.per_source.unwrap().held.lock().unwrap().is_empty());
    }
}

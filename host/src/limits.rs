//! Who is let in, decided before anything is started: places over the whole host and a trigger, what
//! one source may have, rates, and rules of access. A permit is a value that is held and dropped, never
//! a counter kept by hand, so a handler that dies in whatever way gives its place back.

mod access;
mod bucket;
mod ceiling;
mod counters;
mod refusal;
mod source;
mod sources;
mod turns;
mod visitors;

use std::num::NonZeroU32;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::plan::{Over, PerSource, RateLimit};
use access::Access;
pub use access::Door;
use ceiling::Ceiling;
pub use counters::Counters;
pub use refusal::{Refusal, Shortage};
use source::Prefixes;
pub use source::Source;
use sources::{SourcePermit, Sources};
use turns::{Turn, Turns};
use visitors::Visitors;

/// The places of the whole host.
#[derive(Clone, Debug)]
pub struct HostLimit {
    connections: Arc<Ceiling>,
    /// Descriptors for the files that guests open.
    files: Arc<Ceiling>,
}

/// The places of one trigger, and what else bounds who is let in.
#[derive(Debug)]
pub struct Limits {
    host: HostLimit,
    trigger: Arc<Ceiling>,
    /// Descriptors that each handler may open.
    files: u32,
    /// Over it, accepting waits.
    pace: Option<Arc<Turns>>,
    /// Over it, connections are refused.
    most: Option<Arc<Turns>>,
    source: Option<OneSource>,
    access: Option<Arc<Access>>,
}

/// What one source may have.
#[derive(Debug)]
struct OneSource {
    connections: NonZeroU32,
    prefixes: Prefixes,
    /// Whether clients of this machine are bounded, too.
    local: bool,
    places: Arc<Sources>,
    rate: Option<Arc<Visitors>>,
}

/// What a connection holds while it lasts.
#[derive(Debug, Default)]
pub struct Permits {
    _places: Option<Held>,
    _source: Option<SourcePermit>,
}

/// A place in the host and in a trigger: what has to be had before a connection is accepted.
#[derive(Debug)]
pub struct Places {
    held: Held,
    turn: Option<Turn>,
}

#[derive(Debug)]
struct Held {
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
    /// What the limits `before` them have let in still counts: a reload frees nobody from a limit.
    /// There are as many places as before, until they are resized.
    pub fn new(door: &Door, files: u32, host: HostLimit, before: Option<&Self>) -> Self {
        let Door { admission, access } = door;
        let turns = |wanted| match admission.rate {
            Some(RateLimit { bucket, over }) if over == wanted => {
                let turns = before.and_then(|it| it.pace.as_ref().or(it.most.as_ref()));
                let turns = turns.filter(|turns| turns.are_of(bucket)).cloned();
                Some(turns.unwrap_or_else(|| Arc::new(Turns::new(bucket))))
            }
            _ => None,
        };
        let places = || Arc::new(Ceiling::new(admission.connections.get()));
        let one = before.and_then(|it| it.source.as_ref());
        Self {
            host,
            files,
            trigger: before.map_or_else(places, |it| it.trigger.clone()),
            pace: turns(Over::Wait),
            most: turns(Over::Refuse),
            source: admission.per_source.map(|limit| OneSource::new(limit, one)),
            access: access.clone(),
        }
    }

    /// There are so many places from now on. What is held stays held.
    pub async fn resize(&self, connections: NonZeroU32) {
        self.trigger.resize(connections.get()).await;
    }

    /// Waits until one more connection may be accepted. To be asked when one is waiting, so that a
    /// trigger without clients holds no place; what is over the limit stays in the kernel's
    /// backlog, as with tcpserver, and costs the host nothing.
    pub async fn place(&self) -> Places {
        // The rate first: who waits for it must not keep a place from others.
        let turn = match &self.pace {
            Some(pace) => Some(Turns::next(pace).await),
            None => None,
        };
        let trigger = self.trigger.take(1).await;
        let files = self.host.files.take(self.files).await;
        let host = self.host.connections.take(1).await;
        Places {
            held: Held {
                _trigger: trigger,
                _files: files,
                _host: host,
            },
            turn,
        }
    }

    /// The same where there is nothing to wait for.
    ///
    /// # Errors
    /// What there is too little of.
    pub fn place_at_once(&self) -> Result<Places, Shortage> {
        let turn = match &self.pace {
            Some(pace) => Some(Turns::take(pace).map_err(|_| Shortage::Rate)?),
            None => None,
        };
        let Self {
            host,
            trigger,
            files,
            ..
        } = self;
        Ok(Places {
            held: Held {
                _trigger: trigger.take_at_once(1).ok_or(Shortage::Connections)?,
                _files: host.files.take_at_once(*files).ok_or(Shortage::HostFiles)?,
                _host: host
                    .connections
                    .take_at_once(1)
                    .ok_or(Shortage::HostConnections)?,
            },
            turn,
        })
    }

    /// Turns a place into the permits of a connection from `source`.
    ///
    /// # Errors
    /// Why it is not to be let in. It has used up nothing then.
    pub fn admit(&self, places: Places, source: Source) -> Result<Permits, Refusal> {
        if let Some(access) = &self.access {
            access.admits(source)?;
        }
        // One that is not spent goes back.
        let most = self.most.as_ref().map(Turns::take).transpose();
        let most = most.map_err(|_| Refusal::Rate)?;
        let source = match &self.source {
            Some(one) if one.local || !source.is_local() => Some(one.admit(source)?),
            _ => None,
        };
        if let Some(most) = most {
            most.spend();
        }
        let Places { held, turn } = places;
        if let Some(turn) = turn {
            turn.spend();
        }
        Ok(Permits {
            _places: Some(held),
            _source: source,
        })
    }
}

impl OneSource {
    fn new(limit: PerSource, before: Option<&Self>) -> Self {
        let PerSource {
            connections,
            rate,
            inet,
            inet6,
            local,
        } = limit;
        let prefixes = Prefixes { inet, inet6 };
        // A source is another one when its prefix is.
        let before = before.filter(|before| before.prefixes == prefixes);
        Self {
            connections,
            prefixes,
            local,
            places: before.map_or_else(Arc::default, |before| before.places.clone()),
            rate: rate.map(|bucket| {
                let rate = before.and_then(|before| before.rate.clone());
                let rate = rate.filter(|rate| rate.are_of(bucket));
                rate.unwrap_or_else(|| Arc::new(Visitors::new(bucket)))
            }),
        }
    }

    fn admit(&self, source: Source) -> Result<SourcePermit, Refusal> {
        let key = self.prefixes.key(source);
        let permit = Sources::take(&self.places, key, self.connections);
        let permit = permit.ok_or(Refusal::PerSource)?;
        match &self.rate {
            Some(rate) if !rate.take(key) => Err(Refusal::SourceRate),
            _ => Ok(permit),
        }
    }
}

impl Permits {
    /// For a connection that no limit counts, such as a terminal.
    pub fn none() -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests;

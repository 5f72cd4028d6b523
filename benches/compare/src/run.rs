//! One run of a load against a server, as figures.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::client::Faults;
use crate::spread::short;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Connections, messages or MB per second.
    Rate,
    /// Microseconds of the server's processor time for each of them.
    Cpu,
    /// Microseconds that half of the answers took at most, and 99 in 100.
    P50,
    P99,
    /// KiB of the server for each idle connection.
    Memory,
    /// Share of the idle connections that answered again.
    Answering,
    /// Milliseconds until a server listens.
    Start,
}

impl Figure {
    pub const ALL: [Self; 7] = {
        use Figure::{Answering, Cpu, Memory, P50, P99, Rate, Start};
        [Rate, Cpu, P50, P99, Memory, Answering, Start]
    };

    /// Its name, and what stands behind its numbers.
    pub fn words(self) -> [&'static str; 2] {
        match self {
            Self::Rate => ["rate", "/s"],
            Self::Cpu => ["server CPU", " µs"],
            Self::P50 => ["p50", " µs"],
            Self::P99 => ["p99", " µs"],
            Self::Memory => ["memory", " KiB"],
            Self::Answering => ["answering", " of all"],
            Self::Start => ["start", " ms"],
        }
    }
}

/// How long runs take.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Unmeasured, before connections are measured.
    pub warm_up: Duration,
    pub window: Duration,
    /// How long idle connections are left alone before memory is read.
    pub hold: Duration,
    /// What numbers of idle connections are divided by.
    pub fewer: usize,
}

#[derive(Clone, Debug)]
pub struct Run {
    pub figures: BTreeMap<Figure, f64>,
    /// What went wrong with single connections.
    pub faults: Faults,
}

impl Run {
    /// Of so many units in all, which cost the server `cpu`.
    pub fn new(rate: f64, units: f64, cpu: Duration, faults: Faults) -> Self {
        let cpu = cpu.as_secs_f64() * 1e6 / units;
        let mut figures = BTreeMap::from([(Figure::Rate, rate), (Figure::Cpu, cpu)]);
        figures.retain(|_, value| value.is_finite());
        Self { figures, faults }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (figure, value) in &self.figures {
            let [name, unit] = figure.words();
            write!(f, " {name} {}{unit}", short(*value))?;
        }
        self.faults
            .iter()
            .try_for_each(|(fault, count)| write!(f, ", {count} {fault}"))
    }
}

//! What comes of asking again and again until the time is over.

use std::time::Duration;

use tokio::time::Instant;

use super::{Fault, Faults};
use crate::run::{Figure, Run};
use crate::spread::quantile;

pub struct Tally {
    end: Instant,
    in_time: u32,
    /// Of those that came after the end as well: what they cost is measured with the others.
    micros: Vec<f64>,
    faults: Faults,
}

impl Tally {
    pub fn until(end: Instant) -> Self {
        Self {
            end,
            in_time: 0,
            micros: Vec::new(),
            faults: Faults::new(),
        }
    }

    /// Notes what came of a question that was asked at `begun`.
    pub fn note<T>(&mut self, begun: Instant, answer: &Result<T, Fault>) {
        let now = Instant::now();
        match answer {
            Ok(_) => {
                self.in_time += u32::from(now <= self.end);
                self.micros.push((now - begun).as_secs_f64() * 1e6);
            }
            Err(fault) => *self.faults.entry(*fault).or_default() += 1,
        }
    }

    /// As figures, if all that cost the server this much.
    pub fn run(mut self, window: Duration, cpu: Duration) -> Run {
        let rate = f64::from(self.in_time) / window.as_secs_f64();
        let mut run = Run::new(rate, self.micros.len() as f64, cpu, self.faults);
        self.micros.sort_by(f64::total_cmp);
        for (figure, share) in [(Figure::P50, 0.5), (Figure::P99, 0.99)] {
            run.figures
                .extend(quantile(&self.micros, share).map(|micros| (figure, micros)));
        }
        run
    }
}

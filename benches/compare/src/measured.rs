//! What all runs gave, and the ratios within the rounds.

use std::collections::BTreeSet;

use crate::load::Load;
use crate::peer::Peer;
use crate::run::{Figure, Run};
use crate::spread::mean;

/// All runs in their order; the reference has two in each round.
#[derive(Default)]
pub struct Measured(Vec<(u32, Load, Peer, Result<Run, String>)>);

impl Measured {
    pub fn add(&mut self, round: u32, load: Load, peer: Peer, run: Result<Run, String>) {
        self.0.push((round, load, peer, run));
    }

    /// What was measured under which load.
    pub fn each(&self) -> BTreeSet<(Load, Peer)> {
        self.0
            .iter()
            .map(|&(_, load, peer, _)| (load, peer))
            .collect()
    }

    pub fn runs(
        &self,
        load: Load,
        peer: Peer,
    ) -> impl Iterator<Item = (u32, &Result<Run, String>)> {
        let of = move |run: &&(u32, Load, Peer, _)| (run.1, run.2) == (load, peer);
        self.0
            .iter()
            .filter(of)
            .map(|(round, _, _, run)| (*round, run))
    }

    /// With the round of each.
    pub fn figures(&self, load: Load, peer: Peer, figure: Figure) -> Vec<(u32, f64)> {
        let of = |run: &Result<Run, String>| run.as_ref().ok()?.figures.get(&figure).copied();
        self.runs(load, peer)
            .filter_map(|(round, run)| Some((round, of(run)?)))
            .collect()
    }

    /// To what the other had in the same round, in the mean.
    pub fn ratios(&self, load: Load, peer: Peer, other: Peer, figure: Figure) -> Vec<f64> {
        let others = self.figures(load, other, figure);
        let ratio = |(round, value)| {
            let same = others.iter().filter(|(other, _)| *other == round);
            let other = mean(&same.map(|(_, value)| *value).collect::<Vec<_>>())?;
            (other > 0.0).then(|| value / other)
        };
        self.figures(load, peer, figure)
            .into_iter()
            .filter_map(ratio)
            .collect()
    }

    /// The reference against itself: its second run of a round as a ratio to the first.
    pub fn noise(&self, load: Load, figure: Figure) -> Vec<f64> {
        let runs = self.figures(load, Peer::TokioEcho, figure);
        let pairs = runs.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        pairs.map(|pair| pair[1].1 / pair[0].1).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load::Conns(32);

    fn add(measured: &mut Measured, round: u32, peer: Peer, rate: f64) {
        let run = Run {
            figures: [(Figure::Rate, rate)].into(),
            faults: [].into(),
        };
        measured.add(round, LOAD, peer, Ok(run));
    }

    #[test]
    fn a_ratio_stays_within_its_round() {
        let mut measured = Measured::default();
        for (round, before, rate, after) in [(0, 80.0, 50.0, 120.0), (1, 8.0, 20.0, 12.0)] {
            add(&mut measured, round, Peer::TokioEcho, before);
            add(&mut measured, round, Peer::P1, rate);
            add(&mut measured, round, Peer::TokioEcho, after);
        }
        // What failed in a round has no ratio in it.
        add(&mut measured, 2, Peer::TokioEcho, 10.0);
        measured.add(2, LOAD, Peer::P1, Err("it has ended".to_owned()));
        let ratios = |other, figure| measured.ratios(LOAD, Peer::P1, other, figure);
        assert_eq!(ratios(Peer::TokioEcho, Figure::Rate), [0.5, 2.0]);
        assert_eq!(ratios(Peer::Nsjail, Figure::Rate), []);
        assert_eq!(ratios(Peer::TokioEcho, Figure::Cpu), []);
        assert_eq!(measured.noise(LOAD, Figure::Rate), [1.5, 1.5]);
    }

    #[test]
    fn nothing_is_no_reference() {
        let mut measured = Measured::default();
        add(&mut measured, 0, Peer::Tcpserver, 0.0);
        add(&mut measured, 0, Peer::P1, 5.0);
        assert_eq!(
            measured.ratios(LOAD, Peer::P1, Peer::Tcpserver, Figure::Rate),
            []
        );
    }
}

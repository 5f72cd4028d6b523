//! What came of a row.

use std::collections::BTreeSet;

use crate::load::Load;
use crate::measured::Measured;
use crate::peer::Peer;
use crate::row::{Goal, Row};
use crate::run::Figure;
use crate::spread::{Spread, short};

#[derive(Debug)]
pub struct Outcome<'a> {
    pub row: &'a Row,
    /// As it was: --quick has less.
    pub load: Load,
    /// Over the rounds, of the figure or of its ratio; nothing when it could not be had.
    pub spread: Option<Spread>,
    /// Where something was promised and it can be told. What goes wrong with the subject breaks it.
    pub met: Option<bool>,
    /// The figures behind a ratio, and what went wrong.
    pub remark: String,
}

impl<'a> Outcome<'a> {
    pub fn of(row: &'a Row, load: Load, measured: &Measured) -> Self {
        let [_, unit] = row.figure.words();
        let mut remarks = trouble(measured, load, row.subject);
        let broken = !remarks.is_empty();
        let own = spread(measured, load, row.subject, row.figure);
        let spread = match row.beside {
            None => own,
            Some(other) => {
                let theirs = spread(measured, load, other, row.figure);
                remarks.extend(trouble(measured, load, other));
                remarks.extend(own.zip(theirs).map(|(own, theirs)| {
                    let [own, theirs] = [own, theirs].map(|spread| short(spread.median));
                    format!("{own} against {theirs}{unit}")
                }));
                Spread::of(measured.ratios(load, row.subject, other, row.figure))
            }
        };
        let met = if broken {
            row.goal.met(f64::NAN)
        } else {
            spread.and_then(|spread| row.goal.met(spread.median))
        };
        let remark = remarks.join("; ");
        Self {
            row,
            load,
            spread,
            met,
            remark,
        }
    }

    /// What was measured, in words.
    pub fn what(&self) -> String {
        let ([figure, _], peer) = (self.row.figure.words(), self.row.subject.name());
        format!("{figure} of {peer}, {}", self.load)
    }

    /// What came of it, in words.
    pub fn measured(&self, told: impl Fn(Spread) -> String) -> String {
        match self.spread {
            Some(spread) => told(spread),
            None if self.met.is_some() => "failed".to_owned(),
            None => "not measured".to_owned(),
        }
    }

    /// What was promised, in words.
    pub fn goal(&self) -> String {
        let [_, unit] = self.row.figure.words();
        let ratio = |other: Peer| format!(" × {}", other.name());
        let unit = self.row.beside.map_or(unit.to_owned(), ratio);
        match self.row.goal {
            Goal::AtMost(most) => format!("≤ {most}{unit}"),
            Goal::AtLeast(least) => format!("≥ {least}{unit}"),
            Goal::Within(margin) => format!("(1 ± {margin}){unit}"),
            Goal::Open => unit.trim_start().to_owned(),
        }
    }
}

/// A figure over the rounds.
pub fn spread(measured: &Measured, load: Load, peer: Peer, figure: Figure) -> Option<Spread> {
    let figures = measured.figures(load, peer, figure);
    Spread::of(figures.into_iter().map(|(_, value)| value).collect())
}

/// Why a server could not be measured, and what went wrong with single connections, each once.
fn trouble(measured: &Measured, load: Load, peer: Peer) -> Vec<String> {
    let mut trouble = BTreeSet::new();
    for (_, run) in measured.runs(load, peer) {
        match run {
            Ok(run) => trouble.extend(
                run.faults
                    .iter()
                    .map(|(fault, count)| format!("{count} {fault}")),
            ),
            Err(failure) => trouble.extend([failure.clone()]),
        }
    }
    trouble
        .into_iter()
        .map(|trouble| format!("{}: {trouble}", peer.name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Fault;
    use crate::row::TABLE;
    use crate::run::Run;

    fn ran(cpu: f64) -> Run {
        Run {
            figures: [(Figure::Cpu, cpu)].into(),
            faults: [].into(),
        }
    }

    /// The first row wants of a guest no more than the reference takes.
    fn outcome(subject: Result<Run, &str>, reference: Result<Run, &str>) -> Outcome<'static> {
        let mut measured = Measured::default();
        let row = &TABLE[0];
        measured.add(0, row.load, row.subject, subject.map_err(str::to_owned));
        measured.add(
            0,
            row.load,
            Peer::TokioEcho,
            reference.map_err(str::to_owned),
        );
        Outcome::of(row, row.load, &measured)
    }

    #[test]
    fn a_promise_is_kept_by_the_ratio() {
        let kept = outcome(Ok(ran(45.0)), Ok(ran(50.0)));
        assert_eq!(
            (kept.met, &*kept.remark),
            (Some(true), "45.0 against 50.0 µs")
        );
        assert_eq!(outcome(Ok(ran(55.0)), Ok(ran(50.0))).met, Some(false));
    }

    #[test]
    fn faults_break_a_promise_that_figures_keep() {
        let mut faulty = ran(45.0);
        faulty.faults.insert(Fault::Reset, 1);
        let broken = outcome(Ok(faulty.clone()), Ok(ran(50.0)));
        assert_eq!(
            (broken.met, &*broken.remark),
            (Some(false), "p1 guest in C: 1 reset; 45.0 against 50.0 µs")
        );
        // Those of others do not.
        assert_eq!(outcome(Ok(ran(45.0)), Ok(faulty)).met, Some(true));
    }

    #[test]
    fn who_fails_has_no_figure_and_a_reason() {
        let failed = outcome(Err("it has ended"), Ok(ran(50.0)));
        assert_eq!(
            (failed.spread, failed.met, &*failed.remark),
            (None, Some(false), "p1 guest in C: it has ended")
        );
        let alone = outcome(Ok(ran(45.0)), Err("not installed"));
        assert_eq!(
            (alone.spread, alone.met, &*alone.remark),
            (None, None, "tokio-echo: not installed")
        );
    }
}

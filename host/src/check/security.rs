//! What the handlers of a plan could still reach if somebody took them over, and the host itself, in words and with a
//! number, as `systemd-analyze security` has it. Told from the plan alone: nothing is loaded, and no system asked.

mod clients;
mod handler;
mod host;

use std::fmt::{self, Display, Formatter};

use crate::plan::Plan;

/// One thing that was looked at.
struct Finding {
    /// What about, in a word.
    about: &'static str,
    /// How much it counts: those of one report make 100.
    weight: u32,
    /// How bad it is, from 0 to 100.
    badness: u32,
    /// What it is.
    words: String,
}

/// All that was found about one handler, or about the host.
struct Report {
    name: String,
    findings: Vec<Finding>,
}

/// An exposure, from 0 to 10, in hundredths.
#[derive(Clone, Copy)]
struct Exposure(u32);

impl Finding {
    fn new(about: &'static str, weight: u32, badness: u32, words: impl Into<String>) -> Self {
        Self {
            about,
            weight,
            badness: badness.min(100),
            words: words.into(),
        }
    }

    fn exposure(&self) -> Exposure {
        Exposure(self.weight * self.badness / 10)
    }
}

impl Report {
    fn exposure(&self) -> Exposure {
        Exposure(
            self.findings
                .iter()
                .map(|it| it.weight * it.badness)
                .sum::<u32>()
                / 10,
        )
    }
}

impl Exposure {
    /// The words that systemd has, with its bounds.
    fn word(self) -> &'static str {
        match self.0 {
            900.. => "UNSAFE",
            750.. => "EXPOSED",
            500.. => "MEDIUM",
            _ => "OK",
        }
    }
}

impl Display for Exposure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 + 5) / 10;
        write!(f, "{}.{}", tenths / 10, tenths % 10)
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let exposure = self.exposure();
        writeln!(f, "{}: exposure {exposure} {}", self.name, exposure.word())?;
        for finding in &self.findings {
            let Finding { about, words, .. } = finding;
            writeln!(f, "  {}  {about:<9} {words}", finding.exposure())?;
        }
        Ok(())
    }
}

/// The host, and each of its triggers, as blocks of lines.
#[must_use]
pub fn report(plan: &Plan) -> impl Display {
    fmt::from_fn(|f| {
        host::report(plan).fmt(f)?;
        for trigger in &plan.triggers {
            for report in handler::reports(plan, trigger) {
                write!(f, "\n{report}")?;
            }
        }
        Ok(())
    })
}

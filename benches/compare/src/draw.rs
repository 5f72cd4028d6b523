//! The rows as a picture: how far what was measured is from what was promised.

use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::outcome::Outcome;
use crate::spread::short;

const LINE: i32 = 22;
const ABOVE: i32 = 56;
const WIDTH: u32 = 1180;

/// The axis, in pixels and in its values, which are logarithmic.
const AXIS: (i32, i32) = (480, 880);
const FAR: f64 = 10.0;

const MET: RGBColor = RGBColor(0x2e, 0x7d, 0x32);
const MISSED: RGBColor = RGBColor(0xc6, 0x28, 0x28);
const FAINT: RGBColor = RGBColor(0xbd, 0xbd, 0xbd);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// As SVG, without the rows of which nothing was promised.
pub fn rows(outcomes: &[Outcome], file: &Path) -> anyhow::Result<()> {
    let promised = |outcome: &&Outcome| outcome.row.goal.met(1.0).is_some();
    let outcomes: Vec<_> = outcomes.iter().filter(promised).collect();
    let height = ABOVE + LINE * i32::try_from(outcomes.len())? + LINE / 2;
    let area = SVGBackend::new(file, (WIDTH, height.cast_unsigned())).into_drawing_area();
    draw(&area, &outcomes, height).map_err(|error| anyhow!("draw {}: {error}", file.display()))
}

fn draw<'a>(area: &Area<'a>, outcomes: &[&Outcome], height: i32) -> Drawn<'a> {
    area.fill(&WHITE)?;
    let title = "From what was promised to what was measured: median, lowest and highest";
    text(area, title, (AXIS.0, 14), HPos::Left, BLACK)?;
    let marks = [
        (1.0 / FAR, "10 × better"),
        (1.0, "as promised"),
        (FAR, "10 × worse"),
    ];
    for (x, label) in marks.map(|(distance, label)| (across(distance), label)) {
        let line = [(x, ABOVE - 12), (x, height - LINE / 2)];
        area.draw(&PathElement::new(line, FAINT))?;
        text(area, label, (x, ABOVE - 22), HPos::Center, BLACK)?;
    }
    for (outcome, y) in outcomes.iter().zip((ABOVE..).step_by(22)) {
        let colour = if outcome.met == Some(true) {
            MET
        } else {
            MISSED
        };
        text(area, &outcome.what(), (AXIS.0 - 12, y), HPos::Right, BLACK)?;
        if let Some(spread) = outcome.spread {
            let x = |value| outcome.row.goal.distance(value).map_or(AXIS.0, across);
            let range = [(x(spread.low), y), (x(spread.high), y)];
            area.draw(&PathElement::new(range, colour.stroke_width(2)))?;
            area.draw(&Circle::new((x(spread.median), y), 4, colour.filled()))?;
        }
        let measured = outcome.measured(|spread| short(spread.median));
        let told = format!("{measured}; goal {}", outcome.goal());
        text(area, &told, (AXIS.1 + 12, y), HPos::Left, colour)?;
    }
    area.present()
}

/// Where on the axis; what is beyond it is at its end.
#[allow(clippy::cast_possible_truncation, reason = "pixels")]
fn across(distance: f64) -> i32 {
    let share = f64::midpoint(distance.clamp(1.0 / FAR, FAR).log(FAR), 1.0);
    AXIS.0 + (share * f64::from(AXIS.1 - AXIS.0)).round() as i32
}

fn text<'a>(area: &Area<'a>, words: &str, at: (i32, i32), side: HPos, ink: RGBColor) -> Drawn<'a> {
    let style = TextStyle::from(("sans-serif", 15)).color(&ink);
    let style = style.pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(words.to_owned(), at, style))
}

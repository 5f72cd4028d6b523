//! What is wrong in a trigger file, shown as a compiler shows it: the place, the line with the part
//! that is meant, and what would be right. The text comes from a file that may be hostile, so
//! nothing of it reaches the terminal that is not a visible character, and nothing at full length.

use std::fmt;
use std::sync::Arc;

use super::source::{Source, Span};
use crate::terminal::is_obeyed;

/// Beyond this many, problems are counted and no longer kept: they have one cause.
const PROBLEMS_MAX: usize = 100;

/// Characters shown of a line; longer ones are cut around the column.
const LINE_MAX: usize = 100;

/// Characters shown of a message or a help line.
const MESSAGE_MAX: usize = 600;

/// One thing that is wrong, and where. Its `Display` is several lines, without a newline at the end.
#[derive(Clone, Debug)]
pub struct Problem {
    source: Arc<Source>,
    span: Span,
    message: String,
    help: Vec<String>,
    other: Option<(String, Arc<Source>, Span)>,
}

impl Problem {
    /// Adds a line on what would be right.
    pub fn help(&mut self, line: impl Into<String>) -> &mut Self {
        self.help.push(line.into());
        self
    }

    /// Adds a second place, and what is there.
    pub fn see(&mut self, what: impl Into<String>, source: &Arc<Source>, span: &Span) -> &mut Self {
        self.other = Some((what.into(), Arc::clone(source), span.clone()));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, column) = self.source.place(self.span.start);
        let name = printable(self.source.name(), MESSAGE_MAX);
        writeln!(
            f,
            "{name}:{number}:{column}: {}",
            printable(&self.message, MESSAGE_MAX)
        )?;

        let gutter = number.to_string().len();
        let length = self
            .source
            .text()
            .get(self.span.clone())
            .map_or(0, |part| part.chars().count());
        let (line, before, marked) = cut(self.source.line(number), column - 1, length);
        writeln!(f, " {:gutter$} |", "")?;
        writeln!(f, " {number} | {line}")?;
        write!(f, " {:gutter$} | {:before$}{}", "", "", "^".repeat(marked))?;
        for line in &self.help {
            write!(f, "\n {:gutter$} = {}", "", printable(line, MESSAGE_MAX))?;
        }
        if let Some((what, source, span)) = &self.other {
            let (number, column) = source.place(span.start);
            let name = printable(source.name(), MESSAGE_MAX);
            let what = printable(what, MESSAGE_MAX);
            write!(f, "\n {:gutter$} = {what}: {name}:{number}:{column}", "")?;
        }
        Ok(())
    }
}

/// All that is wrong in one or several files. Its `Display` is the whole report, in the order of the
/// files, without a newline at the end.
#[derive(Clone, Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    more: usize,
}

impl Problems {
    /// Adds one.
    pub fn add(
        &mut self,
        source: &Arc<Source>,
        span: &Span,
        message: impl Into<String>,
    ) -> &mut Problem {
        let problem = Problem {
            source: Arc::clone(source),
            span: span.clone(),
            message: message.into(),
            help: Vec::new(),
            other: None,
        };
        if self.found.len() <= PROBLEMS_MAX {
            self.found.push(problem);
        } else {
            // The place behind the last one that is shown takes what is only counted.
            self.more += 1;
            self.found[PROBLEMS_MAX] = problem;
        }
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many things are wrong.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.len() + self.more
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown: Vec<&Problem> = self.found.iter().take(PROBLEMS_MAX).collect();
        shown.sort_by(|a, b| (a.source.name(), a.span.start).cmp(&(b.source.name(), b.span.start)));
        for (index, problem) in shown.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n\n" })?;
        }
        match self.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, "\n\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// The part of a line around a column (from 0), how far right the column stands in it, and how many
/// cells the `length` characters from there take.
fn cut(line: &str, column: usize, length: usize) -> (String, usize, usize) {
    let total = line.chars().count();
    let start = if total <= LINE_MAX {
        0
    } else {
        column.saturating_sub(LINE_MAX / 3).min(total - LINE_MAX)
    };
    let mut shown = String::from(if start > 0 { "..." } else { "" });
    let (mut before, mut marked) = (shown.len(), 0);
    for (index, c) in line.chars().enumerate().skip(start).take(LINE_MAX) {
        let text = printable(c.encode_utf8(&mut [0; 4]), 1);
        let cells = text.chars().count();
        if index < column {
            before += cells;
        } else if index < column + length {
            marked += cells;
        }
        shown.push_str(&text);
    }
    if start + LINE_MAX < total {
        shown.push_str("...");
    }
    (shown, before, marked.max(1))
}

/// A text as it may be shown: the first `max` characters, each of them visible and in its place.
#[must_use]
pub fn printable(text: &str, max: usize) -> String {
    let mut shown = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == max {
            shown.push_str("...");
            break;
        }
        match c {
            '\t' if max == 1 => shown.push_str("    "),
            _ if c.is_control() => shown.extend(c.escape_debug()),
            _ if is_obeyed(c) => shown.extend(c.escape_unicode()),
            _ => shown.push(c),
        }
    }
    shown
}

/// A word of the file within a message, at no more than the length that a message can carry.
#[must_use]
pub fn quoted(text: &str) -> String {
    match printable(text, 60).as_str() {
        "" => r#""""#.to_owned(),
        text => format!("`{text}`"),
    }
}

/// A help line that names the word most like a mistaken one, if one is like it.
pub fn did_you_mean<'a>(
    mistaken: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    // Distances are quadratic, and what is this long is no slip of the finger.
    if mistaken.len() > 40 {
        return None;
    }
    let lower = mistaken.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|word| {
            (
                strsim::damerau_levenshtein(&lower, &word.to_lowercase()),
                word,
            )
        })
        .filter(|(distance, word)| *distance <= 1.max(word.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| format!("did you mean `{word}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, span: Span) -> String {
        let mut problems = Problems::default();
        problems
            .add(&Source::new("t.toml", "/srv", text), &span, "wrong")
            .help("be right");
        problems.to_string()
    }

    #[test]
    fn a_problem_shows_its_line_and_marks_its_part() {
        assert_eq!(
            report("a = 1\r\nbc = 2\r\n", 7..9),
            "t.toml:2:1: wrong\n   |\n 2 | bc = 2\n   | ^^\n   = be right"
        );
    }

    #[test]
    fn the_end_of_the_file_is_a_place_too() {
        assert_eq!(
            report("", 0..0),
            "t.toml:1:1: wrong\n   |\n 1 | \n   | ^\n   = be right"
        );
        assert!(report("a\n", 2..2).starts_with("t.toml:2:1: "));
        assert!(report("a", 5..9).starts_with("t.toml:1:2: "));
    }

    #[test]
    fn control_characters_and_tabs_keep_the_mark_in_its_place() {
        assert_eq!(
            report("\t\u{1b}[31m = \u{202e}x", 9..13),
            "t.toml:1:10: wrong\n   |\n 1 |     \\u{1b}[31m = \\u{202e}x\n   |                  ^^^^^^^^^\n   = be right"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let text = format!("{}MARK{}", "a".repeat(5000), "b".repeat(5000));
        let report = report(&text, 5000..5004);
        assert!(report.lines().all(|line| line.len() < 130), "{report}");
        assert!(report.contains("aaaMARKbbb"), "{report}");
        let column = report.lines().nth(3).unwrap().find('^').unwrap();
        assert!(
            report.lines().nth(2).unwrap()[column..].starts_with("MARKb"),
            "{report}"
        );
    }

    #[test]
    fn past_a_hundred_problems_they_are_only_counted() {
        let source = Source::new("t.toml", "/srv", "x");
        let mut problems = Problems::default();
        for _ in 0..250 {
            problems.add(&source, &(0..1), "wrong").help("be right");
        }
        assert_eq!(problems.len(), 250);
        let report = problems.to_string();
        assert_eq!(report.matches(": wrong").count(), 100);
        assert!(report.ends_with("\n\nand 150 more"), "{report}");
    }
}

//! Lines for people: when, how serious, the verb, and the fields as `name=value`. What
//! tracing-subscriber makes of the same takes eight times as long, and each connection has a line.

use std::fmt::{self, Debug, Write as _};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::terminal::is_obeyed;

/// The format.
pub(super) struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = humantime::format_rfc3339_micros(SystemTime::now());
        write!(line, "{now} {:>5}", event.metadata().level().as_str())?;
        let mut fields = Fields {
            line: &mut line,
            written: Ok(()),
        };
        event.record(&mut fields);
        fields.written?;
        line.write_char('\n')
    }
}

struct Fields<'a, 'w> {
    line: &'a mut Writer<'w>,
    written: fmt::Result,
}

impl Fields<'_, '_> {
    fn name(&mut self, field: &Field) -> fmt::Result {
        self.line.write_char(' ')?;
        // The verb.
        if field.name() == "message" {
            return Ok(());
        }
        self.line.write_str(field.name())?;
        self.line.write_char('=')
    }
}

impl Visit for Fields<'_, '_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.written = self.written.and_then(|()| {
            self.name(field)?;
            write!(self.line, "{value}")
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.written = self.written.and_then(|()| {
            self.name(field)?;
            write!(Escaping(self.line), "{value:?}")
        });
    }
}

/// Writes what changes how a line is shown as what it is and not as what it does: anybody's text may be among
/// the fields, and a terminal may show the line.
struct Escaping<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if !text.chars().any(is_obeyed) {
            return self.0.write_str(text);
        }
        for c in text.chars() {
            if is_obeyed(c) {
                write!(self.0, "{}", c.escape_default())?;
            } else {
                self.0.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let mut line = String::new();
        let mut writer = Writer::new(&mut line);
        write!(Escaping(&mut writer), "{text}").unwrap();
        line
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let line = shown("a\x1b[2J\u{9b}b\nc é\u{202e}d\u{2028}e");
        assert_eq!(line, "a\\u{1b}[2J\\u{9b}b\\nc é\\u{202e}d\\u{2028}e");
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_one_line_and_nothing_is_left_out(
            text in "(\\PC|[\\x00-\\x1f\\x7f-\\u{9f}]|.){0,40}"
        ) {
            let line = shown(&text);
            prop_assert!(!line.chars().any(is_obeyed), "{line:?}");
            for word in text.split(is_obeyed) {
                prop_assert!(line.contains(word), "{line:?}");
            }
        }
    }
}

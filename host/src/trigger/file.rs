//! The top of a trigger file: TOML into `[host]` and the triggers, in the order of the file.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Problems, did_you_mean, quoted};
use super::reader::{At, Field, Key, Mismatch, Shape as _};
use super::source::{Source, Span};
use super::{Host, Trigger, TriggerFile};

impl TriggerFile {
    /// Reads a text and reports all that can be found wrong with its shape. `None`: it is not TOML.
    pub fn read(source: Arc<Source>, problems: &mut Problems) -> Option<Self> {
        let text = Arc::clone(&source);
        let table = match DeTable::parse(text.text()) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let end = text.text().len();
                problems.add(
                    &source,
                    &error.span().unwrap_or(end..end),
                    error.message().trim_end_matches(", expected nothing"),
                );
                return None;
            }
        };
        let top = At {
            source: &source,
            owner: "the file",
            path: String::new(),
            span: 0..0,
        };
        let mut host = Field::Absent;
        let mut triggers = Vec::new();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "host" => host = read_host(&key.span(), value, &top, problems),
                "trigger" => triggers = read_triggers(value, &top, problems),
                name => {
                    let message = format!("unknown key {} at the top of the file", quoted(name));
                    let help = did_you_mean(name, ["host", "trigger"])
                        .unwrap_or_else(|| "allowed: [host], [trigger.NAME]".to_owned());
                    problems.add(&source, &key.span(), message).help(help);
                }
            }
        }
        Some(Self {
            source,
            host,
            triggers,
        })
    }
}

fn read_host(
    key: &Span,
    value: Spanned<DeValue<'_>>,
    top: &At<'_>,
    problems: &mut Problems,
) -> Field<Host> {
    let key = Key {
        path: "host".to_owned(),
        span: key.clone(),
    };
    let at = At {
        source: top.source,
        owner: "`[host]`",
        path: String::new(),
        span: value.span(),
    };
    match Host::read(value.into_inner(), &at, problems) {
        Ok(host) => Field::Given(key, Spanned::new(at.span, host)),
        Err(Mismatch::Within) => Field::Refused(key),
        Err(Mismatch::Is(kind)) => {
            problems.add(
                at.source,
                &at.span,
                format!("`host` is {kind}; a table is wanted, `[host]`"),
            );
            Field::Refused(key)
        }
    }
}

fn read_triggers(
    value: Spanned<DeValue<'_>>,
    top: &At<'_>,
    problems: &mut Problems,
) -> Vec<Trigger> {
    let mut triggers = Vec::new();
    let span = value.span();
    let DeValue::Table(tables) = value.into_inner() else {
        problems
            .add(top.source, &span, "`trigger` is not a table")
            .help("a trigger is written `[trigger.NAME]`");
        return triggers;
    };
    for (name, value) in tables {
        let owner = format!("trigger {}", quoted(name.get_ref()));
        let at = At {
            source: top.source,
            owner: &owner,
            path: String::new(),
            span: value.span(),
        };
        match Trigger::read(value.into_inner(), &at, problems) {
            Ok(mut trigger) => {
                trigger.name = Spanned::new(name.span(), name.into_inner().into_owned());
                triggers.push(trigger);
            }
            Err(Mismatch::Within) => {}
            Err(Mismatch::Is(kind)) => {
                problems
                    .add(
                        at.source,
                        &at.span,
                        format!("{owner} is {kind}; a table is wanted"),
                    )
                    .help("a trigger is written `[trigger.NAME]`");
            }
        }
    }
    triggers.sort_by_key(|trigger| trigger.name.span().start);
    triggers
}

//! Rates of connections: how fast, how many at once, and what becomes of those that come faster.

use toml::Spanned;

use super::{Bucket, Over, RateLimit};
use crate::plan::quantity::{limit, rate};
use crate::plan::scope::{Scope, Wrong};
use crate::trigger::{self, Field, TextOr, quoted};

/// A rate of one source. Its connections cannot wait: all sources share one backlog, so whoever
/// waited there would have the others wait behind it, and one that waited accepted would hold a
/// descriptor that it is not to have.
pub(super) fn source_rate(
    scope: &mut Scope<'_>,
    field: Field<TextOr<trigger::Rate>>,
) -> Option<Bucket> {
    let waits = match &field {
        Field::Given(_, rate) => match rate.get_ref() {
            TextOr::Table(trigger::Rate {
                over: Field::Given(key, over),
                ..
            }) if over.get_ref() == "wait" => Some(key.clone()),
            _ => None,
        },
        _ => None,
    };
    if let Some(key) = waits {
        scope.refuse(
            &key,
            "cannot be \"wait\"",
            "all sources share one queue: who waited in it would have the others wait behind it. A source over its rate is refused; leave `over` out",
        );
    }
    rate_limit(scope, field).map(|limit| limit.bucket)
}

/// A rate of all connections.
pub(super) fn rate_limit(
    scope: &mut Scope<'_>,
    field: Field<TextOr<trigger::Rate>>,
) -> Option<RateLimit> {
    let Field::Given(key, written) = field else {
        return None;
    };
    let span = written.span();
    let (limit, burst, over) = match written.into_inner() {
        TextOr::Text(text) => {
            let text = Spanned::new(span, text);
            let limit = scope.part(&key.path, text, |text| rate(&text));
            (limit, None, Over::Wait)
        }
        TextOr::Table(trigger::Rate { limit, burst, over }) => {
            if !limit.is_written() {
                let help = r#"write how fast, such as { limit = "50/s", burst = 100 }"#;
                scope.refuse(&key, "has no `limit`", help);
            }
            let limit = scope.text(limit, rate);
            let burst = scope.value(burst, self::limit);
            let over = scope.text(over, self::over).unwrap_or(Over::Wait);
            (limit, burst, over)
        }
    };
    let rate = limit?;
    let bucket = Bucket {
        rate,
        burst: burst.unwrap_or(rate.count),
    };
    Some(RateLimit { bucket, over })
}

fn over(text: &str) -> Result<Over, Wrong> {
    match text {
        "wait" => Ok(Over::Wait),
        "refuse" => Ok(Over::Refuse),
        _ => Err(Wrong::new(
            format!("{} is not what becomes of connections", quoted(text)),
            r#"they "wait" in the backlog, or the host will "refuse" them"#,
        )),
    }
}

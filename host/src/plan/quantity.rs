//! How much and how often: counts, durations, sizes, rates and octal bits from their words. A bound
//! of nothing is refused here, because it would refuse everybody and is never what was meant.

use std::num::NonZeroU32;
use std::time::Duration;

use bytesize::ByteSize;

use super::Rate;
use super::scope::Wrong;
use crate::trigger::quoted;

/// Far beyond any process, and far below where clocks overflow.
const LONGEST: Duration = Duration::from_hours(100 * 366 * 24);

/// What a limit can be enforced to, at best.
const SHORTEST: Duration = Duration::from_millis(1);

/// One page of linear memory: with less, no guest starts.
const MEMORY_MIN: u64 = 64 * 1024;

/// Less is not worth saving; and every instance of the plan has the addresses of the most.
const STACK_MIN: u64 = 64 << 10;
const STACK_MAX: u64 = 64 << 20;

/// A count that bounds who is let in.
pub(super) fn limit(number: i64) -> Result<NonZeroU32, Wrong> {
    if number == 0 {
        return Err(Wrong::new(
            "0 would refuse everybody",
            "leave the key out for what holds without it",
        ));
    }
    count(number)
}

/// A count of at least one.
pub(super) fn count(number: i64) -> Result<NonZeroU32, Wrong> {
    u32::try_from(number)
        .ok()
        .and_then(NonZeroU32::new)
        .ok_or_else(|| {
            Wrong::new(
                format!("{number} is out of range"),
                format!("a number from 1 to {} is wanted", u32::MAX),
            )
        })
}

/// A duration, which may be none at all.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let help = r#"a duration is a number and a unit, such as "500ms", "30s", "5m" or "1h""#;
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) | Err(humantime::DurationError::NumberOverflow) => Err(Wrong::new(
            format!("{} is out of range", quoted(text)),
            "at most 100 years are wanted",
        )),
        Err(_) => Err(Wrong::new(
            format!("{} is not a duration", quoted(text)),
            help,
        )),
    }
}

/// A duration that bounds something.
pub(super) fn time_limit(text: &str) -> Result<Duration, Wrong> {
    let limit = duration(text)?;
    if limit < SHORTEST {
        return Err(Wrong::new(
            format!("{} is too short", quoted(text)),
            r#"a limit of time is at least "1ms"; leave the key out for what holds without it"#,
        ));
    }
    Ok(limit)
}

/// A size, in bytes.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    text.parse::<ByteSize>().map(|size| size.0).map_err(|_| {
        Wrong::new(
            format!("{} is not a size", quoted(text)),
            r#"a size is a number and a unit, such as "512KiB", "64MiB" or "1GiB""#,
        )
    })
}

/// A size that bounds bytes, which are some.
pub(super) fn volume(text: &str) -> Result<u64, Wrong> {
    let size = size(text)?;
    if size == 0 {
        return Err(Wrong::new(
            format!("{} is too small", quoted(text)),
            "at least a byte is wanted; leave the key out for what holds without it",
        ));
    }
    Ok(size)
}

/// A size that bounds the memory of a guest.
pub(super) fn memory(text: &str) -> Result<u64, Wrong> {
    let size = size(text)?;
    if size < MEMORY_MIN {
        return Err(Wrong::new(
            format!("{} is too small", quoted(text)),
            r#"no guest starts with less than "64KiB", one page"#,
        ));
    }
    Ok(size)
}

/// A size that bounds the stack of a guest.
pub(super) fn stack(text: &str) -> Result<u64, Wrong> {
    let size = size(text)?;
    if !(STACK_MIN..=STACK_MAX).contains(&size) {
        return Err(Wrong::new(
            format!("{} is out of range", quoted(text)),
            r#"a stack has from "64KiB" to "64MiB""#,
        ));
    }
    Ok(size)
}

/// `50/s`, `100/m`, `10/5s`.
pub(super) fn rate(text: &str) -> Result<Rate, Wrong> {
    let wrong = || {
        Wrong::new(
            format!("{} is not a rate", quoted(text)),
            r#"a rate is a number for each time, such as "50/s", "100/m" or "10/5s""#,
        )
    };
    let (count, per) = text.split_once('/').ok_or_else(wrong)?;
    let (count, per) = (count.trim(), per.trim());
    if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let count = count.parse::<i64>().map_err(|_| wrong()).and_then(limit)?;
    let per = match per.bytes().next() {
        Some(byte) if byte.is_ascii_digit() => time_limit(per)?,
        // `1` is put before a unit, and only before that.
        _ if !per.bytes().all(|byte| byte.is_ascii_alphabetic()) => return Err(wrong()),
        _ => humantime::parse_duration(&format!("1{per}")).map_err(|_| wrong())?,
    };
    // One in a microsecond is more than any machine accepts.
    if per.as_micros() < u128::from(count.get()) || per > LONGEST {
        return Err(Wrong::new(
            format!("{} is out of range", quoted(text)),
            "a rate is at most a million a second; leave the key out for no limit",
        ));
    }
    Ok(Rate { count, per })
}

/// Permission bits.
pub(super) fn octal(text: &str) -> Result<u32, Wrong> {
    let digits = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|bits| digits && *bits <= 0o777)
        .ok_or_else(|| {
            Wrong::new(
                format!("{} is not octal", quoted(text)),
                r#"octal digits from "0" to "0777" are wanted, such as "022""#,
            )
        })
}

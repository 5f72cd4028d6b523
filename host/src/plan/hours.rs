//! When clients are let in: `access_times`, such as `08:00-18:00` or `mon-fri 22:00-06:00`.

use toml::Spanned;

use super::scope::{Scope, Wrong};
use crate::trigger::{Field, OneOrMany, quoted};

/// A time of some days, from a minute to the one before another; over midnight when it ends before
/// it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// The days on which it begins: bit 0 is Monday.
    pub days: u8,
    /// Minutes after midnight: 0 to 1439.
    pub from: u16,
    /// Likewise, 1 to 1440; never `from`.
    pub to: u16,
}

/// As they are written, Monday first.
pub(super) const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const EVERY_DAY: u8 = 0x7f;

const FORMS: &str = r#"hours are written "08:00-18:00", on some days "mon-fri 08:00-18:00" or "sat,sun 22:00-02:00""#;

impl Hours {
    /// Whether it is within them, on this day (0 is Monday) at this minute after midnight.
    #[must_use]
    pub fn contain(self, day: u8, minute: u16) -> bool {
        let Self { days, from, to } = self;
        let on = |day: u8| days >> (day % 7) & 1 == 1;
        if from < to {
            on(day) && (from..to).contains(&minute)
        } else {
            on(day) && from <= minute || on(day + 6) && minute < to
        }
    }

    /// Whether they are on every day.
    #[must_use]
    pub fn daily(self) -> bool {
        self.days == EVERY_DAY
    }
}

/// The hours of a trigger; none: always.
pub(super) fn read(scope: &mut Scope<'_>, field: Field<OneOrMany<String>>) -> Vec<Hours> {
    let Field::Given(key, texts) = field else {
        return Vec::new();
    };
    let texts: Vec<Spanned<String>> = match texts.into_inner() {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    if texts.is_empty() {
        scope.refuse(&key, "is an empty list, which would admit nobody,", FORMS);
    }
    texts
        .into_iter()
        .filter_map(|text| scope.part(&key.path, text, |text| hours(&text)))
        .collect()
}

fn hours(text: &str) -> Result<Hours, Wrong> {
    let wrong = || Wrong::new(format!("{} are not hours", quoted(text)), FORMS);
    let (days, times) = match text.split_once(' ') {
        Some((named, times)) => (days(named).ok_or_else(wrong)?, times.trim()),
        None => (EVERY_DAY, text),
    };
    let (from, to) = times.split_once('-').ok_or_else(wrong)?;
    let (from, to) = minute(from).zip(minute(to)).ok_or_else(wrong)?;
    if from == to {
        return Err(Wrong::new(
            format!("{} end when they begin", quoted(text)),
            r#"a whole day is "00:00-24:00""#,
        ));
    }
    if from == 24 * 60 {
        return Err(Wrong::new(
            format!("{} begin when a day ends", quoted(text)),
            "the first minute of a day is 00:00",
        ));
    }
    Ok(Hours { days, from, to })
}

/// `mon`, `mon-fri`, `fri-mon`, `sat,sun`
fn days(text: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        for ahead in 0..=(last + 7 - first) % 7 {
            days |= 1 << ((first + ahead) % 7);
        }
    }
    Some(days)
}

/// Minutes after midnight, up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number = |digits: &str| {
        let fits = digits.len() <= 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| fits)
    };
    let minutes = number(minutes).filter(|it| *it < 60 && minutes.len() == 2)?;
    let minute = number(hours)? * 60 + minutes;
    (minute <= 24 * 60).then_some(minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY: u8 = 0;
    const FRIDAY: u8 = 4;
    const SATURDAY: u8 = 5;
    const SUNDAY: u8 = 6;

    fn open(text: &str, day: u8, time: &str) -> bool {
        hours(text).unwrap().contain(day, minute(time).unwrap())
    }

    #[test]
    fn hours_have_their_first_minute_and_not_their_last() {
        assert!(!open("08:00-18:00", SUNDAY, "07:59"));
        assert!(open("08:00-18:00", SUNDAY, "08:00"));
        assert!(open("08:00-18:00", SUNDAY, "17:59"));
        assert!(!open("08:00-18:00", SUNDAY, "18:00"));
        assert!(open("00:00-24:00", MONDAY, "23:59"));
    }

    #[test]
    fn hours_over_midnight_are_of_the_day_on_which_they_begin() {
        assert!(open("fri 22:00-06:00", FRIDAY, "22:00"));
        assert!(open("fri 22:00-06:00", SATURDAY, "05:59"));
        assert!(!open("fri 22:00-06:00", SATURDAY, "06:00"));
        assert!(!open("fri 22:00-06:00", FRIDAY, "05:00"));
        assert!(open("sun 22:00-06:00", MONDAY, "01:00"));
    }

    #[test]
    fn days_are_ranges_and_lists_and_go_round_the_end_of_the_week() {
        assert_eq!(days("mon-fri"), Some(0b001_1111));
        assert_eq!(days("Sat,SUN"), Some(0b110_0000));
        assert_eq!(days("sat-mon"), Some(0b110_0001));
        assert_eq!(days("mon-sun"), Some(EVERY_DAY));
        assert_eq!(days("sun-mon,wed"), Some(0b100_0101));
        assert_eq!(days("someday"), None);
        assert_eq!(days(""), None);
    }
}

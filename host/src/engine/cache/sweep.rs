//! The names of entries and of those that are being written, and which of them may go: what is left
//! by a host that was killed, what was not used for a month, and the oldest of what is too much.

use std::io;
use std::time::{Duration, SystemTime};

use cap_std::fs::{Dir, MetadataExt as _};

use super::entry::Key;
use crate::engine::folder;

/// The ending of entries.
const ENTRY: &str = ".guest";

/// What follows the ending while one is being written: this and 16 digits.
const DRAFT: &str = ".new-";

/// How long an entry stays that nobody uses.
const UNUSED: Duration = Duration::from_hours(30 * 24);

/// After this time nobody is writing to a draft any more.
const ABANDONED: Duration = Duration::from_hours(1);

/// Bytes of all entries.
const MOST: u64 = 4 << 30;

/// The clock that stamps files may be a little behind.
const LEEWAY: Duration = Duration::from_secs(5);

/// The name of an entry.
pub(super) fn name(key: &Key) -> String {
    format!("{key}{ENTRY}")
}

/// A name for an entry that is being written, which nobody else has.
pub(super) fn draft(key: &Key) -> io::Result<String> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(
        "{key}{ENTRY}{DRAFT}{:016x}",
        u64::from_le_bytes(random)
    ))
}

/// What a file of the cache is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Entry,
    Draft,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        let digits = |text: &str, count| {
            text.len() == count && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let (key, rest) = name.split_once(ENTRY)?;
        if !digits(key, 64) {
            return None;
        }
        match rest.strip_prefix(DRAFT) {
            None if rest.is_empty() => Some(Self::Entry),
            Some(random) if digits(random, 16) => Some(Self::Draft),
            _ => None,
        }
    }
}

/// A file of the cache.
#[derive(Debug)]
struct Seen {
    name: String,
    kind: Kind,
    size: u64,
    used: SystemTime,
}

/// Removes from `dir` what may go, but nothing that was used after `since`.
pub(super) fn sweep(dir: &Dir, since: SystemTime) -> io::Result<()> {
    for name in going(seen(dir)?, since, SystemTime::now()) {
        // Another host may do the same at the same time.
        let _ = dir.remove_file(name);
    }
    Ok(())
}

fn seen(dir: &Dir) -> io::Result<Vec<Seen>> {
    let mut files = Vec::new();
    for entry in dir.entries()? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let Some(kind) = Kind::of(&name) else {
            continue;
        };
        let Ok(found) = entry.metadata() else {
            continue;
        };
        if found.is_file() && folder::is_ours(&found) {
            let age = u64::try_from(found.mtime()).unwrap_or_default();
            let used = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(age));
            files.push(Seen {
                name,
                kind,
                size: found.size(),
                used: used.unwrap_or(SystemTime::UNIX_EPOCH),
            });
        }
    }
    Ok(files)
}

/// The names of those that go.
fn going(mut files: Vec<Seen>, since: SystemTime, now: SystemTime) -> Vec<String> {
    files.sort_by_key(|file| std::cmp::Reverse(file.used));
    let (mut total, mut going) = (0_u64, Vec::new());
    for file in files {
        // A time to come is that of another clock: as good as now.
        let unused = now.duration_since(file.used).unwrap_or_default();
        let goes = match file.kind {
            Kind::Draft => unused > ABANDONED,
            Kind::Entry => {
                total = total.saturating_add(file.size);
                file.used + LEEWAY < since && (unused > UNUSED || total > MOST)
            }
        };
        if goes {
            going.push(file.name);
        }
    }
    going
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn file(name: &str, kind: Kind, size: u64, used: SystemTime) -> Seen {
        Seen {
            name: name.to_owned(),
            kind,
            size,
            used,
        }
    }

    #[test]
    fn only_names_of_the_cache_are_its_own() {
        let key = Key::new(&blake3::hash(b"a"), &blake3::hash(b"b"));
        let (name, draft) = (name(&key), draft(&key).unwrap());
        assert_eq!(Kind::of(&name), Some(Kind::Entry));
        assert_eq!(Kind::of(&draft), Some(Kind::Draft));
        for other in [
            "",
            ".guest",
            "notes.guest",
            &name.to_uppercase(),
            &name[1..],
            &format!("{name}~"),
            &format!("{name}.guest"),
            &format!("0{name}"),
            &format!("{draft}0"),
            &draft[..draft.len() - 1],
        ] {
            assert_eq!(Kind::of(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_old_or_too_much_goes_and_what_is_in_use_stays() {
        let now = SystemTime::now();
        let since = now - Duration::from_mins(1);
        let files = vec![
            file("used", Kind::Entry, 3 << 30, now),
            file("used, too much", Kind::Entry, 3 << 30, since),
            file("recent, too much", Kind::Entry, 1, now - DAY),
            file("old", Kind::Entry, 1, now - 31 * DAY),
            file("being written", Kind::Draft, 9 << 30, now - ABANDONED / 2),
            file("left", Kind::Draft, 1, now - 2 * ABANDONED),
        ];
        assert_eq!(
            going(files, since, now),
            ["left", "recent, too much", "old"]
        );
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let now = SystemTime::now();
        let files = vec![
            file("3 days", Kind::Entry, 2 << 30, now - 3 * DAY),
            file("1 day", Kind::Entry, 2 << 30, now - DAY),
            file("2 days", Kind::Entry, 2 << 30, now - 2 * DAY),
            file("31 days", Kind::Entry, 0, now - 31 * DAY),
            file("next year", Kind::Entry, 0, now + 365 * DAY),
        ];
        assert_eq!(going(files, now, now), ["3 days", "31 days"]);
    }
}

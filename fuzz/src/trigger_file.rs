//! A trigger file of any bytes is a plan in which every state makes sense, or a report whose places are in the file and which no
//! terminal obeys.

use portcullis::plan::{
    Address, Admission, BANNER_MAX, Bucket, Identity, Job, NativeJob, NativeStyle, Plan, Trigger,
};
use portcullis::trigger::{Problems, Source};

const NAME: &str = "t.toml";

/// Reads `data` as a trigger file.
///
/// # Panics
/// When that does not come to a sound plan or a sound report.
pub fn trigger_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let source = || Source::new(NAME, "/srv", text.clone());
    match Plan::of(vec![source()]) {
        Ok(plan) => {
            sound(&plan);
            assert_eq!(Ok(plan), read(text.clone() + "\n# end"), "a comment");
            let twice = Plan::of(vec![source(), source()]);
            visible(&twice.expect_err("nothing can be had twice").to_string());
        }
        Err(problems) => {
            let report = problems.to_string();
            assert!(!problems.is_empty());
            assert!(report.len() < 1 << 20, "{} bytes", report.len());
            visible(&report);
            places(&report, &text);
            assert_eq!(Err(report), read(text), "the second time");
        }
    }
}

fn read(text: String) -> Result<Plan, String> {
    Plan::read(text, NAME, "/srv").map_err(|problems: Problems| problems.to_string())
}

/// Each problem names a line and a column that are there.
fn places(report: &str, text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    // All other lines begin with a blank.
    let problems = report.lines().filter_map(|line| line.strip_prefix(NAME));
    let mut found = 0;
    for problem in problems {
        let mut numbers = problem.split(':').skip(1).map(str::parse);
        let (Some(Ok(line)), Some(Ok(column))) = (numbers.next(), numbers.next()) else {
            panic!("no place in {problem:?}");
        };
        let shown: &str = lines[usize::checked_sub(line, 1).expect("from 1")];
        assert!(
            (1..=shown.chars().count() + 1).contains(&column),
            "{problem:?}"
        );
        found += 1;
    }
    assert!(found > 0, "{report:?}");
}

/// A terminal does nothing but show it.
fn visible(text: &str) {
    let hidden = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let obeyed = text
        .chars()
        .find(|&c| c.is_control() && c != '\n' || hidden(c));
    assert_eq!(obeyed, None, "{text:?}");
}

/// What the types of a plan say of themselves in words.
fn sound(plan: &Plan) {
    visible(&plan.to_string());
    assert!(!plan.triggers.is_empty());
    assert!(plan.user.is_some() || plan.group.is_none());
    for trigger in &plan.triggers {
        let Trigger {
            name, listen, job, ..
        } = trigger;
        assert!(!name.is_empty() && name.is_ascii());
        assert!(!listen.is_empty());
        for address in listen {
            assert_eq!(address.to_string().parse::<Address>().as_ref(), Ok(address));
        }
        match job {
            Job::Guest {
                guest,
                admission,
                fallback,
            } => {
                assert!(guest.path.is_absolute());
                assert!(
                    guest
                        .dirs
                        .iter()
                        .all(|dir| dir.guest.starts_with('/') && dir.host.is_absolute())
                );
                assert!(guest.limits.memory > 0 && guest.limits.stack > 0);
                assert!(!guest.limits.deadline.is_zero() && !guest.limits.cpu.is_zero());
                door(admission);
                fallback.iter().for_each(native);
            }
            Job::Native(job) => native(job),
        }
    }
}

fn native(job: &NativeJob) {
    let NativeJob {
        argv,
        style,
        setuid,
        setgid,
        chdir,
        chroot,
        umask,
        nice,
        limit,
        ..
    } = job;
    assert!(argv.iter().all(|word| !word.contains('\0')));
    assert!(!argv[0].is_empty());
    assert!(
        setuid
            .as_ref()
            .is_none_or(|user| named(user, |id| id.as_raw()))
    );
    assert!(
        setgid
            .as_ref()
            .is_none_or(|group| named(group, |id| id.as_raw()))
    );
    assert!(chdir.is_absolute() && chroot.as_ref().is_none_or(|root| root.is_absolute()));
    assert!(*umask <= 0o777 && nice.is_none_or(|nice| (-20..=19).contains(&nice)));
    for (index, bound) in limit.iter().enumerate() {
        assert!(bound.soft.unwrap_or(u64::MAX) <= bound.hard.unwrap_or(u64::MAX));
        assert!(
            limit[..index]
                .iter()
                .all(|other| other.resource != bound.resource)
        );
    }
    if let NativeStyle::Connection(admission) = style {
        door(admission);
    }
}

fn named<Id>(who: &Identity<Id>, number: impl Fn(&Id) -> u32) -> bool {
    match who {
        Identity::Name(name) => !name.is_empty(),
        Identity::Number(id) => number(id) != u32::MAX,
    }
}

fn door(admission: &Admission) {
    let Admission {
        per_source,
        rate,
        banner,
        ..
    } = admission;
    let per_source = per_source.as_ref();
    let buckets = [
        rate.map(|limit| limit.bucket),
        per_source.and_then(|limit| limit.rate),
    ];
    for Bucket { rate, .. } in buckets.into_iter().flatten() {
        assert!(rate.per.as_micros() >= u128::from(rate.count.get()));
    }
    assert!(
        per_source
            .is_none_or(|limit| (1..=32).contains(&limit.inet) && (1..=128).contains(&limit.inet6))
    );
    assert!(banner.as_ref().is_none_or(|text| text.len() <= BANNER_MAX));
}

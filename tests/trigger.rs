//! The trigger file, from text to plan: every file in `tests/trigger` makes exactly the plan or
//! exactly the error that lies beside it, and no text at all makes a panic.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use portcullis::plan::{Plan, PlanError};
use proptest::prelude::*;

/// Where the files of the tests seem to lie, so that no path of this machine is in a plan.
const FOLDER: &str = "/srv";

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn trigger_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(here("tests/trigger")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// `UPDATE_GOLDEN=1 cargo test --test trigger` writes what this expects; read the difference.
#[test]
fn every_trigger_file_makes_the_plan_or_the_error_beside_it() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut failures = String::new();
    for path in trigger_files() {
        if path.extension() != Some(OsStr::new("toml")) {
            if !path.with_extension("toml").exists() {
                writeln!(failures, "{} has no .toml", path.display()).unwrap();
            }
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let (made, wanted, other) = match Plan::read(text, name.clone(), FOLDER) {
            Ok(plan) => (plan.to_string(), "plan", "err"),
            Err(problems) => (format!("{problems}\n"), "err", "plan"),
        };
        if update {
            let _ = fs::remove_file(path.with_extension(other));
            fs::write(path.with_extension(wanted), &made).unwrap();
        }
        if path.with_extension(other).exists() {
            writeln!(
                failures,
                "{name}: has a .{other}, and made this .{wanted}:\n{made}"
            )
            .unwrap();
        }
        match fs::read_to_string(path.with_extension(wanted)) {
            Ok(expected) if expected == made => {}
            Ok(expected) => {
                writeln!(
                    failures,
                    "{name}: expected\n{expected}\n{name}: made\n{made}"
                )
                .unwrap();
            }
            Err(_) => {
                writeln!(failures, "{name}: has no .{wanted}, and made this:\n{made}").unwrap();
            }
        }
        if name.starts_with("good-") != (wanted == "plan") {
            writeln!(
                failures,
                "{name}: its name promises something else than a .{wanted}"
            )
            .unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// A key that no good file has is a key that nobody sees working; one that no wrong file has is one
/// that nobody sees refused.
#[test]
fn every_key_of_the_manual_is_in_a_good_file_and_in_a_wrong_one() {
    let manual = fs::read_to_string(here("docs/trigger-file.md")).unwrap();
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    let keys: Vec<&str> = names.filter(|name| !name.starts_with('"')).collect();
    assert!(keys.len() > 35, "only {keys:?}");
    for good in [true, false] {
        let mut texts = String::new();
        for path in trigger_files() {
            let name = path.file_name().unwrap().to_string_lossy();
            if name.ends_with(".toml") && name.starts_with("good-") == good {
                texts += &fs::read_to_string(&path).unwrap();
            }
        }
        for key in &keys {
            let last = key.rsplit('.').next().unwrap();
            let written =
                texts.contains(&format!("{last} =")) || texts.contains(&format!("{last}  "));
            assert!(written, "`{key}` is in no file that is good: {good}");
        }
    }
}

#[test]
fn every_block_of_the_manual_is_a_plan() {
    let manual = fs::read_to_string(here("docs/trigger-file.md")).unwrap();
    let blocks: Vec<&str> = manual
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split_once("```").expect("a block ends").0)
        .collect();
    assert!(blocks.len() > 5, "only {} blocks", blocks.len());
    for block in blocks {
        if let Err(problems) = Plan::read(block, "docs/trigger-file.md", FOLDER) {
            panic!("{problems}\n\nin\n{block}");
        }
    }
}

#[test]
fn a_folder_is_read_as_one_plan_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "20-b.toml",
        "[trigger.b]\nlisten = \"81\"\nwasm = \"b.wasm\"\n",
    );
    write(
        "10-a.toml",
        "[host]\ngrace = \"1s\"\n[trigger.a]\nlisten = \"80\"\nwasm = \"a.wasm\"\n",
    );
    write(".hidden.toml", "not TOML");
    write("a.toml~", "not TOML");
    fs::create_dir(folder.path().join("folder.toml")).unwrap();

    let plan = Plan::load(folder.path()).unwrap();

    let names: Vec<&str> = plan.triggers.iter().map(|trigger| &*trigger.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(plan.grace, Duration::from_secs(1));
}

#[test]
fn what_is_written_twice_in_two_files_is_refused_with_both_places() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[host]\n\n[trigger.a]\nlisten = \"80\"\nwasm = \"a.wasm\"\n";
    fs::write(folder.path().join("1.toml"), text).unwrap();
    fs::write(folder.path().join("2.toml"), text).unwrap();

    let error = Plan::load(folder.path()).unwrap_err().to_string();

    let error = error.replace(&format!("{}/", folder.path().display()), "");
    assert_eq!(
        error,
        "\
2.toml:1:2: `[host]` is written twice
   |
 1 | [host]
   |  ^^^^
   = the first one: 1.toml:1:2

2.toml:3:10: trigger `a` is written twice
   |
 3 | [trigger.a]
   |          ^
   = the first one: 1.toml:3:10

2.toml:4:10: `0.0.0.0:80` in trigger `a` is taken by trigger `a`
   |
 4 | listen = \"80\"
   |          ^^^^
   = `0.0.0.0:80` in trigger `a`: 1.toml:4:10"
    );
}

#[test]
fn paths_start_at_the_folder_of_the_trigger_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.toml");
    fs::write(
        &path,
        "[trigger.a]\nlisten = \"80\"\nexec = \"bin/../service\"\n",
    )
    .unwrap();

    let plan = Plan::load(&path).unwrap().to_string();

    assert!(
        plan.contains(&format!("{}/bin/../service", folder.path().display())),
        "{plan}"
    );
}

#[test]
fn what_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let load = |name: &str| Plan::load(&path(name)).unwrap_err();
    let shown = |name: &str| path(name).display().to_string();

    assert!(matches!(load(""), PlanError::Empty(_)));
    assert_eq!(
        load("gone.toml").to_string(),
        format!(
            "cannot read {}: No such file or directory (os error 2)",
            shown("gone.toml")
        )
    );

    fs::write(path("large.toml"), "#".repeat(1024 * 1024 + 1)).unwrap();
    assert_eq!(
        load("large.toml").to_string(),
        format!(
            "{} is larger than 1 MiB, which no trigger file is",
            shown("large.toml")
        )
    );

    fs::write(
        path("latin1.toml"),
        b"[trigger.a]\ndescription = \"caf\xe9\"\n",
    )
    .unwrap();
    assert_eq!(
        load("latin1.toml").to_string(),
        format!(
            "{}:2:19: the byte 0xe9 is not UTF-8\n   |\n 2 | description = \"caf\u{fffd}\"\n   |                   ^\n   = a trigger file is UTF-8: save it so",
            shown("latin1.toml")
        )
    );
}

#[test]
fn ten_thousand_triggers_are_read_at_once() {
    let mut text = String::new();
    for number in 0..10_000 {
        writeln!(
            text,
            "[trigger.t{number}]\nlisten=\"127.{}.{}.1:80\"\nwasm=\"a\"",
            number / 250,
            number % 250
        )
        .unwrap();
    }
    let start = Instant::now();

    assert_eq!(
        Plan::read(text.clone(), "t.toml", FOLDER)
            .unwrap()
            .triggers
            .len(),
        10_000
    );
    // Every one of them wrong, all in one line, and every one a clash.
    let line = text.replace("wasm", "wsam").replace("[trigger.", "x={}#");
    assert!(Plan::read(line, "t.toml", FOLDER).is_err());
    let line: Vec<String> = (0..10_000)
        .map(|number| format!("t{number}={{listen=\"80\",x=1,wasm=\"a\"}}"))
        .collect();
    let problems =
        Plan::read(format!("trigger={{{}}}", line.join(",")), "t.toml", FOLDER).unwrap_err();
    assert_eq!(problems.len(), 19_999);
    assert!(problems.to_string().ends_with("and 19899 more"));

    // Reading takes well under a second; anything quadratic takes minutes.
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
}

/// The text of the largest good file, and where its keys and values stand.
fn every_key() -> String {
    fs::read_to_string(here("tests/trigger/good-every-key.toml")).unwrap()
}

/// What a key or a value may be mistaken for.
fn mistake() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("3".to_owned()),
        Just("-1".to_owned()),
        Just("1.5".to_owned()),
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("[1, \"a\", {}]".to_owned()),
        Just("{}".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("\"\"".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("99999999999999999999999999".to_owned()),
        "\"[a-z0-9:/%@.\\[\\] -]{0,20}\"",
        "\\PC{0,20}",
    ]
}

/// Makes a plan, or an error that names a line and holds nothing that a terminal would obey.
fn plan_or_error(text: &str) -> Result<(), TestCaseError> {
    match Plan::read(text, "t.toml", FOLDER) {
        Ok(plan) => {
            let plan = plan.to_string();
            prop_assert!(
                !plan.chars().any(|c| c.is_control() && c != '\n'),
                "{plan:?}"
            );
        }
        Err(problems) => {
            let report = problems.to_string();
            let place = report
                .strip_prefix("t.toml:")
                .and_then(|rest| rest.split(':').next());
            let line: usize = place.and_then(|line| line.parse().ok()).expect("a line");
            prop_assert!(line <= text.matches('\n').count() + 1, "{report}");
            prop_assert!(
                !report.chars().any(|c| c.is_control() && c != '\n'),
                "{report:?}"
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_at_random_are_a_plan_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.toml");
        fs::write(&path, &bytes).unwrap();
        if let Err(error) = Plan::load(&path) {
            prop_assert!(error.to_string().contains("t.toml:"), "{error}");
        }
        plan_or_error(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn text_at_random_is_a_plan_or_an_error(text in "(\\[trigger\\.[a-z\"]{1,3}\\]\n|[a-z_]{1,8} = [\\[\\]{}\",0-9a-z]{0,9}\n|\\PC{0,9}){0,9}") {
        plan_or_error(&text)?;
    }

    #[test]
    fn a_line_taken_away_or_twice_is_a_plan_or_an_error(line in 0..80_usize, twice in any::<bool>()) {
        let text = every_key();
        let mut lines: Vec<&str> = text.lines().collect();
        let line = line % lines.len();
        if twice { lines.insert(line, lines[line]) } else { lines.remove(line); }
        plan_or_error(&(lines.join("\n") + "\n"))?;
    }

    #[test]
    fn a_value_mistaken_is_a_plan_or_an_error(line in 0..80_usize, mistake in mistake()) {
        let text = every_key();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let line = line % lines.len();
        if let Some((key, _)) = lines[line].split_once('=') {
            lines[line] = format!("{key}= {mistake}");
        }
        plan_or_error(&(lines.join("\n") + "\n"))?;
    }

    #[test]
    fn characters_garbled_are_a_plan_or_an_error(
        places in prop::collection::vec((0..4000_usize, any::<char>(), any::<bool>()), 1..4)
    ) {
        let mut chars: Vec<char> = every_key().chars().collect();
        for (at, c, instead) in places {
            let at = at % chars.len();
            if instead { chars[at] = c } else { chars.insert(at, c) }
        }
        plan_or_error(&chars.into_iter().collect::<String>())?;
    }
}

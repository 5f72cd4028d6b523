//! The house: lib.rs lists the rooms from top to bottom, a room uses only those below it, and some
//! things live in some rooms only.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every source file with its room.
fn files() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("host/src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inside = path.strip_prefix(&root).unwrap().to_owned();
            let first = inside
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_str()
                .unwrap();
            let text = fs::read_to_string(&path).unwrap();
            found.push((first.trim_end_matches(".rs").to_owned(), inside, text));
        }
    }
    found
}

/// The rooms from top to bottom.
fn rooms() -> HashMap<String, usize> {
    let lib = files()
        .into_iter()
        .find(|(room, ..)| room == "lib")
        .unwrap()
        .2;
    let modules = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules.map(str::to_owned).zip(0..).collect()
}

#[test]
fn every_arrow_points_down() {
    let rooms = rooms();
    assert!(rooms.len() > 10);
    for (room, path, text) in files() {
        let Some(rank) = rooms.get(&room) else {
            assert!(
                ["lib", "main"].contains(&&*room),
                "{} is in no room",
                path.display()
            );
            continue;
        };
        for used in text.split("crate::").skip(1) {
            let used: String = used
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            let Some(below) = rooms.get(&used) else {
                continue;
            };
            assert!(
                below >= rank,
                "{} uses {used}, which lib.rs lists above {room}",
                path.display()
            );
        }
    }
}

#[test]
fn wasmtime_is_used_in_the_rooms_that_run_guests_only() {
    let allowed = [
        "engine.rs",
        "engine",
        "preopen",
        "handler.rs",
        "handler/module.rs",
        "handler/component",
        "handler/component.rs",
    ];
    for (_, path, text) in files() {
        let may = allowed.iter().any(|allowed| path.starts_with(allowed));
        let does = text
            .lines()
            .any(|line| !line.trim_start().starts_with("//") && line.contains("wasmtime"));
        assert!(may || !does, "{} uses wasmtime", path.display());
    }
}

#[test]
fn a_clock_that_is_set_changes_what_is_told_and_never_what_is_waited_for() {
    // What a guest, the hours of a trigger, a line of the log, a dump and the cache mean by the time.
    let allowed = [
        "engine/cache.rs",
        "engine/cache/sweep.rs",
        "engine/fault.rs",
        "limits/access.rs",
        "log/text.rs",
        "preopen/poll.rs",
    ];
    let mut found = Vec::new();
    for (_, path, text) in files() {
        let asks = ["SystemTime::now", "Timestamp::now", "Zoned::now"];
        if asks.iter().any(|asks| text.contains(asks)) {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    assert_eq!(found, allowed);
}

#[test]
fn every_file_opens_with_a_paragraph_and_none_is_a_junk_drawer() {
    let junk = [
        "util",
        "utils",
        "common",
        "helpers",
        "types",
        "constants",
        "misc",
    ];
    for (_, path, text) in files() {
        assert!(
            text.starts_with("//! "),
            "{} does not say what it is for",
            path.display()
        );
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            !junk.contains(&stem),
            "{} says nothing by its name",
            path.display()
        );
    }
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    for (_, path, text) in files() {
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap();
            if code.contains("unsafe {") {
                let above = &lines[number.saturating_sub(8)..number];
                assert!(
                    above
                        .iter()
                        .any(|line| line.trim_start().starts_with("// SAFETY: ")),
                    "{}:{}: no SAFETY line",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}

#[test]
fn every_test_guest_is_in_a_story() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stories: String = fs::read_dir(root.join("tests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for entry in fs::read_dir(root.join("guests/odd/src/bin")).unwrap() {
        let path = entry.unwrap().path();
        let guest = path.file_stem().unwrap().to_str().unwrap();
        let told = [
            format!("{{guest:{guest}}}"),
            format!("{{guest:{guest}."),
            format!("\"{guest}\""),
            format!("\"{guest}."),
        ];
        assert!(
            told.iter().any(|name| stories.contains(name)),
            "no test tells of the guest {guest}"
        );
    }
}

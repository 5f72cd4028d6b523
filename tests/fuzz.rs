//! What the fuzzers of `fuzz/` have found is tried again, and a little is looked for that is near it: the same in every run. They look for
//! more by themselves; SECURITY.md says how.

#[path = "../fuzz/src/lib.rs"]
#[allow(
    clippy::many_single_char_names,
    clippy::struct_excessive_bools,
    reason = "the arguments of a call, and the flags of a model, have no better names"
)]
mod targets;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The files of a folder, in the order of their names.
fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// A change of what was found: a place in it, and what is there instead of so many bytes.
fn edit() -> impl Strategy<Value = (Index, usize, Vec<u8>)> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        prop::collection::vec(any::<u8>(), 16),
    ];
    (any::<Index>(), 0..17_usize, bytes)
}

/// Tries `target` with all of `found`, and with so many inputs that lie near them.
fn look(target: fn(&[u8]), found: &[(String, Vec<u8>)], cases: u32) {
    assert!(
        found.len() > 10,
        "the corpus has only {} files",
        found.len()
    );
    for (name, input) in found {
        // Told when the test fails.
        println!("{name}");
        target(input);
    }
    let near = (
        any::<Index>(),
        any::<Index>(),
        prop::collection::vec(edit(), 1..5),
    );
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, seed);
    let looked = runner.run(&near, |(one, other, edits)| {
        let [mut input, other] = [one, other].map(|which| which.get(found).1.clone());
        // The end of one behind the beginning of another, now and then.
        if edits.len() == 4 {
            input.truncate(input.len() / 32 * 16);
            input.extend(&other[other.len() / 32 * 16..]);
        }
        for (place, instead_of, bytes) in edits {
            let start = place.index(input.len() + 1);
            let end = input.len().min(start + instead_of);
            input.splice(start..end, bytes);
        }
        target(&input);
        Ok(())
    });
    if let Err(error) = looked {
        panic!("{error}");
    }
}

#[test]
fn any_bytes_are_a_plan_that_makes_sense_or_a_report_that_does() {
    let mut found = files("fuzz/corpus/trigger_file");
    found.extend(
        files("tests/trigger")
            .into_iter()
            .filter(|(name, _)| Path::new(name).extension().is_some_and(|end| end == "toml")),
    );
    look(targets::trigger_file, &found, 3000);
}

#[test]
fn whatever_a_guest_calls_is_answered_as_preview_1_has_it() {
    look(targets::preview1, &files("fuzz/corpus/preview1"), 3000);
}

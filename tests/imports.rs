//! What a component may import: every function of the WASI that is vendored in `wit/deps` stands in
//! `tests/imports/policy.txt` with what a guest gets that was given nothing. Those that are denied are
//! tried, and those beyond reach are so because all that would make them is denied. A new version of WASI
//! fails here until each of its functions is judged.

mod support;

#[path = "imports/wit.rs"]
mod wit;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;

use support::{Host, repository};
use wit::Function;

/// What a guest gets that was given nothing; see `policy.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Given,
    Own,
    Denied,
    Beyond,
    Export,
    Unstable,
}

/// The policy, by interface and function.
fn policy() -> BTreeMap<String, Verdict> {
    let text = fs::read_to_string(repository().join("tests/imports/policy.txt")).unwrap();
    let mut policy = BTreeMap::new();
    let mut interface = "";
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [] => {}
            [name] => interface = name,
            [function, verdict] => {
                let verdict = match verdict {
                    "given" => Verdict::Given,
                    "own" => Verdict::Own,
                    "denied" => Verdict::Denied,
                    "beyond" => Verdict::Beyond,
                    "export" => Verdict::Export,
                    "unstable" => Verdict::Unstable,
                    other => panic!("no verdict: {other}"),
                };
                let twice = policy.insert(format!("{interface} {function}"), verdict);
                assert_eq!(twice, None, "{interface} {function} is judged twice");
            }
            _ => panic!("neither an interface nor a function: {line}"),
        }
    }
    policy
}

#[test]
fn every_function_of_the_vendored_wasi_is_judged_and_nothing_else_is() {
    let functions = wit::functions();
    let there: BTreeSet<String> = functions.iter().map(Function::name).collect();
    let policy = policy();
    let judged: BTreeSet<String> = policy.keys().cloned().collect();
    assert!(
        there.len() > 300,
        "only {} functions are found",
        there.len()
    );
    assert_eq!(
        there.difference(&judged).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "not judged"
    );
    assert_eq!(
        judged.difference(&there).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "not in wit/deps"
    );
    for function in &functions {
        let unstable = policy[&function.name()] == Verdict::Unstable;
        assert_eq!(unstable, function.unstable, "{}", function.name());
    }
}

#[test]
fn what_is_beyond_reach_is_made_by_nothing_that_is_given() {
    let functions = wit::functions();
    let policy = policy();
    let beyond = functions.iter().filter_map(|function| {
        let resource = function.resource.as_ref()?;
        (policy[&function.name()] == Verdict::Beyond).then_some((&function.version, resource))
    });
    let beyond: BTreeSet<_> = beyond.collect();
    assert!(beyond.len() > 10, "only {beyond:?}");
    for (version, resource) in beyond {
        let makers = functions.iter().filter(|function| {
            function.version == *version && function.result.iter().any(|word| word == resource)
        });
        for maker in makers {
            assert!(
                matches!(
                    policy[&maker.name()],
                    Verdict::Denied | Verdict::Own | Verdict::Beyond
                ),
                "{} makes a {resource}, which is beyond reach",
                maker.name()
            );
        }
    }
}

/// What a guest says that has tried whatever may lead out, by import.
fn tried(guest: &str) -> BTreeMap<String, Vec<String>> {
    // Somebody who would notice.
    let witness = TcpListener::bind("127.0.0.1:0").unwrap();
    witness.set_nonblocking(true).unwrap();
    let host = Host::start_with(
        &format!(
            "[trigger.t]\nlisten = \"127.0.0.1:0\"\nwasm = \"{{guest:{guest}.component}}\"\n\
             args = [\"{}\"]\n",
            witness.local_addr().unwrap()
        ),
        |command| {
            command.env("PORTCULLIS_SECRET", "hidden");
        },
    );
    let report = String::from_utf8(host.ask("t", b"imports\n")).unwrap();
    assert!(witness.accept().is_err(), "somebody has connected");
    let mut tried = BTreeMap::<_, Vec<_>>::new();
    for line in report.lines() {
        let (import, said) = line.split_once(": ").unwrap();
        tried
            .entry(import.to_owned())
            .or_default()
            .push(said.to_owned());
    }
    tried
}

#[test]
fn a_guest_that_tries_every_import_it_was_not_given_is_denied_import_by_import() {
    let functions = wit::functions();
    let policy = policy();
    for (guest, version) in [("reach", "0.2."), ("reach-async", "0.3.")] {
        let mut tried = tried(guest);
        let wasi = functions
            .iter()
            .filter(|function| function.version.starts_with(version));
        for function in wasi {
            let verdict = policy[&function.name()];
            if !matches!(verdict, Verdict::Own | Verdict::Denied) {
                continue;
            }
            let import = function.import();
            let said = tried.remove(&import);
            let said = said.unwrap_or_else(|| panic!("{guest} has not tried {import}"));
            for said in said {
                let wanted = match (verdict, import.rsplit('.').next().unwrap()) {
                    (Verdict::Denied, _) => ["access-denied", "AccessDenied", "HttpRequestDenied"]
                        .iter()
                        .any(|code| said.starts_with("Err(ErrorCode") && said.contains(code)),
                    (_, "get-environment") => {
                        said == "\"UPSTART_EVENTS UPSTART_JOB UPSTART_INSTANCE PROTO PORT ADDR REMOTE_ADDR REMOTE_PORT\""
                    }
                    (_, "get-arguments") => {
                        said.starts_with(&format!("[\"{guest}.component.wasm\", \"127.0.0.1:"))
                    }
                    (_, "get-directories") => said == "[]",
                    _ => said == "None",
                };
                assert!(wanted, "{guest}: {import}: {said}");
            }
        }
        assert!(
            tried.is_empty(),
            "{guest} has tried what is given: {tried:?}"
        );
    }
}

#[test]
fn a_component_that_asks_for_more_random_bytes_than_may_be_had_at_once_ends_alone() {
    let host = Host::start(
        r#"
        [trigger.t]
        listen = "127.0.0.1:0"
        wasm = "{guest:reach.component}"
        "#,
    );
    assert_eq!(
        host.ask("t", b"random 1048576\n"),
        b"random 1048576: GOT 1048576\n"
    );
    assert_eq!(host.ask("t", b"random 1048577\n"), b"");
    let ends = host.logged_times(2, "two ends", |line| support::verb(line) == "end");
    // Which of the two is written first is not said.
    let mut outcomes = [&ends[0], &ends[1]].map(|end| end["outcome"].as_str().unwrap());
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["done", "trap"]);
}

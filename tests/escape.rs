//! Ways out of a handler, each tried and denied: out of a directory that a guest was given, to the descriptors of other
//! connections, and from a strict native job to files, sockets and processes.

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use support::Host;

/// What a strict job tries; each attempt is a line.
const TRY: &str = r#"
import ctypes, os, signal, socket, sys, struct
def attempt(what, act):
    try:
        print(what + ": GOT", act(), flush=True)
    except OSError as error:
        print(what + ": denied", error.errno, flush=True)
def write(path):
    with open(path, "w") as file: file.write("written")
def run(path):
    pid = os.fork()
    if pid == 0:
        try: os.execv(path, [path])
        except OSError as error: os._exit(error.errno)
    status = os.waitpid(pid, 0)[1]
    if status: raise OSError(os.waitstatus_to_exitcode(status), "")
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if libc.syscall(*arguments) < 0: raise OSError(ctypes.get_errno(), "")
here, host, port, path = sys.argv[1:]
attempt("read /etc/hostname", lambda: open("/etc/hostname").read())
attempt("list /", lambda: os.listdir("/"))
attempt("list /proc", lambda: os.listdir("/proc"))
attempt("environment of the host", lambda: open("/proc/" + host + "/environ").read())
attempt("read outside", lambda: open(here + "/outside").read())
attempt("write outside", lambda: write(here + "/new"))
attempt("read through a link", lambda: open(here + "/ro/link").read())
attempt("read through ..", lambda: open(here + "/ro/../outside").read())
attempt("write what is to be read", lambda: write(here + "/ro/new"))
attempt("move out", lambda: os.rename(here + "/rw/file", here + "/file"))
attempt("link in", lambda: os.link(here + "/outside", here + "/rw/outside"))
attempt("run what was written", lambda: run(here + "/rw/program"))
attempt("socket inet", lambda: socket.create_connection(("127.0.0.1", int(port))))
attempt("socket unix", lambda: socket.socket(socket.AF_UNIX).connect(path))
attempt("socket netlink", lambda: socket.socket(socket.AF_NETLINK))
there = struct.pack("=H", 2) + struct.pack(">H", int(port)) + bytes([127, 0, 0, 1]) + bytes(8)
attempt("disconnect", lambda: call(42, 3, bytes(16), 16))
attempt("connect elsewhere", lambda: call(42, 3, there, 16))
attempt("connect elsewhere by what is sent", lambda: call(44, 3, b"x", 1, 0x20000000, there, 16))
attempt("listen", lambda: call(50, 3, 1))
attempt("signal to the host", lambda: os.kill(int(host), 0))
attempt("signal to the parent", lambda: os.kill(os.getppid(), signal.SIGKILL))
attempt("trace of the parent", lambda: call(101, 16, os.getppid(), 0, 0))
attempt("ring", lambda: call(425, 1, 0))
attempt("namespace", lambda: call(272, 0x10000000))
attempt("namespace by clone", lambda: call(56, 0x10000000 | 17, 0, 0, 0, 0))
attempt("shared memory", lambda: call(29, 1, 4096, 0o1666))
attempt("keys", lambda: call(250, 0, -3, 0))
attempt("root", lambda: os.setuid(0) or open("/etc/shadow").read())
print("read what is given:", open(here + "/ro/file").read())
write(here + "/rw/mine")
print("wrote what is given:", open(here + "/rw/mine").read())
os.kill(os.getpid(), 0)
print("variables:", *sorted(name for name in os.environ))
def is_open(number):
    try: return bool(os.fstat(number))
    except OSError: return False
print("descriptors:", *(number for number in range(0, 1024) if is_open(number)))
"#;

/// A folder for `TRY`: `ro` with a file and a link out, `rw` with a program, and a file outside of them.
fn prepare(here: &Path) {
    for folder in ["ro", "rw"] {
        std::fs::create_dir(here.join(folder)).unwrap();
    }
    std::fs::write(here.join("outside"), "secret").unwrap();
    std::fs::write(here.join("ro/file"), "what it says").unwrap();
    std::fs::write(here.join("rw/file"), "").unwrap();
    std::os::unix::fs::symlink("../outside", here.join("ro/link")).unwrap();
    std::fs::copy("/bin/true", here.join("rw/program")).unwrap();
    // Whoever the job is, only its sandbox is in its way.
    for path in ["", "rw", "outside", "ro"] {
        open_to_all(here, path);
    }
}

fn open_to_all(folder: &Path, path: &str) {
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.join(path), mode).unwrap();
}

/// Has a strict job of these keys try everything, and gives what it says.
fn tried(keys: &str, adjust: impl FnOnce(&mut std::process::Command)) -> (Host, String) {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = target.local_addr().unwrap().port();
    let path = dir.path().join("target");
    let _unix = UnixListener::bind(&path).unwrap();
    std::fs::write(dir.path().join("try.py"), TRY).unwrap();
    let triggers = format!(
        r#"
        [trigger.strict]
        listen = "127.0.0.1:0"
        exec = ["/bin/sh", "-c", "read host; exec /usr/bin/python3 {{dir}}/ro/try.py {{dir}} $host {port} {}"]
        accept = true
        sandbox = "strict"
        dirs = {{ ro = "ro", rw = "rw" }}
        {keys}
        "#,
        path.display()
    );
    std::fs::rename(dir.path().join("try.py"), dir.path().join("ro/try.py")).unwrap();
    let host = Host::start_in(dir, &triggers, adjust);
    let pid = format!("{}\n", host.pid());
    let said = String::from_utf8(host.ask("strict", pid.as_bytes())).unwrap();
    (host, said)
}

fn all_is_denied(said: &str) {
    let attempts = said.lines().filter(|line| line.contains(": denied "));
    assert_eq!(attempts.count(), 28, "{said}");
    assert!(!said.contains("GOT"), "{said}");
    assert!(
        said.contains("\nread what is given: what it says\n"),
        "{said}"
    );
    assert!(said.contains("\nwrote what is given: written\n"), "{said}");
    assert!(said.contains("\ndescriptors: 0 1 2 3\n"), "{said}");
    let variables = said.lines().find(|line| line.starts_with("variables:"));
    let variables: Vec<_> = variables.unwrap().split(' ').skip(1).collect();
    let known = [
        "ADDR",
        "LC_CTYPE",
        "PATH",
        "PORT",
        "PROTO",
        "PWD",
        "REMOTE_ADDR",
        "REMOTE_PORT",
        "TERM",
    ];
    for name in variables {
        let of_the_contract = name.starts_with("UPSTART_") || name.starts_with("LISTEN_");
        assert!(of_the_contract || known.contains(&name), "{name} in {said}");
    }
}

#[test]
fn a_strict_job_touches_its_connection_and_what_it_was_given_and_nothing_else() {
    let (host, said) = tried("", |command| {
        command.env("PORTCULLIS_SECRET", "hidden");
    });
    all_is_denied(&said);
    assert_eq!(host.outcome("strict"), "done");
}

#[test]
fn a_strict_job_of_a_host_without_root_is_as_strict() {
    // Root has another way to a private network, and has rights to give up.
    if !nix::unistd::geteuid().is_root() {
        eprintln!("this host is without root: what is tried here was tried in the story above");
        return;
    }
    let (host, said) = tried("", |command| {
        command.uid(65534).gid(65534);
        let mut told = command.get_envs();
        let (_, notify) = told.find(|(name, _)| *name == "NOTIFY_SOCKET").unwrap();
        open_to_all(Path::new("/"), notify.unwrap().to_str().unwrap());
    });
    all_is_denied(&said);
    assert_eq!(host.outcome("strict"), "done");
}

#[test]
fn a_strict_job_of_another_user_is_as_strict() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not tried: only root can give a job another user");
        return;
    }
    let (host, said) = tried("setuid = 65534\nsetgid = 65534\ngroups = []", |_| {});
    all_is_denied(&said);
    assert_eq!(host.outcome("strict"), "done");
}

#[test]
fn a_strict_job_that_accepts_for_itself_serves_its_clients() {
    let host = Host::start(
        r#"
        [trigger.python]
        listen = ["127.0.0.1:0", "unix:{dir}/python"]
        exec = "/usr/bin/python3 {repo}/guests/native/message.py"
        sandbox = "strict"
        [trigger.python.dirs]
        "{repo}/guests/native" = "ro"
        [trigger.c]
        listen = "127.0.0.1:0"
        exec = "{native:message}"
        sandbox = "strict"
        [trigger.other]
        listen = "127.0.0.1:0"
        script = "(read x < /etc/passwd) || echo denied; (read x < {dir}/triggers.toml) || echo denied"
        sandbox = "strict"
        "#,
    );
    for _ in 0..3 {
        for address in [host.addresses("python"), host.addresses("c")].concat() {
            let mut client = support::Client::to(&address);
            client.write_all(b"Hello").unwrap();
            assert_eq!(client.rest(), b"I got your message: Hello");
        }
    }
    drop(host.connect("other"));
    assert_eq!(host.outcome("other"), "done");
    let denied = host
        .said("other")
        .iter()
        .filter(|(_, line)| line == "denied")
        .count();
    assert_eq!(denied, 2);
}

/// A folder `data` with links that lead out of it, beside a file `outside`.
fn data_with_links() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir_all(data.join("folder")).unwrap();
    std::fs::create_dir_all(data.join("race/at")).unwrap();
    std::fs::write(dir.path().join("outside"), "secret").unwrap();
    std::fs::write(data.join("race/at/outside"), "inside").unwrap();
    let outside = dir.path().join("outside");
    for (link, to) in [
        ("absolute", outside.as_path()),
        ("up", Path::new("../outside")),
        ("proc", Path::new("/proc")),
        ("race/link", Path::new("../..")),
    ] {
        std::os::unix::fs::symlink(to, data.join(link)).unwrap();
    }
    dir
}

#[test]
fn no_path_and_no_link_leads_a_guest_out_of_its_directory() {
    for guest in ["{guest:escape}", "{guest:escape.component}"] {
        let host = Host::start_in(
            data_with_links(),
            &format!(
                r#"
                [trigger.escape]
                listen = "127.0.0.1:0"
                wasm = "{guest}"
                [trigger.escape.dirs]
                "/data" = {{ path = "data", access = "rw" }}
                "#
            ),
            |command| {
                command.env("PORTCULLIS_SECRET", "hidden");
            },
        );
        let report = String::from_utf8(host.ask("escape", b"")).unwrap();
        let (attempts, own) = report.trim_end().rsplit_once('\n').unwrap();
        assert_eq!(attempts.lines().count(), 10 * 3 + 5 * 3 + 8, "{report}");
        for line in attempts.lines() {
            assert!(line.contains(": denied: "), "{guest}: {line}");
        }
        // It can use what it was given all the same.
        assert_eq!(own, "own: true");
        let mut left: Vec<_> = std::fs::read_dir(host.dir.path()).unwrap().collect();
        left.retain(|entry| {
            entry
                .as_ref()
                .is_ok_and(|it| !it.file_type().unwrap().is_socket())
        });
        assert_eq!(
            left.len(),
            3,
            "the folder, the file and the trigger file: {left:?}"
        );
        assert_eq!(
            std::fs::read(host.dir.path().join("outside")).unwrap(),
            b"secret"
        );
    }
}

#[test]
fn a_link_that_is_put_in_the_place_of_a_folder_again_and_again_leads_nobody_out() {
    for guest in ["{guest:escape}", "{guest:escape.component}"] {
        let trigger = |name: &str| {
            format!(
                r#"
                [trigger.{name}]
                listen = "127.0.0.1:0"
                wasm = "{guest}"
                args = ["{name}"]
                [trigger.{name}.dirs]
                "/data" = {{ path = "data", access = "rw" }}
                "#
            )
        };
        let triggers = trigger("flip") + &trigger("race");
        let host = Host::start_in(data_with_links(), &triggers, |_| {});
        let mut flips = host.connect("flip");
        let read = String::from_utf8(host.ask("race", b"")).unwrap();
        assert!(
            ["{}\n", "{\"inside\"}\n"].contains(&&*read),
            "{guest}: {read}"
        );
        assert_eq!(flips.rest(), b"flipped\n");
    }
}

#[test]
fn a_guest_is_never_given_the_processes_of_the_system() {
    for path in ["/proc", "/proc/self", "/"] {
        let said = support::command(
            "check",
            &format!(
                r#"
                [trigger.proc]
                listen = "127.0.0.1:0"
                wasm = "{{guest:escape}}"
                [trigger.proc.dirs]
                "/data" = "{path}"
                "#
            ),
            tempfile::tempdir().unwrap().path(),
        );
        assert_eq!(said.code, Some(100), "{}", said.stderr);
        assert!(said.stderr.contains("/proc"), "{}", said.stderr);
    }
}

/// A line of what the system tells of a process, or of one of its threads.
fn status(pid: i32, thread: &str, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

fn threads(pid: i32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = threads.map(|thread| thread.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

/// The process that starts a host's native jobs.
fn spawner(host: i32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{host}/task/{host}/children")).unwrap();
    children.trim().parse().unwrap()
}

#[test]
fn every_thread_of_a_host_is_confined_and_its_jobs_are_not() {
    let host = Host::start(
        r#"
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        [trigger.job]
        listen = "127.0.0.1:0"
        exec = ["/bin/sh", "-c", "grep -E 'NoNewPrivs|^Seccomp:' /proc/self/status; cat /etc/hostname"]
        accept = true
        "#,
    );
    assert_eq!(host.ask("echo", b"hi"), b"hi");
    let pid = host.pid().as_raw();
    let all = threads(pid);
    assert!(all.len() > 2, "{all:?}");
    for thread in all {
        assert_eq!(status(pid, &thread, "NoNewPrivs"), "1", "thread {thread}");
        assert_eq!(status(pid, &thread, "Seccomp"), "2", "thread {thread}");
        assert_eq!(
            status(pid, &thread, "CapBnd"),
            "0000000000000000",
            "thread {thread}"
        );
    }
    let said = String::from_utf8(host.ask("job", b"")).unwrap();
    assert!(said.starts_with("NoNewPrivs:\t0\nSeccomp:\t0\n"), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
}

#[test]
fn a_host_with_its_sandbox_off_is_not_confined() {
    let host = Host::start(
        r#"
        [host]
        sandbox = "off"
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        "#,
    );
    let pid = host.pid().as_raw();
    assert_eq!(status(pid, &pid.to_string(), "NoNewPrivs"), "0");
    assert_eq!(status(pid, &pid.to_string(), "Seccomp"), "0");
}

#[test]
fn a_host_that_root_starts_is_the_user_of_its_plan_for_good() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not tried: only root can become another user");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("cache")).unwrap();
    open_to_all(dir.path(), "");
    open_to_all(dir.path(), "cache");
    std::os::unix::fs::chown(dir.path().join("cache"), Some(65534), None).unwrap();
    std::fs::create_dir(dir.path().join("sockets")).unwrap();
    let ids = "/bin/grep -E '^(Uid|Gid|Groups)' /proc/self/status";
    let mut host = Host::start_in(
        dir,
        &format!(
            r#"
        [host]
        user = 65534
        group = 65534
        [trigger.echo]
        listen = ["127.0.0.1:917", "unix:{{dir}}/sockets/echo"]
        wasm = "{{guest:echo}}"
        socket = {{ mode = "0666", owner = 1 }}
        [trigger.own]
        listen = "127.0.0.1:0"
        exec = "{ids}"
        accept = true
        [trigger.other]
        listen = "127.0.0.1:0"
        exec = "{ids}"
        accept = true
        setuid = 1
        setgid = 1
        groups = [2]
        "#
        ),
        |command| {
            let mut told = command.get_envs();
            let (_, notify) = told.find(|(name, _)| *name == "NOTIFY_SOCKET").unwrap();
            open_to_all(Path::new("/"), notify.unwrap().to_str().unwrap());
            command.env(
                "CACHE_DIRECTORY",
                Path::new(notify.unwrap()).with_file_name("cache"),
            );
        },
    );
    for address in host.addresses("echo") {
        assert_eq!(support::Client::to(address).ask(b"hi"), b"hi");
    }
    let pid = host.pid().as_raw();
    for thread in threads(pid) {
        let none = "0000000000000000";
        for (key, wanted) in [
            ("Uid", "65534\t65534\t65534\t65534"),
            ("Gid", "65534\t65534\t65534\t65534"),
            ("Groups", "65534"),
            ("CapPrm", none),
            ("CapEff", none),
            ("CapInh", none),
            ("CapBnd", none),
            ("CapAmb", none),
            ("NoNewPrivs", "1"),
        ] {
            assert_eq!(
                status(pid, &thread, key),
                wanted,
                "{key} of thread {thread}"
            );
        }
    }
    let of = |id: &str, groups: &str| {
        format!("Uid:\t{id}\t{id}\t{id}\t{id}\nGid:\t{id}\t{id}\t{id}\t{id}\nGroups:\t{groups} \n")
    };
    assert_eq!(
        String::from_utf8(host.ask("own", b"")).unwrap(),
        of("65534", "65534")
    );
    assert_eq!(
        String::from_utf8(host.ask("other", b"")).unwrap(),
        of("1", "2")
    );
    // One job is somebody else, so root is still needed there.
    let spawner = spawner(pid);
    assert_eq!(status(spawner, &spawner.to_string(), "Uid"), "0\t0\t0\t0");
    let path = host.dir.path().join("sockets/echo");
    assert!(path.exists());
    let process = rustix::process::pidfd_open(
        rustix::process::Pid::from_raw(spawner).unwrap(),
        rustix::process::PidfdFlags::empty(),
    );
    host.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(host.wait().success());
    let process = process.unwrap();
    let mut watched = [rustix::event::PollFd::new(
        &process,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut watched, None).unwrap();
    assert!(!path.exists(), "the path is left behind");
}

//! Ways out of a handler, each tried and denied: out of a directory that a guest was given, to the descriptors of other
//! connections, and from a strict native job to files, sockets and processes.

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::libc;
use support::{Host, PATIENCE};

/// What a strict job tries, each in a process of its own; it writes down what came of it, and 0 is what it wanted.
const TRY: &str = r#"
import ctypes, os, resource, socket, sys, struct
here, host, port, path = sys.argv[1:]
parent = os.getppid()
told = []
def attempt(what, act):
    pid = os.fork()
    if pid == 0:
        try: act()
        except OSError as error: os._exit(error.errno)
        except BaseException: os._exit(255)
        os._exit(0)
    told.append(what + ": " + str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
def write(path):
    with open(path, "w") as file: file.write("written")
def root():
    try: os.setuid(0)
    except OSError: pass
    open("/etc/shadow").read()
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    result = libc.syscall(*arguments)
    if result < 0: raise OSError(ctypes.get_errno(), "")
    return result
def disconnect():
    return libc.syscall(SYS_connect, 3, bytes(16), 16)
def disconnected(*arguments):
    disconnect()
    call(*arguments)
def clone():
    pid = call(SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0)
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
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
attempt("run what was written", lambda: os.execv(here + "/rw/program", ["program"]))
attempt("read what only root may", root)
there = struct.pack("=H", 2) + struct.pack(">H", int(port)) + bytes([127, 0, 0, 1]) + bytes(8)
attempt("socket inet", lambda: socket.create_connection(("127.0.0.1", int(port))))
attempt("socket unix", lambda: socket.socket(socket.AF_UNIX).connect(path))
attempt("socket netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("disconnect", lambda: call(SYS_connect, 3, bytes(16), 16))
attempt("connect elsewhere", lambda: disconnected(SYS_connect, 3, there, 16))
attempt("connect elsewhere by what is sent", lambda: disconnected(SYS_sendto, 3, b"x", 1, MSG_FASTOPEN, there, 16))
attempt("listen", lambda: disconnected(SYS_listen, 3, 1))
attempt("signal to the host", lambda: os.kill(int(host), 0))
attempt("signal to the parent", lambda: os.kill(parent, 0))
attempt("trace of the parent", lambda: call(SYS_ptrace, PTRACE_SEIZE, parent, 0, 0))
attempt("ring", lambda: call(SYS_io_uring_setup, 1, ctypes.create_string_buffer(120)))
attempt("namespace", lambda: call(SYS_unshare, CLONE_NEWUSER))
attempt("namespace by clone", clone)
attempt("shared memory", lambda: call(SYS_shmctl, call(SYS_shmget, 0, 4096, 0o1600), 0, 0))
attempt("keys", lambda: call(SYS_keyctl, 0, -3, 0))
attempt("mode by path", lambda: os.chmod(here + "/outside", 0o777))
attempt("times by path", lambda: os.utime(here + "/outside"))
attempt("attribute by path", lambda: os.setxattr(here + "/outside", "user.x", b"x"))
attempt("limit by number", lambda: resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE, (64, 64)))
attempt("priority of many", lambda: os.setpriority(os.PRIO_PGRP, 0, os.getpriority(os.PRIO_PGRP, 0)))
attempt("processors by number", lambda: os.sched_setaffinity(os.getpid(), os.sched_getaffinity(0)))
attempt("datagrams", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
attempt("shared memory by number", lambda: call(SYS_shmctl, 0, IPC_INFO, ctypes.create_string_buffer(120)))
attempt("session", os.setsid)
attempt("group", lambda: os.setpgid(0, 0))
told.append("read what is given: " + open(here + "/ro/file").read())
write(here + "/rw/mine")
told.append("wrote what is given: " + open(here + "/rw/mine").read())
os.kill(os.getpid(), 0)
told.append("variables: " + " ".join(sorted(os.environ)))
def is_open(number):
    try: return bool(os.fstat(number))
    except OSError: return False
told.append("descriptors: " + " ".join(str(number) for number in range(0, 1024) if is_open(number)))
with open(here + "/rw/told", "w") as file: file.write("\n".join(told) + "\n")
print("tried")
"#;

/// What it does by numbers.
const NUMBERS: [(&str, libc::c_long); 14] = [
    ("SYS_connect", libc::SYS_connect),
    ("SYS_sendto", libc::SYS_sendto),
    ("SYS_listen", libc::SYS_listen),
    ("SYS_ptrace", libc::SYS_ptrace),
    ("SYS_io_uring_setup", libc::SYS_io_uring_setup),
    ("SYS_unshare", libc::SYS_unshare),
    ("SYS_clone", libc::SYS_clone),
    ("SYS_shmget", libc::SYS_shmget),
    ("SYS_shmctl", libc::SYS_shmctl),
    ("SYS_keyctl", libc::SYS_keyctl),
    ("IPC_INFO", libc::IPC_INFO as libc::c_long),
    ("CLONE_NEWUSER", libc::CLONE_NEWUSER as libc::c_long),
    ("MSG_FASTOPEN", libc::MSG_FASTOPEN as libc::c_long),
    ("PTRACE_SEIZE", libc::PTRACE_SEIZE as libc::c_long),
];

/// Attempts that the kernel's rules on files are to deny.
const FILES: [&str; 13] = [
    "read /etc/hostname",
    "list /",
    "list /proc",
    "environment of the host",
    "read outside",
    "write outside",
    "read through a link",
    "read through ..",
    "write what is to be read",
    "move out",
    "link in",
    "run what was written",
    "read what only root may",
];

/// Those that are refused as calls, or as signals.
const CALLS: [&str; 25] = [
    "socket inet",
    "socket unix",
    "socket netlink",
    "disconnect",
    "connect elsewhere",
    "connect elsewhere by what is sent",
    "listen",
    "signal to the host",
    "signal to the parent",
    "trace of the parent",
    "ring",
    "namespace",
    "namespace by clone",
    "shared memory",
    "keys",
    "mode by path",
    "times by path",
    "attribute by path",
    "limit by number",
    "priority of many",
    "processors by number",
    "datagrams",
    "shared memory by number",
    "session",
    "group",
];

/// Those that some machines refuse to whoever asks.
const RARE: [&str; 6] = [
    "attribute by path",
    "trace of the parent",
    "ring",
    "namespace",
    "namespace by clone",
    "keys",
];

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
    if support::as_root("files of another user") {
        std::os::unix::fs::chown(here.join("outside"), Some(NOBODY), None).unwrap();
    }
    for path in ["", "rw", "outside", "ro"] {
        open_to_all(here, path);
    }
}

fn open_to_all(folder: &Path, path: &str) {
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.join(path), mode).unwrap();
}

/// Has a job of these keys try everything. Gives its outcome, what its client hears, and what it has written down.
fn tried(keys: &str, adjust: impl FnOnce(&mut Command)) -> [String; 3] {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path());
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = target.local_addr().unwrap().port();
    let path = dir.path().join("target");
    let _unix = UnixListener::bind(&path).unwrap();
    let numbers = NUMBERS.map(|(name, number)| format!("{name} = {number}\n"));
    let script = numbers.concat() + TRY;
    std::fs::write(dir.path().join("ro/try.py"), script).unwrap();
    let triggers = format!(
        r#"
        [trigger.job]
        listen = "127.0.0.1:0"
        exec = ["/bin/sh", "-c", "read host; exec /usr/bin/python3 {{dir}}/ro/try.py {{dir}} $host {port} {}"]
        accept = true
        {keys}
        "#,
        path.display()
    );
    let host = Host::start_in(dir, &triggers, adjust);
    let mut client = host.connect("job");
    writeln!(client, "{}", host.pid()).unwrap();
    let heard = String::from_utf8(client.heard()).unwrap();
    let outcome = host.outcome("job");
    let told = std::fs::read_to_string(host.dir.path().join("rw/told")).unwrap();
    [outcome, heard, told]
}

/// What is strict about a job.
const STRICT: &str = "sandbox = \"strict\"\ndirs = { ro = \"ro\", rw = \"rw\" }\n";

/// Who it is where the host is root.
const NOBODY: u32 = 65534;

/// The keys of that.
fn somebody() -> &'static str {
    if nix::unistd::geteuid().is_root() {
        "setuid = 65534\nsetgid = 65534\ngroups = []\n"
    } else {
        ""
    }
}

fn all_is_denied([outcome, heard, said]: &[String; 3]) {
    assert_eq!((&**outcome, &**heard), ("done", "tried\n"), "{said}");
    let files = FILES.map(|what| {
        // What would change its folder is told as if that lay on another disk.
        let errno = if what == "link in" {
            libc::EXDEV
        } else {
            libc::EACCES
        };
        format!("{what}: {errno}")
    });
    let calls = CALLS.map(|what| format!("{what}: {}", libc::EPERM));
    let denied: Vec<_> = files.into_iter().chain(calls).collect();
    let attempts: Vec<_> = said.lines().take(denied.len()).collect();
    assert_eq!(attempts, denied);
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
    all_is_denied(&tried(&format!("{STRICT}{}", somebody()), |command| {
        command.env("PORTCULLIS_SECRET", "hidden");
    }));
}

#[test]
fn a_strict_job_is_not_root() {
    if !support::as_root("a strict job as root") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for user in ["", "setuid = 0\n"] {
        let said = support::command(
            "check",
            &format!(
                "[trigger.job]\nlisten = \"127.0.0.1:0\"\nscript = \"true\"\nsandbox = \"strict\"\n{user}"
            ),
            dir.path(),
        );
        assert_eq!(said.code, Some(100), "{}", said.stderr);
        assert!(said.stderr.contains("give setuid"), "{}", said.stderr);
    }
}

#[test]
fn what_a_strict_job_has_started_ends_with_it() {
    let host = Host::start(&format!(
        r#"
        [trigger.job]
        listen = "127.0.0.1:0"
        script = "sleep 1000 & echo $!"
        accept = true
        sandbox = "strict"
        {}
        "#,
        somebody()
    ));
    let mut client = host.connect("job");
    // The one that sleeps has the connection, too: it ends when that has gone.
    let pid = String::from_utf8(client.heard()).unwrap();
    assert_eq!(host.outcome("job"), "done");
    assert!(!Path::new("/proc").join(pid.trim()).exists());
}

#[test]
fn without_a_sandbox_a_job_gets_all_that_a_strict_one_is_denied() {
    let [_, _, told] = tried("sandbox = \"none\"", |_| {});
    let mut lines = told.lines();
    for what in FILES.iter().chain(&CALLS) {
        let (tried, came) = lines.next().unwrap().rsplit_once(": ").unwrap();
        assert_eq!(tried, *what, "{told}");
        let not_root = *what == "read what only root may" && !support::as_root(what);
        if came == "0" || not_root {
            continue;
        }
        assert!(RARE.contains(what), "{what} in {told}");
        support::untried(&format!("{what}, which this machine refuses anyway"));
    }
}

#[test]
fn a_strict_job_of_a_host_without_root_is_as_strict() {
    // Root has another way to a private network, and has rights to give up.
    if !support::as_root("a strict job of a host without root, beside one with it") {
        return;
    }
    all_is_denied(&tried(STRICT, |command| {
        command.uid(65534).gid(65534);
        let mut told = command.get_envs();
        let (_, notify) = told.find(|(name, _)| *name == "NOTIFY_SOCKET").unwrap();
        open_to_all(Path::new("/"), notify.unwrap().to_str().unwrap());
    }));
}

#[test]
fn a_strict_job_that_accepts_for_itself_serves_its_clients() {
    let host = Host::start(
        &r#"
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
        "#
        .replace("sandbox =", &format!("{}sandbox =", somebody())),
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
        let wanted = format!(
            "{path} holds /proc, in which a guest would find the variables and the memory of the host: "
        );
        assert!(said.stderr.contains(&wanted), "{}", said.stderr);
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
    support::child(host, "portcullis-spwn")
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
    let root = support::as_root("an empty bounding set of capabilities");
    for thread in all {
        assert_eq!(status(pid, &thread, "NoNewPrivs"), "1", "thread {thread}");
        assert_eq!(status(pid, &thread, "Seccomp"), "2", "thread {thread}");
        if root {
            assert_eq!(
                status(pid, &thread, "CapBnd"),
                "0000000000000000",
                "thread {thread}"
            );
        }
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
    if !support::as_root("a host that becomes another user") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("cache")).unwrap();
    open_to_all(dir.path(), "");
    open_to_all(dir.path(), "cache");
    std::os::unix::fs::chown(dir.path().join("cache"), Some(65534), None).unwrap();
    std::fs::create_dir(dir.path().join("sockets")).unwrap();
    let ids = "/bin/grep -E '^(Uid|Gid|Groups)' /proc/self/status";
    // One that only root may bind, and that is free.
    let low = (600..1024).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let low = low.unwrap();
    let mut host = Host::start_in(
        dir,
        &format!(
            r#"
        [host]
        user = 65534
        group = 65534
        [trigger.echo]
        listen = ["127.0.0.1:{low}", "unix:{{dir}}/sockets/echo"]
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
    let patience = rustix::event::Timespec::try_from(PATIENCE).unwrap();
    let ended = rustix::event::poll(&mut watched, Some(&patience));
    assert_eq!(ended, Ok(1), "the spawner does not end");
    assert!(!path.exists(), "the path is left behind");
}

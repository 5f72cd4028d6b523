//! Ways out of a handler, each tried and denied: out of a directory that a guest was given, to the descriptors of other
//! connections, and from a strict native job to files, sockets and processes.

mod support;

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use support::Host;

/// What a strict job tries; each attempt is a line.
const TRY: &str = r#"
import ctypes, os, signal, socket, sys
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
    assert_eq!(attempts.count(), 24, "{said}");
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
    use std::os::unix::process::CommandExt as _;
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

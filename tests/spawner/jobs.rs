//! Stories of `exec` jobs, with the listener and with a connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use portcullis::handler::exec::{Exec, Watch};
use portcullis::outcome::Outcome;
use portcullis::plan::{Admission, Identity, NativeJob, NativeStyle, Respawn, Sandbox};
use portcullis::queue::Verdict;
use portcullis::spawner::Handle;
use tokio::io::AsyncReadExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};

fn job(argv: &[&str]) -> NativeJob {
    NativeJob {
        argv: argv.iter().map(|a| (*a).to_owned()).collect(),
        env: vec![],
        style: NativeStyle::Listener {
            instances: NonZeroU32::MIN,
            respawn: Respawn {
                limit: NonZeroU32::new(10),
                interval: Duration::from_millis(50),
            },
        },
        deadline: None,
        first_byte: None,
        setuid: None,
        setgid: None,
        groups: None,
        chdir: "/".into(),
        chroot: None,
        umask: 0o022,
        nice: None,
        limit: vec![],
        kill_signal: Signal::SIGTERM,
        kill_timeout: Duration::from_millis(50),
        sandbox: Sandbox::None,
    }
}

fn accept_one_job() -> NativeJob {
    job(&[
        std::env::current_exe().unwrap().to_str().unwrap(),
        "--accept-one",
    ])
}

/// The job of several stories: one accept, one answer.
pub fn accept_one() -> ExitCode {
    if std::env::var("UPSTART_FDS").as_deref() != Ok("3") {
        return ExitCode::FAILURE;
    }
    #[allow(unsafe_code, reason = "a descriptor crossed exec")]
    // SAFETY: descriptor 3 is the listener this process was given, and nothing else owns it.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    // Works for every kind of stream socket: only the address of the peer would not.
    let accepted: OwnedFd = rustix::net::accept(&listener).unwrap();
    let mut connection = TcpStream::from(accepted);
    let mut said = Vec::new();
    // A client that reset before it was accepted.
    if connection.read_to_end(&mut said).is_ok() {
        let _ = connection.write_all(b"I got your message: ");
        let _ = connection.write_all(&said);
    }
    ExitCode::SUCCESS
}

type Ask = Box<dyn Fn() -> std::io::Result<String> + Send + Sync>;

#[derive(Debug, PartialEq)]
enum Told {
    Ended(Outcome, Verdict),
    Paused,
}

struct Teller {
    ids: AtomicU64,
    tell: mpsc::UnboundedSender<Told>,
    running: watch::Sender<usize>,
}

impl Watch for Teller {
    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
    fn started(&self, _id: u64, _pid: i32) {
        self.running.send_modify(|running| *running += 1);
    }
    fn ended(&self, _id: u64, outcome: &Outcome, verdict: Verdict, _ran: Duration) {
        self.running
            .send_modify(|running| *running = running.saturating_sub(1));
        let _ = self.tell.send(Told::Ended(outcome.clone(), verdict));
    }
    fn paused(&self, _pause: Duration) {
        let _ = self.tell.send(Told::Paused);
    }
}

struct Served {
    told: mpsc::UnboundedReceiver<Told>,
    running: watch::Receiver<usize>,
    close: oneshot::Sender<()>,
    stop: watch::Sender<Option<Outcome>>,
    task: JoinHandle<std::io::Result<()>>,
}

fn serve(spawner: &Handle, job: &NativeJob, listener: impl Into<OwnedFd>) -> Served {
    let exec = Arc::new(Exec::load(job, "test", spawner).unwrap());
    let (tell, told) = mpsc::unbounded_channel();
    let (close, closed) = oneshot::channel();
    let (stop, stopped) = watch::channel(None);
    let (running_now, running) = watch::channel(0);
    let watch = Arc::new(Teller {
        ids: AtomicU64::new(1),
        tell,
        running: running_now,
    });
    let listener: OwnedFd = listener.into();
    let task = tokio::spawn(async move {
        let close = async { drop(closed.await) };
        exec.serve(listener.as_fd(), vec![], watch, close, stopped)
            .await
    });
    Served {
        told,
        running,
        close,
        stop,
        task,
    }
}

/// Says hello, ends its side, and hears what comes until the other ends too.
fn ask(mut stream: impl Read + Write, end: impl FnOnce(&mut dyn Write)) -> std::io::Result<String> {
    stream.write_all(b"Hello, World!")?;
    end(&mut std::io::sink());
    let mut heard = String::new();
    stream.read_to_string(&mut heard)?;
    Ok(heard)
}

fn ask_tcp(address: std::net::SocketAddr) -> std::io::Result<String> {
    let stream = TcpStream::connect(address)?;
    let other = stream.try_clone()?;
    ask(stream, move |_| drop(other.shutdown(Shutdown::Write)))
}

fn ask_unix(address: &SocketAddr) -> std::io::Result<String> {
    let stream = UnixStream::connect_addr(address)?;
    let other = stream.try_clone()?;
    ask(stream, move |_| drop(other.shutdown(Shutdown::Write)))
}

pub async fn what_cannot_start_is_refused_when_it_is_loaded(spawner: Handle) {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "not executable").unwrap();
    let plain = plain.to_str().unwrap();
    let refused = |job: NativeJob| Exec::load(&job, "test", &spawner).unwrap_err().to_string();
    let sh = || job(&["/bin/sh"]);
    for (job, why) in [
        (
            job(&["/no/such/thing"]),
            "program /no/such/thing: No such file or directory (os error 2)".to_owned(),
        ),
        (job(&["/usr"]), "program /usr: is a folder".to_owned()),
        (job(&[plain]), format!("program {plain}: is not executable")),
        (job(&[]), "there is no program to start".to_owned()),
        (
            NativeJob {
                env: vec![("PATH".into(), "/usr/bin:/bin".into())],
                ..job(&["no-such-thing"])
            },
            "no-such-thing: not found in PATH (/usr/bin:/bin)".to_owned(),
        ),
        (
            NativeJob {
                setuid: Some(Identity::Name("nobody-of-that-name".into())),
                ..sh()
            },
            "there is no user `nobody-of-that-name` on this system".to_owned(),
        ),
        (
            NativeJob {
                setgid: Some(Identity::Name("no-such-group".into())),
                ..sh()
            },
            "there is no group `no-such-group` on this system".to_owned(),
        ),
        (
            NativeJob {
                chdir: "/no/such/folder".into(),
                ..sh()
            },
            "chdir /no/such/folder: No such file or directory (os error 2)".to_owned(),
        ),
        (
            NativeJob {
                chroot: Some(folder.path().into()),
                ..sh()
            },
            format!(
                "program {}/bin/sh: No such file or directory (os error 2)",
                folder.path().display()
            ),
        ),
    ] {
        assert_eq!(refused(job), why);
    }
    let huge = NativeJob {
        env: vec![("HUGE".into(), "x".repeat(130_000))],
        ..sh()
    };
    assert!(refused(huge).contains("at most"));
    let mut many = job(&["/bin/true"]);
    many.env = (0..80_000)
        .map(|number| (format!("V{number}"), String::new()))
        .collect();
    assert!(refused(many).contains("at most"));
    // One without a folder is looked for in PATH.
    Exec::load(&job(&["sh"]), "test", &spawner).unwrap();
}

pub async fn a_connection_is_stdin_stdout_and_descriptor_3(spawner: Handle) {
    let script = "read line; echo \"$line, $LISTEN_FDS $REMOTE_PORT ${UPSTART_FDS-unset}\"; echo more >&3; exit 7";
    let mut job = job(&["/bin/sh", "-c", script]);
    job.style = NativeStyle::Connection(Admission::default());
    let exec = Exec::load(&job, "test", &spawner).unwrap();
    let (mut client, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    client.write_all(b"hello\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let facts = vec![("REMOTE_PORT".to_owned(), "99".to_owned())];
    let outcome = exec
        .run(theirs.into(), &facts, 1, std::future::pending())
        .await;
    assert_eq!(outcome, Outcome::Exit(7));
    let mut heard = String::new();
    client.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello, 1 99 unset\nmore\n");
}

pub async fn a_job_that_ignores_term_is_killed_at_its_deadline(spawner: Handle) {
    let script = "trap '' TERM; echo ready; while :; do sleep 1000; done";
    let exec = Exec::load(&job(&["/bin/sh", "-c", script]), "test", &spawner).unwrap();
    let (client, theirs) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let client = tokio::net::UnixStream::from_std(client).unwrap();
    let deadline = async {
        client.readable().await.unwrap();
        Outcome::Deadline
    };
    assert_eq!(
        exec.run(theirs.into(), &[], 1, deadline).await,
        Outcome::Deadline
    );
    let mut heard = String::new();
    let mut client = client;
    // Ends: nobody holds the connection any more.
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "ready\n");
}

pub async fn a_flood_of_output_does_not_hold_the_job_up(spawner: Handle) {
    let script = "head -c 4000000 /dev/zero >&2; sleep 1000 2>&2 >&2 <&2 3>&- & exit 3";
    let exec = Exec::load(&job(&["/bin/sh", "-c", script]), "test", &spawner).unwrap();
    let (_client, theirs) = UnixStream::pair().unwrap();
    // What it left behind holds the log's pipe open, and is not waited for.
    let outcome = exec
        .run(theirs.into(), &[], 1, std::future::pending())
        .await;
    assert_eq!(outcome, Outcome::Exit(3));
}

pub async fn a_job_that_never_accepts_runs_once_a_connection_and_each_client_is_closed(
    spawner: Handle,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = SocketAddr::from_pathname(folder.path().join("socket")).unwrap();
    let name =
        SocketAddr::from_abstract_name(format!("portcullis-{}", std::process::id())).unwrap();
    let inet = TcpListener::bind("127.0.0.1:0").unwrap();
    let inet6 = TcpListener::bind("[::1]:0").ok();
    let mut listeners: Vec<(OwnedFd, Ask)> = vec![];
    for inet in [Some(inet), inet6].into_iter().flatten() {
        let address = inet.local_addr().unwrap();
        listeners.push((inet.into(), Box::new(move || ask_tcp(address))));
    }
    for address in [path, name] {
        let unix = UnixListener::bind_addr(&address).unwrap();
        listeners.push((unix.into(), Box::new(move || ask_unix(&address))));
    }
    for (listener, ask) in listeners {
        let record = folder.path().join("record");
        let script = format!("echo run >> {}", record.display());
        let mut served = serve(&spawner, &job(&["/bin/sh", "-e", "-c", &script]), listener);
        let ask = Arc::new(ask);
        let clients: Vec<_> = (0..3)
            .map(|_| {
                spawn_blocking({
                    let ask = ask.clone();
                    move || ask()
                })
            })
            .collect();
        for client in clients {
            // Closed: the end, or a reset because what it said was never read.
            let heard = client.await.unwrap();
            assert!(heard.as_ref().map_or(true, String::is_empty), "{heard:?}");
        }
        for _ in 0..3 {
            let end = Told::Ended(Outcome::Done, Verdict::Left { closed: 1 });
            assert_eq!(served.told.recv().await, Some(end));
        }
        served.close.send(()).unwrap();
        served.task.await.unwrap().unwrap();
        assert!(served.told.try_recv().is_err(), "no restart loop");
        assert_eq!(std::fs::read_to_string(&record).unwrap(), "run\n".repeat(3));
        std::fs::remove_file(&record).unwrap();
    }
}

pub async fn ten_clients_of_a_single_accept_job_all_get_their_reply(spawner: Handle) {
    let folder = tempfile::tempdir().unwrap();
    let inet = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inet.local_addr().unwrap();
    let path = SocketAddr::from_pathname(folder.path().join("socket")).unwrap();
    let unix = UnixListener::bind_addr(&path).unwrap();
    let mut over = vec![
        (serve(&spawner, &accept_one_job(), inet), vec![]),
        (serve(&spawner, &accept_one_job(), unix), vec![]),
    ];
    for _ in 0..10 {
        over[0].1.push(spawn_blocking(move || ask_tcp(address)));
        let path = path.clone();
        over[1].1.push(spawn_blocking(move || ask_unix(&path)));
    }
    for (mut served, clients) in over {
        for client in clients {
            assert_eq!(
                client.await.unwrap().unwrap(),
                "I got your message: Hello, World!"
            );
        }
        for _ in 0..10 {
            assert_eq!(
                served.told.recv().await,
                Some(Told::Ended(Outcome::Done, Verdict::Taken))
            );
        }
        served.close.send(()).unwrap();
        served.task.await.unwrap().unwrap();
        assert!(served.told.try_recv().is_err());
    }
}

pub async fn a_client_that_resets_in_the_queue_neither_hangs_nor_spins(spawner: Handle) {
    for (job, verdict) in [
        (job(&["/bin/sh", "-c", "true"]), Verdict::Left { closed: 1 }),
        (accept_one_job(), Verdict::Taken),
    ] {
        let inet = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = inet.local_addr().unwrap();
        for _ in 0..3 {
            let client = socket2::SockRef::from(&TcpStream::connect(address).unwrap())
                .set_linger(Some(Duration::ZERO));
            client.unwrap();
        }
        let other = spawn_blocking(move || ask_tcp(address));
        let mut served = serve(&spawner, &job, inet);
        // While clients that have reset wait beside one that has not, it can be open whose turn it was.
        // Then nobody is closed, and a job that takes nothing is run once more.
        let (mut settled, mut open) = (0, 0);
        while settled < 4 {
            let told = served.told.recv().await.unwrap();
            assert!(matches!(told, Told::Ended(Outcome::Done, _)), "{told:?}");
            if told == Told::Ended(Outcome::Done, verdict) {
                settled += 1;
            } else {
                open += 1;
            }
        }
        assert!(open <= 3, "{open} runs in vain");
        let heard = other.await.unwrap();
        let answered = verdict == Verdict::Taken;
        assert_eq!(heard.is_ok_and(|heard| !heard.is_empty()), answered);
        served.close.send(()).unwrap();
        served.task.await.unwrap().unwrap();
        assert!(
            served.told.try_recv().is_err(),
            "no run without a connection"
        );
    }
}

fn write_program(path: &Path, text: &str) {
    // Renamed into place: a program that is open for writing cannot be executed.
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&new, path).unwrap();
}

pub async fn a_job_that_keeps_failing_pauses_and_serves_once_it_is_mended(spawner: Handle) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    write_program(&program, "#!/no/such/interpreter\n");
    let inet = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inet.local_addr().unwrap();
    let mut broken = job(&[program.to_str().unwrap()]);
    broken.style = NativeStyle::Listener {
        instances: NonZeroU32::MIN,
        // Long enough that ten failures fall into it on any machine.
        respawn: Respawn {
            limit: NonZeroU32::new(10),
            interval: Duration::from_secs(3),
        },
    };
    let mut served = serve(&spawner, &broken, inet);
    let mut clients: Vec<_> = (0..5)
        .map(|_| spawn_blocking(move || ask_tcp(address)))
        .collect();
    for _ in 0..5 {
        let told = served.told.recv().await.unwrap();
        let Told::Ended(Outcome::Failed(why), Verdict::Left { closed: 1 }) = told else {
            panic!("{told:?}")
        };
        assert!(
            why.starts_with(&format!("cannot start {}: exec: ", program.display())),
            "{why}"
        );
    }
    write_program(&program, "#!/bin/sh\nexit 1\n");
    clients.extend((0..5).map(|_| spawn_blocking(move || ask_tcp(address))));
    for _ in 0..5 {
        let end = Told::Ended(Outcome::Exit(1), Verdict::Left { closed: 1 });
        assert_eq!(served.told.recv().await, Some(end));
    }
    assert_eq!(served.told.recv().await, Some(Told::Paused));
    let test = std::env::current_exe().unwrap();
    write_program(
        &program,
        &format!("#!/bin/sh\nexec {} --accept-one\n", test.display()),
    );
    let heard = spawn_blocking(move || ask_tcp(address)).await.unwrap();
    assert_eq!(heard.unwrap(), "I got your message: Hello, World!");
    for client in clients {
        assert!(
            client.await.unwrap().map_or(true, |heard| heard.is_empty()),
            "closed, not left hanging"
        );
    }
    served.close.send(()).unwrap();
    served.task.await.unwrap().unwrap();
}

pub async fn several_instances_serve_at_once(spawner: Handle) {
    let inet = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inet.local_addr().unwrap();
    let mut several = accept_one_job();
    several.style = NativeStyle::Listener {
        instances: NonZeroU32::new(3).unwrap(),
        respawn: Respawn {
            limit: NonZeroU32::new(10),
            interval: Duration::from_secs(5),
        },
    };
    let mut served = serve(&spawner, &several, inet);
    // Each holds its process until it has ended its side.
    let mut held: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    served
        .running
        .wait_for(|running| *running == 3)
        .await
        .unwrap();
    for stream in &mut held {
        stream.write_all(b"x").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "I got your message: x");
    }
    for _ in 0..3 {
        // While others run it may be open whose connection was taken.
        let told = served.told.recv().await.unwrap();
        let Told::Ended(Outcome::Done, Verdict::Taken | Verdict::Waiting) = told else {
            panic!("{told:?}")
        };
    }
    served.close.send(()).unwrap();
    served.task.await.unwrap().unwrap();
}

pub async fn a_drain_ends_the_jobs_that_run(spawner: Handle) {
    let inet = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inet.local_addr().unwrap();
    let mut served = serve(&spawner, &accept_one_job(), inet);
    let mut held = TcpStream::connect(address).unwrap();
    served
        .running
        .wait_for(|running| *running == 1)
        .await
        .unwrap();
    held.write_all(b"x").unwrap();
    served.close.send(()).unwrap();
    served.stop.send(Some(Outcome::Drained)).unwrap();
    let told = served.told.recv().await.unwrap();
    assert!(matches!(told, Told::Ended(Outcome::Drained, _)), "{told:?}");
    served.task.await.unwrap().unwrap();
    // Ended, with a reset if it was accepted and not read.
    assert!(
        held.read_to_end(&mut Vec::new())
            .map_or(true, |heard| heard == 0)
    );
}

/// As many as `instances` at once of a script whose `$1` is this program and whose `$2` is a folder.
fn several(instances: u32, script: &str, folder: &Path) -> NativeJob {
    let accept_one = std::env::current_exe().unwrap();
    let mut several = job(&[
        "/bin/sh",
        "-c",
        script,
        "sh",
        accept_one.to_str().unwrap(),
        folder.to_str().unwrap(),
    ]);
    several.env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    several.style = NativeStyle::Listener {
        instances: NonZeroU32::new(instances).unwrap(),
        respawn: Respawn {
            limit: NonZeroU32::new(10),
            interval: Duration::from_secs(5),
        },
    };
    several
}

pub async fn a_client_whose_run_failed_is_served_though_another_run_goes_on(spawner: Handle) {
    let folder = tempfile::tempdir().unwrap();
    let script =
        r#"mkdir "$2/first" 2>&- || ! mkdir "$2/second" 2>&- || exit 1; exec "$1" --accept-one"#;
    let inet = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inet.local_addr().unwrap();
    let mut served = serve(&spawner, &several(2, script, folder.path()), inet);
    let held = TcpStream::connect(address).unwrap();
    served.running.wait_for(|now| *now == 1).await.unwrap();
    let heard = spawn_blocking(move || ask_tcp(address)).await.unwrap();
    assert_eq!(heard.unwrap(), "I got your message: Hello, World!");
    assert!(folder.path().join("second").exists());
    drop(held);
    served.close.send(()).unwrap();
    served.task.await.unwrap().unwrap();
}

pub async fn several_instances_never_start_two_runs_for_one_connection(spawner: Handle) {
    let folder = tempfile::tempdir().unwrap();
    let script = r#"echo run >> "$2/runs"; sleep 0.1; exec "$1" --accept-one"#;
    let inet = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inet.local_addr().unwrap();
    let served = serve(&spawner, &several(3, script, folder.path()), inet);
    for _ in 0..4 {
        let heard = spawn_blocking(move || ask_tcp(address)).await.unwrap();
        assert_eq!(heard.unwrap(), "I got your message: Hello, World!");
    }
    served.close.send(()).unwrap();
    // All may have ended already, and then nobody listens.
    let _ = served.stop.send(Some(Outcome::Drained));
    served.task.await.unwrap().unwrap();
    let runs = std::fs::read_to_string(folder.path().join("runs")).unwrap();
    assert_eq!(runs, "run\n".repeat(4));
}

/// The first run shuts its listener down, the others serve.
const SHUTS_DOWN: &str = r#"if mkdir "$2/first" 2>&-
    then exec python3 -c 'import socket; socket.socket(fileno=3).shutdown(2)'
    else exec "$1" --accept-one; fi"#;

pub async fn a_listener_that_its_job_shuts_down_is_opened_again(spawner: Handle) {
    let folder = tempfile::tempdir().unwrap();
    // With a port that the system chose, and with the same port given.
    let mut address = "127.0.0.1:0".parse().unwrap();
    for given in ["chosen", "given"] {
        let listener = TcpListener::bind(address).unwrap();
        address = listener.local_addr().unwrap();
        let first = folder.path().join(given);
        std::fs::create_dir(&first).unwrap();
        let mut served = serve(&spawner, &several(1, SHUTS_DOWN, &first), listener);
        spawn_blocking(move || ask_tcp(address))
            .await
            .unwrap()
            .unwrap_err();
        let told = served.told.recv().await.unwrap();
        let shut = Verdict::Left { closed: 0 };
        assert_eq!(told, Told::Ended(Outcome::Done, shut));
        // It is open again before the end of the run is told.
        let heard = spawn_blocking(move || ask_tcp(address));
        let heard = heard.await.unwrap().unwrap();
        assert_eq!(heard, "I got your message: Hello, World!");
        served.close.send(()).unwrap();
        served.task.await.unwrap().unwrap();
    }
}

pub async fn a_unix_listener_that_its_job_shuts_down_is_the_end_of_its_trigger(spawner: Handle) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let served = serve(&spawner, &several(1, SHUTS_DOWN, folder.path()), listener);
    let _client = UnixStream::connect(&path).unwrap();
    let error = served.task.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the job shut its listener down");
}

pub async fn a_run_that_sets_its_listener_to_non_blocking_does_not_surprise_the_next(
    spawner: Handle,
) {
    let script = "import os, socket
answer = str(os.get_blocking(3)).encode()
connection = socket.socket(fileno=3).accept()[0]
while connection.recv(100): pass
connection.sendall(answer)
os.set_blocking(3, False)";
    let inet = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = inet.local_addr().unwrap();
    let served = serve(&spawner, &job(&["/usr/bin/python3", "-c", script]), inet);
    for _ in 0..2 {
        let heard = spawn_blocking(move || ask_tcp(address)).await.unwrap();
        assert_eq!(heard.unwrap(), "True");
    }
    served.close.send(()).unwrap();
    served.task.await.unwrap().unwrap();
}

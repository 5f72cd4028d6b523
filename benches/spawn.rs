//! What starting a process costs, by the way it is started and by how many mappings the host holds:
//! the figures behind the spawner (docs/native-spawn.md). Prints one table; `cargo bench --bench spawn`,
//! or with mapping counts of one's own: `cargo bench --bench spawn -- 0 60000`.

#![allow(
    unsafe_code,
    reason = "the bench forks and clones as the candidates would"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::CloneFlags;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use portcullis::queue::Queue;
use portcullis::spawner::{self, Spawner};

const RUNS: usize = 200;
const PROGRAM: &std::ffi::CStr = c"/bin/true";

/// One row: how long the caller is held, start to reaped, and a burst of `RUNS` at once.
#[derive(Clone, Copy)]
struct Figures {
    held: Duration,
    whole: Duration,
    burst: Duration,
}

fn main() -> std::io::Result<()> {
    // Before anything else: the spawners of (c) and (d) and the real one are forked from a small process.
    let (spawner, mut fork_spawner, mut vfork_spawner) = (
        Spawner::start().map_err(std::io::Error::other)?,
        Forked::new(|| measure(start_fork))?,
        Forked::new(|| measure(start_vfork))?,
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let spawner = {
        let _guard = runtime.enter();
        spawner.connect().map_err(std::io::Error::other)?
    };

    let mut counts: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|a| a.parse().ok())
        .collect();
    if counts.is_empty() {
        counts = vec![0, 20_000, 60_000];
    }
    counts.sort_unstable();
    println!(
        "medians of {RUNS} starts of {}, in µs",
        PROGRAM.to_string_lossy()
    );
    println!(
        "{:>8}  {:<44} {:>8} {:>8} {:>10}",
        "mappings", "way", "held", "whole", "burst/s"
    );
    let mut mapped = 0;
    for count in counts {
        map(count - mapped);
        mapped = count;
        row(
            count,
            "(a) host: Command + pre_exec (fork)",
            measure(start_command_fork),
        );
        row(
            count,
            "(b) host: Command (posix_spawn)",
            measure(start_command),
        );
        row(count, "(b) host: clone(VM|VFORK)", measure(start_vfork));
        row(count, "(c) spawner: fork", fork_spawner.measure()?);
        row(
            count,
            "(d) spawner: clone(VM|VFORK)",
            vfork_spawner.measure()?,
        );
        row(
            count,
            "    the spawner as built, with its messages",
            runtime.block_on(real(&spawner)),
        );
    }
    queue()
}

fn row(mappings: usize, way: &str, figures: Figures) {
    let micros = |d: Duration| d.as_secs_f64() * 1e6;
    println!(
        "{mappings:>8}  {way:<44} {:>8.0} {:>8.0} {:>10.0}",
        micros(figures.held),
        micros(figures.whole),
        1e6 * f64::from(u32::try_from(RUNS).unwrap_or(u32::MAX)) / micros(figures.burst),
    );
}

/// Adds `count` mappings that the kernel cannot merge: neighbours differ in protection.
fn map(count: usize) {
    for i in 0..count {
        let protection = if i % 2 == 0 {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        // SAFETY: a new anonymous mapping overlaps nothing, and is never unmapped.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                8192,
                protection,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED, "mapping {i}: vm.max_map_count?");
        if i % 2 == 0 {
            // SAFETY: the page was just mapped writable. Touched, as the memory of a live instance is.
            unsafe { at.cast::<u8>().write_volatile(1) };
        }
    }
}

fn measure<C>(start: impl Fn() -> (C, Pid)) -> Figures {
    let mut held = Vec::with_capacity(RUNS);
    let mut whole = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begun = Instant::now();
        let (_child, pid) = start();
        held.push(begun.elapsed());
        waitpid(pid, None).expect("waitpid");
        whole.push(begun.elapsed());
    }
    let begun = Instant::now();
    let children: Vec<_> = (0..RUNS).map(|_| start()).collect();
    for (_, pid) in children {
        waitpid(pid, None).expect("waitpid");
    }
    Figures {
        held: median(held),
        whole: median(whole),
        burst: begun.elapsed(),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn start_command_fork() -> (std::process::Child, Pid) {
    let mut command = Command::new("/bin/true");
    command.stdin(Stdio::null());
    // SAFETY: setsid is async-signal-safe.
    unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
    let child = command.spawn().expect("spawn");
    let pid = Pid::from_raw(child.id().cast_signed());
    (child, pid)
}

fn start_command() -> (std::process::Child, Pid) {
    let child = Command::new("/bin/true")
        .stdin(Stdio::null())
        .spawn()
        .expect("spawn");
    let pid = Pid::from_raw(child.id().cast_signed());
    (child, pid)
}

fn exec() -> isize {
    let argv = [PROGRAM.as_ptr(), std::ptr::null()];
    let env: [*const libc::c_char; 1] = [std::ptr::null()];
    // SAFETY: both arrays end with a null pointer; _exit runs nothing of the parent's.
    unsafe {
        libc::setsid();
        libc::execve(PROGRAM.as_ptr(), argv.as_ptr(), env.as_ptr());
        libc::_exit(127)
    }
}

/// With a close-on-exec pipe, as a caller that must learn of a failed exec needs it.
fn start_fork() -> ((), Pid) {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("pipe");
    // SAFETY: the child only makes system calls.
    let pid = match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            exec();
            unreachable!()
        }
        ForkResult::Parent { child } => child,
    };
    drop(writer);
    let mut byte = [0];
    assert_eq!(nix::unistd::read(&reader, &mut byte), Ok(0));
    ((), pid)
}

fn start_vfork() -> ((), Pid) {
    thread_local! { static STACK: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; 65536]); }
    let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK;
    let pid = STACK.with_borrow_mut(|stack| {
        // SAFETY: the caller is held until the child has executed or ended; the child only makes system calls.
        unsafe { nix::sched::clone(Box::new(exec), stack, flags, Some(libc::SIGCHLD)) }
    });
    ((), pid.expect("clone"))
}

/// A small process that measures when it is told to.
struct Forked {
    pipe: UnixStream,
}

impl Forked {
    fn new(measure: impl Fn() -> Figures) -> std::io::Result<Self> {
        let (ours, mut theirs) = UnixStream::pair()?;
        // SAFETY: this process has one thread, so the child may do what it likes.
        if unsafe { fork() }?.is_child() {
            drop(ours);
            let mut byte = [0];
            while theirs.read(&mut byte).is_ok_and(|n| n == 1) {
                let f = measure();
                for time in [f.held, f.whole, f.burst] {
                    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
                    theirs.write_all(&nanos.to_ne_bytes())?;
                }
            }
            std::process::exit(0);
        }
        Ok(Self { pipe: ours })
    }

    fn measure(&mut self) -> std::io::Result<Figures> {
        self.pipe.write_all(&[0])?;
        let mut next = || {
            let mut nanos = [0; 8];
            self.pipe.read_exact(&mut nanos)?;
            Ok::<_, std::io::Error>(Duration::from_nanos(u64::from_ne_bytes(nanos)))
        };
        Ok(Figures {
            held: next()?,
            whole: next()?,
            burst: next()?,
        })
    }
}

/// What looking at an accept queue costs before a run: the identities while a job has not shown that it
/// accepts, the length alone when it has.
fn queue() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let connect = || TcpStream::connect(listener.local_addr()?);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        let mut queue = Queue::new(listener.as_fd())?;
        for times in &mut times {
            let _client = connect()?;
            let begun = Instant::now();
            assert!(queue.book());
            times.push(begun.elapsed());
            listener.accept()?;
            queue.settle(0);
        }
    }
    let [identities, length] = times.map(|times| median(times).as_secs_f64() * 1e6);
    println!(
        "a look at a TCP accept queue, in µs: length {length:.0}, with identities {identities:.0}"
    );
    Ok(())
}

/// The spawner that the host uses, seen from the host: message, start, message, end, message.
async fn real(spawner: &spawner::Handle) -> Figures {
    let null = std::fs::File::open("/dev/null").expect("/dev/null");
    let program = spawner::Program {
        path: PROGRAM.to_owned(),
        argv: vec![PROGRAM.to_owned()],
        env: vec![],
    };
    let recipe = spawner
        .register(&program, &spawner::Setup::default(), None)
        .expect("recipe");
    let start = || async {
        let fds = [&null, &null, &null, &null].map(AsFd::as_fd);
        spawner.spawn(&recipe, b"", fds).await.expect("spawn")
    };
    let mut held = Vec::new();
    let mut whole = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        let mut process = start().await;
        held.push(begun.elapsed());
        process.wait().await.expect("wait");
        whole.push(begun.elapsed());
    }
    let begun = Instant::now();
    let mut processes = Vec::new();
    for _ in 0..RUNS {
        processes.push(start().await);
    }
    for mut process in processes {
        process.wait().await.expect("wait");
    }
    Figures {
        held: median(held),
        whole: median(whole),
        burst: begun.elapsed(),
    }
}

//! Stories of the spawner and of the native jobs it starts. The spawner is forked before there are threads, so
//! this test has a `main` of its own (`harness = false`), which runs the stories one after another; an
//! argument selects those whose name contains it.

#[path = "spawner/after.rs"]
mod after;
#[path = "spawner/jobs.rs"]
mod jobs;
mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use nix::sys::resource::Resource;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis::spawner::{
    Ended, Handle, Limit, Process, Program, Setup, SpawnError, Spawner, Stage,
};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

type Run = fn(Handle) -> Pin<Box<dyn Future<Output = ()>>>;
type Story = (&'static str, Run);

macro_rules! stories {
    ($($module:ident::$name:ident),* $(,)?) => {
        vec![$((stringify!($name), (|spawner| Box::pin($module::$name(spawner))) as Run)),*]
    };
}

use self as spawner;

fn stories() -> Vec<Story> {
    stories![
        spawner::a_job_has_its_four_descriptors_and_no_other,
        spawner::listen_pid_is_the_jobs_own_pid,
        spawner::the_setup_is_seen_by_the_job,
        spawner::ids_and_groups_are_seen_by_the_job,
        spawner::signals_are_at_their_defaults_and_unblocked,
        spawner::an_exec_that_fails_says_where_and_why,
        spawner::starts_that_fail_at_once_tell_their_own_reasons,
        spawner::a_setup_that_fails_says_where_and_why,
        spawner::a_group_that_ignores_term_outlives_its_leader_until_it_is_killed,
        spawner::what_a_leader_leaves_behind_has_its_grace,
        spawner::a_real_time_signal_is_told_and_holds_nobody_up,
        spawner::a_dropped_process_is_killed,
        spawner::two_hundred_start_at_once_and_leave_no_zombies,
        spawner::a_request_that_is_too_large_is_the_end_of_that_request_only,
        spawner::what_runs_dies_with_a_killed_host,
        spawner::a_process_is_told_of_its_connection_and_of_nothing_else,
        spawner::a_sealed_spawner_starts_the_jobs_it_has_and_takes_no_other,
        after::one_that_comes_after_another_begins_when_that_has_ended,
        after::one_that_comes_after_another_is_spared_when_nothing_waits,
        after::one_that_comes_after_another_is_spared_when_that_is_signalled,
        after::one_that_comes_after_another_can_be_spared,
        after::none_begins_after_one_that_was_spared,
        jobs::what_cannot_start_is_refused_when_it_is_loaded,
        jobs::a_connection_is_stdin_stdout_and_descriptor_3,
        jobs::a_job_that_ignores_term_is_killed_at_its_deadline,
        jobs::a_flood_of_output_does_not_hold_the_job_up,
        jobs::a_job_that_never_accepts_runs_once_a_connection_and_each_client_is_closed,
        jobs::ten_clients_of_a_single_accept_job_all_get_their_reply,
        jobs::a_client_that_resets_in_the_queue_neither_hangs_nor_spins,
        jobs::a_job_that_keeps_failing_pauses_and_serves_once_it_is_mended,
        jobs::several_instances_serve_at_once,
        jobs::a_drain_ends_the_jobs_that_run,
        jobs::a_client_whose_run_failed_is_served_though_another_run_goes_on,
        jobs::several_instances_never_start_two_runs_for_one_connection,
        jobs::a_listener_that_its_job_shuts_down_is_opened_again,
        jobs::a_unix_listener_that_its_job_shuts_down_is_the_end_of_its_trigger,
        jobs::a_run_that_sets_its_listener_to_non_blocking_does_not_surprise_the_next,
    ]
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--accept-one") => return jobs::accept_one(),
        Some("--as-host") => return as_host(),
        _ => {}
    }
    let [spawner, victim, sealed] = [(); 3].map(|()| Spawner::start().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let [spawner, victim, sealed] = [spawner, victim, sealed].map(|it| it.connect().unwrap());
    let wanted = |name: &str| {
        arguments
            .iter()
            .filter(|a| !a.starts_with('-'))
            .all(|a| name.contains(a.as_str()))
    };
    let mut all = stories();
    all.push((
        "the_death_of_the_spawner_is_told_to_all_who_wait",
        |victim| Box::pin(the_death_of_the_spawner_is_told_to_all_who_wait(victim)),
    ));
    for (name, story) in all.into_iter().filter(|(name, _)| wanted(name)) {
        print!("test {name} ... ");
        let spawner = match name {
            _ if name.contains("death_of_the_spawner") => &victim,
            _ if name.contains("sealed_spawner") => &sealed,
            _ => &spawner,
        };
        let story = story(spawner.clone());
        // A story that fails panics, and ends the test; one that hangs must not hang the machine.
        let ended =
            runtime.block_on(async { tokio::time::timeout(Duration::from_mins(2), story).await });
        if ended.is_err() {
            println!("still running after two minutes");
            return ExitCode::FAILURE;
        }
        println!("ok");
    }
    ExitCode::SUCCESS
}

fn shell(script: &str) -> Program {
    program(&["/bin/sh", "-c", script])
}

fn program(argv: &[&str]) -> Program {
    let argv: Vec<_> = argv
        .iter()
        .map(|a| std::ffi::CString::new(*a).unwrap())
        .collect();
    let env = vec![c"PATH=/usr/bin:/bin".to_owned(), c"LISTEN_PID=".to_owned()];
    Program {
        path: argv[0].clone(),
        argv,
        env,
    }
}

async fn spawn(
    spawner: &Handle,
    program: &Program,
    setup: &Setup,
    fds: [BorrowedFd<'_>; 4],
) -> Result<Process, SpawnError> {
    let recipe = spawner.register(program, setup, None)?;
    spawner.spawn(&recipe, b"", fds).await
}

/// Starts it with stdout as a pipe, which is returned.
async fn start(spawner: &Handle, program: &Program, setup: &Setup) -> (Process, Receiver) {
    let null: OwnedFd = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap()
        .into();
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let fds = [null.as_fd(), writer.as_fd(), null.as_fd(), null.as_fd()];
    let process = spawn(spawner, program, setup, fds).await.unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    (process, Receiver::from_owned_fd(reader).unwrap())
}

async fn said(spawner: &Handle, program: &Program, setup: &Setup) -> String {
    let (mut process, mut stdout) = start(spawner, program, setup).await;
    let mut said = String::new();
    stdout.read_to_string(&mut said).await.unwrap();
    assert_eq!(process.wait().await.unwrap(), Ended::Exited(0), "{said}");
    said.trim().to_owned()
}

async fn a_job_has_its_four_descriptors_and_no_other(spawner: Handle) {
    let ls = program(&["/bin/ls", "/proc/self/fd"]);
    // 4 is the folder that ls reads; one more would make it 5.
    assert_eq!(
        said(&spawner, &ls, &Setup::default()).await,
        "0\n1\n2\n3\n4"
    );
}

async fn listen_pid_is_the_jobs_own_pid(spawner: Handle) {
    let (mut process, mut stdout) =
        start(&spawner, &shell("echo $LISTEN_PID $$"), &Setup::default()).await;
    let mut said = String::new();
    stdout.read_to_string(&mut said).await.unwrap();
    process.wait().await.unwrap();
    let pid = process.pid().await.unwrap();
    assert_eq!(said.trim(), format!("{pid} {pid}"));
}

async fn the_setup_is_seen_by_the_job(spawner: Handle) {
    let setup = Setup {
        limits: vec![Limit::new(Resource::RLIMIT_NOFILE, Some(77), Some(99)).unwrap()],
        umask: 0o027,
        nice: Some(7),
        chdir: c"/usr".to_owned(),
        ..Setup::default()
    };
    let script =
        "umask; nice; ulimit -Sn; ulimit -Hn; pwd; cut -d' ' -f5,6 /proc/$$/stat; echo $$ $$";
    let said = said(&spawner, &shell(script), &setup).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..5], ["0027", "7", "77", "99", "/usr"]);
    assert_eq!(lines[5], lines[6], "leader of its own group and session");
}

async fn ids_and_groups_are_seen_by_the_job(spawner: Handle) {
    if !support::as_root("a job of another user and of other groups") {
        return;
    }
    let setup = Setup {
        groups: Some(vec![7, 8]),
        gid: Some(5),
        uid: Some(1234),
        ..Setup::default()
    };
    let script = "grep -E '^(Uid|Gid|Groups)' /proc/self/status";
    let said = said(&spawner, &shell(script), &setup).await;
    let words: Vec<&str> = said.split_whitespace().collect();
    let expected = "Uid: 1234 1234 1234 1234 Gid: 5 5 5 5 Groups: 7 8";
    assert_eq!(words, expected.split(' ').collect::<Vec<_>>());
}

async fn signals_are_at_their_defaults_and_unblocked(spawner: Handle) {
    let grep = program(&["/bin/grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]);
    let said = said(&spawner, &grep, &Setup::default()).await;
    assert!(
        said.lines()
            .take(2)
            .all(|line| line.ends_with("0000000000000000")),
        "{said}"
    );
}

async fn an_exec_that_fails_says_where_and_why(spawner: Handle) {
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
    let missing = program(&["/no/such/program"]);
    let mut process = spawn(&spawner, &missing, &Setup::default(), fds)
        .await
        .unwrap();
    let error = process.wait().await.unwrap_err();
    assert!(
        matches!(&error, SpawnError::Refused { stage: Stage::Exec, error, .. }
        if error.raw_os_error() == Some(nix::libc::ENOENT))
    );
    assert_eq!(
        error.to_string(),
        "exec: No such file or directory (os error 2)"
    );
}

async fn starts_that_fail_at_once_tell_their_own_reasons(spawner: Handle) {
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
    let reasons = [
        ("/no/such/program", nix::libc::ENOENT),
        ("/dev/null", nix::libc::EACCES),
        ("/dev/null/program", nix::libc::ENOTDIR),
    ];
    let mut started = Vec::new();
    for (path, errno) in reasons.repeat(100) {
        let start = spawn(&spawner, &program(&[path]), &Setup::default(), fds).await;
        started.push((start.unwrap(), errno));
    }
    for (mut process, errno) in started {
        let Err(SpawnError::Refused { stage, error }) = process.wait().await else {
            panic!("it cannot be executed");
        };
        assert_eq!((stage, error.raw_os_error()), (Stage::Exec, Some(errno)));
    }
}

async fn a_setup_that_fails_says_where_and_why(spawner: Handle) {
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
    let setup = Setup {
        chdir: c"/no/such/folder".to_owned(),
        ..Setup::default()
    };
    let mut process = spawn(&spawner, &shell("true"), &setup, fds).await.unwrap();
    let error = process.wait().await.unwrap_err();
    assert!(
        matches!(
            error,
            SpawnError::Refused {
                stage: Stage::Chdir,
                ..
            }
        ),
        "{error}"
    );
}

async fn a_group_that_ignores_term_outlives_its_leader_until_it_is_killed(spawner: Handle) {
    let script = "trap '' TERM; sleep 1000 & trap - TERM; echo ready; wait";
    let (mut process, mut stdout) = start(&spawner, &shell(script), &Setup::default()).await;
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).await.unwrap();
    process.signal(Signal::SIGTERM as i32).await.unwrap();
    let grace = Duration::from_millis(200);
    let ended = tokio::time::timeout(grace, process.wait()).await;
    assert!(ended.is_err(), "the grandchild is alive: {ended:?}");
    process.signal(Signal::SIGKILL as i32).await.unwrap();
    assert_eq!(
        process.wait().await.unwrap(),
        Ended::Signalled(Signal::SIGTERM as i32)
    );
    // The grandchild held the pipe open.
    assert_eq!(stdout.read(&mut ready).await.unwrap(), 0);
}

async fn what_a_leader_leaves_behind_has_its_grace(spawner: Handle) {
    let script = r#"sh -c 'trap "sleep 0.3; echo tidied up; exit" TERM
        echo ready; while :; do sleep 0.05; done' & wait"#;
    let (mut process, mut stdout) = start(&spawner, &shell(script), &Setup::default()).await;
    let mut ready = [0; 6];
    stdout.read_exact(&mut ready).await.unwrap();
    process.signal(Signal::SIGTERM as i32).await.unwrap();
    // Meanwhile others are served.
    let quick = said(&spawner, &shell("echo quick"), &Setup::default()).await;
    assert_eq!(quick, "quick");
    assert_eq!(
        process.wait().await.unwrap(),
        Ended::Signalled(Signal::SIGTERM as i32)
    );
    let mut said = String::new();
    stdout.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "tidied up\n");
}

async fn a_real_time_signal_is_told_and_holds_nobody_up(spawner: Handle) {
    // It leaves an orphan that ends in the same way.
    let script = "(sh -c 'sleep 0.05; kill -40 $$' &); kill -40 $$";
    let (mut process, mut stdout) = start(&spawner, &shell(script), &Setup::default()).await;
    assert_eq!(process.wait().await.unwrap(), Ended::Signalled(40));
    // The orphan holds the pipe.
    assert_eq!(stdout.read(&mut [0; 1]).await.unwrap(), 0);
    let neighbour = said(&spawner, &shell("echo served"), &Setup::default()).await;
    assert_eq!(neighbour, "served");
}

async fn a_dropped_process_is_killed(spawner: Handle) {
    let (process, mut stdout) = start(&spawner, &shell("sleep 1000"), &Setup::default()).await;
    drop(process);
    assert_eq!(stdout.read(&mut [0; 1]).await.unwrap(), 0);
}

async fn two_hundred_start_at_once_and_leave_no_zombies(spawner: Handle) {
    let mut tasks = tokio::task::JoinSet::new();
    for status in 0..200 {
        let spawner = spawner.clone();
        tasks.spawn(async move {
            let script = shell(&format!("exit {status}"));
            let (mut process, _stdout) = start(&spawner, &script, &Setup::default()).await;
            assert_eq!(process.wait().await.unwrap(), Ended::Exited(status));
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let pid = spawner.pid();
    // What earlier stories killed may still be on its way out, but will be reaped.
    while std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap() != "" {
        tokio::task::yield_now().await;
    }
}

async fn a_request_that_is_too_large_is_the_end_of_that_request_only(spawner: Handle) {
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
    for length in [1_000_000, 131_072] {
        let huge = program(&["/bin/true", &"x".repeat(length)]);
        // By the packet, or else by exec.
        if let Ok(mut process) = spawn(&spawner, &huge, &Setup::default(), fds).await {
            process.wait().await.unwrap_err();
        }
    }
    assert_eq!(
        said(&spawner, &shell("echo still here"), &Setup::default()).await,
        "still here"
    );
}

async fn the_death_of_the_spawner_is_told_to_all_who_wait(victim: Handle) {
    let (mut process, mut stdout) = start(&victim, &shell("sleep 1000"), &Setup::default()).await;
    kill(Pid::from_raw(victim.pid()), Signal::SIGKILL).unwrap();
    assert!(matches!(process.wait().await, Err(SpawnError::Gone)));
    victim.gone().await;
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
    let refused = spawn(&victim, &shell("true"), &Setup::default(), fds).await;
    assert!(matches!(refused, Err(SpawnError::Gone)));
    drop(process);
    // Its jobs are not left behind either, nor what they had started.
    assert_eq!(stdout.read(&mut [0; 1]).await.unwrap(), 0);
}

/// A host that starts a job which holds this process's stdout, and one that has left its group, and waits to be killed.
fn as_host() -> ExitCode {
    let spawner = Spawner::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let spawner = spawner.connect().unwrap();
        let null = File::open("/dev/null").unwrap();
        let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
        let fds = [stdin.as_fd(), stdout.as_fd(), null.as_fd(), null.as_fd()];
        let script = shell("trap '' TERM HUP; setsid sleep 1000 & echo ready; wait");
        let _process = spawn(&spawner, &script, &Setup::default(), fds)
            .await
            .unwrap();
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

async fn what_runs_dies_with_a_killed_host(_spawner: Handle) {
    let mut host = Command::new(std::env::current_exe().unwrap())
        .arg("--as-host")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(host.stdout.take().unwrap());
    let mut ready = String::new();
    stdout.read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n");
    host.kill().unwrap();
    host.wait().unwrap();
    // The job and its child hold the pipe: this ends when they are gone.
    tokio::task::spawn_blocking(move || stdout.read_to_end(&mut Vec::new()))
        .await
        .unwrap()
        .unwrap();
}

async fn a_process_is_told_of_its_connection_and_of_nothing_else(spawner: Handle) {
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
    let recipe = spawner
        .register(&shell("true"), &Setup::default(), None)
        .unwrap();
    for variables in [
        b"LD_PRELOAD=/tmp/evil.so\0".as_slice(),
        b"PORT=1\0LD_PRELOAD=/tmp/evil.so\0",
        b"LISTEN_PID=1\0",
        b"PORT\0\0",
        b"PORT=1",
    ] {
        let mut process = spawner.spawn(&recipe, variables, fds).await.unwrap();
        let refused = process.wait().await;
        assert!(
            matches!(
                refused,
                Err(SpawnError::Refused {
                    stage: Stage::Job,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
    let facts = b"PORT=1\0REMOTE_ADDR=::1\0";
    let mut process = spawner.spawn(&recipe, facts, fds).await.unwrap();
    assert_eq!(process.wait().await.unwrap(), Ended::Exited(0));
}

async fn a_sealed_spawner_starts_the_jobs_it_has_and_takes_no_other(sealed: Handle) {
    let null = File::open("/dev/null").unwrap();
    let fds = [null.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
    let (setup, script) = (Setup::default(), shell("exit 7"));
    let recipe = sealed.register(&script, &setup, None).unwrap();
    assert!(sealed.takes_jobs());
    sealed.seal(None).unwrap();
    assert!(!sealed.takes_jobs());
    let refused = sealed.register(&script, &setup, None);
    assert!(matches!(refused, Err(SpawnError::Sealed)), "{refused:?}");
    for _ in 0..2 {
        let mut process = sealed.spawn(&recipe, b"", fds).await.unwrap();
        assert_eq!(process.wait().await.unwrap(), Ended::Exited(7));
    }
}

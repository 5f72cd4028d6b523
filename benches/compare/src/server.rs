//! A server under load: started, found to answer, and ended by its process id.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::client::{Client, Dialogue};
use crate::launch::{Launch, Ready};
use crate::process;

/// The name of the socket that is loaded, where a server has several.
pub const SERVED: &str = "served";

/// How long a server may take to listen: guests may have to be compiled.
const STARTING: Duration = Duration::from_mins(2);

/// How long it may take to end when it is asked to.
const ENDING: Duration = Duration::from_secs(3);

/// A running server; ends when dropped.
pub struct Server {
    /// Handlers are below it.
    pub pid: u32,
    child: Child,
    sockets: Vec<(String, SocketAddr)>,
    /// Kept open for what the server may still say.
    stdout: Option<Lines<BufReader<ChildStdout>>>,
}

impl Server {
    /// Starts it and waits until it listens. It logs to a file, as a user's would.
    pub async fn start(launch: &Launch, log: &Path) -> anyhow::Result<Self> {
        let program = &launch.command[0];
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let stdout = match launch.ready {
            Ready::Says(_) => Stdio::piped(),
            Ready::Accepts(_) => file.try_clone()?.into(),
        };
        let mut command = Command::new(program);
        command.args(&launch.command[1..]).stdin(Stdio::null());
        let child = command.stdout(stdout).stderr(file).spawn();
        let mut child =
            child.with_context(|| format!("start {program}, which may not be installed"))?;
        let stdout = child.stdout.take().map(|out| BufReader::new(out).lines());
        let pid = child.id().context("it has ended at once")?;
        let mut server = Self {
            pid,
            child,
            sockets: Vec::new(),
            stdout,
        };
        let listening = timeout(STARTING, server.listening(&launch.ready)).await;
        match listening.unwrap_or_else(|_| Err(anyhow!("it does not listen"))) {
            Ok(()) => Ok(server),
            // What it said last is likely to be why.
            Err(error) => Err(match fs::read_to_string(log)?.trim().lines().last() {
                Some(line) => error.context(line.to_owned()),
                None => error,
            }),
        }
    }

    async fn listening(&mut self, ready: &Ready) -> anyhow::Result<()> {
        match (ready, &mut self.stdout) {
            (Ready::Says(sockets), Some(lines)) => {
                while self.sockets.len() < *sockets {
                    let line = lines
                        .next_line()
                        .await?
                        .context("it has ended before it listened")?;
                    if let ["listening", name, address] = line.split(' ').collect::<Vec<_>>()[..] {
                        self.sockets.push((name.to_owned(), address.parse()?));
                    }
                }
            }
            (Ready::Says(_), None) => bail!("its stdout is not read"),
            (Ready::Accepts(address), _) => {
                // Not all say when they listen, so it is tried.
                while std::net::TcpStream::connect(address).is_err() {
                    if let Some(status) = self.child.try_wait()? {
                        bail!("it has ended before it listened: {status}");
                    }
                    sleep(Duration::from_millis(20)).await;
                }
                self.sockets.push((SERVED.to_owned(), *address));
            }
        }
        Ok(())
    }

    /// A client of one of its sockets.
    pub fn client(&self, name: &str, dialogue: Dialogue) -> anyhow::Result<Client> {
        let found = self.sockets.iter().find(|(found, _)| found == name);
        let (_, address) = found.with_context(|| format!("it has no socket {name}"))?;
        Ok(Client::new(*address, dialogue))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let all = process::tree(self.pid);
        let signal = |pid: &u32, signal| kill(Pid::from_raw(pid.cast_signed()), signal).ok();
        signal(&self.pid, Signal::SIGTERM);
        let begun = Instant::now();
        while all.iter().any(|&pid| process::alive(pid)) && begun.elapsed() < ENDING {
            thread::sleep(Duration::from_millis(10));
        }
        for pid in all.iter().filter(|&&pid| process::alive(pid)) {
            signal(pid, Signal::SIGKILL);
        }
        self.child.try_wait().ok();
    }
}

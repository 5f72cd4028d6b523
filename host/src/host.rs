//! The host as it runs: what serves each trigger, and what is done when it is told something. To start is to
//! turn from no plan to the first one, to reload from one to the next; both are done whole or not at all.

mod loading;
mod manager;
mod turning;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tracing::{info, warn};

use crate::confine::Confinement;
use crate::control::{Answer, Caller, Hearing, Request};
use crate::engine::Progress;
use crate::failure::Failure;
use crate::handler::exec::Jobs;
use crate::limits::HostLimit;
use crate::listener::{Inherited, Shared, mark};
use crate::log;
use crate::plan::Plan;
use crate::reload::Tally;
use crate::serve::{Post, Served, Service};
use crate::shutdown::{Drained, Shutdown};
use crate::signals::{Signal, Signals};
use crate::spawner;
use crate::workers::Workers;

pub use loading::{BoundPlan, LoadedPlan, Standing};
use manager::Store;

/// How often it is told how far a drain has come.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// How long the service manager is to wait for the next word of a drain: a machine may be slow.
const WORD_WITHIN: Duration = REPORT_EVERY.saturating_mul(6);

/// A host that runs.
pub struct Host {
    /// Of the trigger file, or the folder of them.
    path: PathBuf,
    standing: Arc<Standing>,
    /// In the order of the plan.
    sites: Vec<Site>,
    limit: HostLimit,
    inherited: Inherited,
    shutdown: Shutdown,
    spawner: spawner::Handle,
    confinement: Arc<Confinement>,
    workers: Workers,
    store: Store,
}

/// What serves one trigger, and where.
struct Site {
    service: Service,
    /// For each of its addresses; what is inherited may be several sockets of one name.
    served: Vec<Vec<Served>>,
}

/// A reload that is under way.
struct Reload {
    began: Instant,
    loading: JoinHandle<Result<LoadedPlan, Failure>>,
    asked: Vec<Asker>,
}

/// Who wants to know what came of a reload.
type Asker = oneshot::Sender<Answer>;

impl Host {
    /// A host that serves `plan`, the trigger file at `path`.
    pub async fn start(
        path: &Path,
        plan: BoundPlan,
        inherited: Inherited,
        spawner: spawner::Handle,
        workers: Workers,
        confinement: Confinement,
    ) -> Self {
        let store = Store::find(inherited.marks());
        let mut host = Self {
            path: path.to_owned(),
            standing: plan.standing.clone(),
            sites: Vec::new(),
            limit: HostLimit::new(plan.capacity.connections, plan.capacity.files),
            inherited,
            shutdown: Shutdown::new(),
            spawner,
            confinement: Arc::new(confinement),
            workers,
            store,
        };
        let ready = host.turn_to(plan).await;
        // Whoever started this may not listen; that is no reason not to serve.
        let _ = io::stdout()
            .write_all(ready.as_bytes())
            .and_then(|()| io::stdout().flush());
        host.inherited.forget();
        for name in host.inherited.unclaimed() {
            warn!(name, reason = "no trigger listens on fd:NAME", "listen");
        }
        manager::ready();
        host
    }

    /// Serves until a signal, or whoever takes its place, says that it is enough; then drains. `requests` come as
    /// long as there is `hearing`.
    ///
    /// # Errors
    /// When the host cannot go on.
    pub async fn serve(
        mut self,
        mut signals: Signals,
        hearing: Option<Hearing>,
        mut requests: mpsc::Receiver<Request>,
    ) -> anyhow::Result<()> {
        let mut reload: Option<Reload> = None;
        // Asked for while one is under way, which may have read the file before it was changed.
        let mut again: Option<Vec<Asker>> = None;
        // Who loads what it needs to take the place of this one.
        let mut heir: Option<Caller> = None;
        loop {
            if reload.is_none() {
                reload = again.take().map(|asked| self.reload(asked));
            }
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop(name) => {
                        self.stop_hearing(hearing, heir).await;
                        drop((reload, again, requests));
                        self.drain(name, &mut signals).await;
                        return Ok(());
                    }
                    Signal::Reload => drop(again.get_or_insert_default()),
                },
                Some(request) = requests.recv() => match request {
                    Request::Reload(asker) => again.get_or_insert_default().push(asker),
                    Request::Share(asker, from) => {
                        let _ = asker.send(self.share().await);
                        heir = Some(from);
                    }
                    // It would leave its listeners to nobody.
                    Request::Leave(_, from) if from.is_gone() => {}
                    Request::Leave(asker, from) => {
                        self.stop_hearing(hearing, Some(from)).await;
                        drop((reload, again, requests));
                        let _ = asker.send(());
                        self.drain("upgrade", &mut signals).await;
                        return Ok(());
                    }
                },
                loaded = loaded(&mut reload) => {
                    if let Some(Reload { began, asked, .. }) = reload.take() {
                        let answer = self.reloaded(loaded, began).await;
                        for asker in asked {
                            let _ = asker.send(answer.clone());
                        }
                    }
                }
                () = self.spawner.gone(), if self.is_native() => {
                    self.stop_hearing(hearing, heir).await;
                    drop((reload, again, requests));
                    self.drain("the spawner has died", &mut signals).await;
                    return Err(anyhow!(
                        "the spawner has died, so no job can be started; start the host again"
                    ));
                }
            }
        }
    }

    /// Hears nothing more. Where somebody is about to take its place, it accepts nothing more either, and leaves the
    /// unix paths.
    async fn stop_hearing(&mut self, hearing: Option<Hearing>, heir: Option<Caller>) {
        if heir.is_some_and(|heir| !heir.is_gone()) {
            self.leave().await;
            self.confinement.leave_paths(true);
            if let Some(hearing) = hearing {
                hearing.leave();
            }
        }
    }

    /// Whether any trigger takes processes.
    fn is_native(&self) -> bool {
        self.sites.iter().any(|site| site.service.is_native())
    }

    /// Begins to load what the trigger file says now, on a thread that may wait.
    fn reload(&self, asked: Vec<Asker>) -> Reload {
        manager::reloading();
        let (path, standing) = (self.path.clone(), self.standing.clone());
        let jobs = Jobs::on_demand(self.spawner.clone());
        let confinement = self.confinement.clone();
        let load = move || {
            let plan = Plan::load(&path).map_err(|error| Failure::Asked(error.into()))?;
            let covered = confinement.covers(&plan, &path);
            covered.map_err(|beyond| Failure::Refused(anyhow!("cannot {beyond}")))?;
            LoadedPlan::of(&plan, Some(&standing), Progress::Log, &jobs)
        };
        Reload {
            began: Instant::now(),
            loading: tokio::task::spawn_blocking(load),
            asked,
        }
    }

    /// Turns to the plan that was loaded, unless it cannot be bound.
    async fn reloaded(
        &mut self,
        loaded: Result<Result<LoadedPlan, Failure>, JoinError>,
        began: Instant,
    ) -> Answer {
        let loaded = loaded.unwrap_or_else(|error| {
            let bug = anyhow!("the host failed; this is a bug in it: {error}");
            Err(Failure::Refused(bug))
        });
        let bound = loaded.and_then(|plan| {
            let bound = plan.bind(&mut self.inherited);
            bound.map_err(Failure::Refused)
        });
        let answer = match bound {
            Ok(plan) => {
                let tally = plan.tally(&self.standing);
                let ready = self.turn_to(plan).await;
                announce(&ready);
                let Tally {
                    added,
                    changed,
                    removed,
                    kept,
                } = tally;
                let ms = log::millis(began.elapsed());
                info!(added, changed, removed, kept, ms, "reload");
                Answer::Done(tally.to_string())
            }
            Err(failure) => {
                let (reason, answer) = match failure {
                    Failure::Asked(error) => {
                        let reason = format!("{error:#}");
                        (reason.clone(), Answer::Asked(reason))
                    }
                    Failure::Refused(error) => {
                        let reason = format!("{error:#}");
                        (reason.clone(), Answer::Refused(reason))
                    }
                    Failure::Ended(_) => unreachable!("no guest is tried here"),
                };
                warn!(reason, "reload");
                answer
            }
        };
        manager::ready();
        answer
    }

    /// The listeners, under the names by which the next host knows them.
    async fn share(&self) -> Vec<(String, Shared)> {
        let mut shared = Vec::new();
        for (known, site) in self.standing.known.iter().zip(&self.sites) {
            let trigger = &known.trigger;
            for (address, served) in trigger.listen.iter().zip(&site.served) {
                for served in served {
                    let socket = served.share().await;
                    shared.extend(socket.map(|socket| (mark(&trigger.name, address), socket)));
                }
            }
        }
        shared
    }

    /// Accepts nothing more, and leaves the unix paths to whoever has the listeners now.
    async fn leave(&mut self) {
        for site in std::mem::take(&mut self.sites) {
            for served in site.served.into_iter().flatten() {
                if let Some(bound) = served.withdraw().await.and_then(Post::into_bound) {
                    bound.leave();
                }
            }
        }
    }

    /// Lets what runs finish.
    async fn drain(mut self, reason: &str, signals: &mut Signals) {
        let Standing {
            grace, patience, ..
        } = *self.standing;
        info!(reason, grace_ms = log::millis(grace), "drain");
        manager::stopping(WORD_WITHIN);
        if self.store.is_there() {
            self.leave().await;
            self.confinement.leave_paths(false);
        }
        self.sites.clear();
        let told = async {
            let mut tick =
                tokio::time::interval_at((Instant::now() + REPORT_EVERY).into(), REPORT_EVERY);
            loop {
                tick.tick().await;
                let connections = self.limit.open();
                info!(connections, "drain");
                manager::draining(connections, WORD_WITHIN);
            }
        };
        let drained = tokio::select! {
            drained = self.shutdown.stop(grace, patience, async || signals.stop().await) => drained,
            () = told => unreachable!("it tells for ever"),
        };
        self.confinement.finish();
        info!(cut = drained == Drained::Cut, "exit");
    }
}

/// Writes ready lines as far as there is room: who has heard of the start may have stopped to listen, and a
/// host that waits for a reader serves nobody. The log has them, too.
fn announce(ready: &str) {
    let stdout = io::stdout();
    for line in ready.split_inclusive('\n') {
        let mut watched = [PollFd::new(&stdout, PollFlags::OUT)];
        // A pipe that is ready has room for 4096 bytes, and a line is shorter.
        let room = poll(&mut watched, Some(&Timespec::default())) == Ok(1)
            && watched[0].revents() == PollFlags::OUT;
        if !room || rustix::io::write(&stdout, line.as_bytes()).is_err() {
            return;
        }
    }
}

/// What has been loaded, once it is.
async fn loaded(reload: &mut Option<Reload>) -> Result<Result<LoadedPlan, Failure>, JoinError> {
    match reload {
        Some(reload) => (&mut reload.loading).await,
        None => std::future::pending().await,
    }
}

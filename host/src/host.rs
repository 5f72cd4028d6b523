//! The host as it runs: what serves each trigger, and what is done when it is told something. To start is to
//! turn from no plan to the first one, to reload from one to the next; both are done whole or not at all.

mod loading;
mod manager;

use std::fmt::Write as _;
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
use crate::control::{Answer, Request};
use crate::engine::Progress;
use crate::failure::Failure;
use crate::limits::HostLimit;
use crate::listener::{Bound, Inherited, Shared, mark};
use crate::plan::{Address, Plan, Trigger};
use crate::reload::Tally;
use crate::serve::{Post, Served, Service};
use crate::shutdown::{Drained, Shutdown};
use crate::signals::{Signal, Signals};
use crate::spawner;
use crate::workers::Workers;

pub use loading::{BoundPlan, LoadedPlan, Standing};
use manager::Store;

/// How often it is told how far a drain has come.
const TOLD: Duration = Duration::from_secs(5);

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
        host.inherited.forget_left();
        for name in host.inherited.unclaimed() {
            warn!(name, reason = "no trigger listens on fd:NAME", "listen");
        }
        manager::ready();
        host
    }

    /// Serves until a signal, or whoever takes its place, says that it is enough; then drains. `control` is
    /// where `requests` come from.
    ///
    /// # Errors
    /// When the host cannot go on.
    pub async fn serve(
        mut self,
        mut signals: Signals,
        control: Option<Bound>,
        mut requests: mpsc::Receiver<Request>,
    ) -> anyhow::Result<()> {
        let mut reload: Option<Reload> = None;
        // Asked for while one is under way, which may have read the file before it was changed.
        let mut again: Option<Vec<Asker>> = None;
        loop {
            if reload.is_none() {
                reload = again.take().map(|asked| self.reload(asked));
            }
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop(name) => {
                        drop((control, requests));
                        self.drain(name, &mut signals).await;
                        return Ok(());
                    }
                    Signal::Reload => drop(again.get_or_insert_default()),
                },
                Some(request) = requests.recv() => match request {
                    Request::Reload(asker) => again.get_or_insert_default().push(asker),
                    Request::Share(asker) => drop(asker.send(self.share().await)),
                    Request::Leave(asker) => {
                        self.leave().await;
                        // Whoever else would take its place hears that it is gone.
                        drop((control, requests));
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
                    drop(control);
                    self.drain("the spawner has died", &mut signals).await;
                    return Err(anyhow!(
                        "the spawner has died, so no job can be started; start the host again"
                    ));
                }
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
        let spawner = self.spawner.clone();
        let confinement = self.confinement.clone();
        let load = move || {
            let plan = Plan::load(&path).map_err(|error| Failure::Asked(error.into()))?;
            let covered = confinement.covers(&plan, &path);
            covered.map_err(|beyond| Failure::Refused(anyhow!("cannot {beyond}")))?;
            LoadedPlan::of(&plan, Some(&standing), Progress::Log, &spawner)
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
                let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
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

    /// Serves `plan` in place of what was served. Handlers that are the same go on, listeners that are
    /// there already change hands, and the rest is closed when all of the new is served. Gives the ready
    /// lines of what was bound.
    async fn turn_to(&mut self, plan: BoundPlan) -> String {
        let before = std::mem::replace(&mut self.standing, plan.standing.clone());
        self.limit
            .resize(plan.capacity.connections, plan.capacity.files)
            .await;
        let old = std::mem::take(&mut self.sites);
        let services: Vec<_> = old.iter().map(|site| site.service.clone()).collect();
        let mut left: Vec<Vec<_>> = old
            .into_iter()
            .map(|site| site.served.into_iter().map(Some).collect())
            .collect();
        let mut ready = String::new();
        let planned = plan.standing.known.iter().map(|known| &known.trigger);
        for (trigger, stage) in planned.zip(plan.stages) {
            let service = match (stage.handler, stage.change.before) {
                (None, Some(before)) => services[before].clone(),
                (None, None) => unreachable!("what is new has been loaded"),
                (Some(loaded), before) => {
                    loaded.tell(&trigger.name);
                    let before = before.map(|before| &services[before]);
                    Service::new(trigger, loaded.serving, &self.limit, before).await
                }
            };
            let mut served = Vec::new();
            for (place, bound) in stage.change.listeners.iter().zip(stage.bound) {
                served.push(match place {
                    Some(place) => {
                        let there = left[place.trigger][place.address].take();
                        let stays = stage.change.same
                            && stage.change.before == Some(place.trigger)
                            && before.known[place.trigger].trigger.socket == trigger.socket;
                        let there = there.unwrap_or_default();
                        if stays {
                            there
                        } else {
                            self.take_over(trigger, &service, there).await
                        }
                    }
                    None => self.open(trigger, &service, bound, &mut ready),
                });
            }
            self.sites.push(Site { service, served });
        }
        for (known, left) in before.known.iter().zip(left) {
            for (address, served) in known.trigger.listen.iter().zip(left) {
                for served in served.into_iter().flatten() {
                    self.close(address, served).await;
                }
            }
        }
        if self.store.is_there() {
            let listeners = self.share().await;
            self.store.keep(&listeners);
        }
        ready
    }

    /// Serves at listeners that are bound for it, and adds their ready lines.
    fn open(
        &self,
        trigger: &Trigger,
        service: &Service,
        bound: Vec<Bound>,
        ready: &mut String,
    ) -> Vec<Served> {
        let serve = |bound: Bound| {
            let (name, address) = (&trigger.name, bound.local.clone());
            let post = Post::new(bound, trigger.socket.clone());
            let served = service.serve(post, self.shutdown.drain(), &self.workers);
            info!(trigger = %name, %address, "listen");
            let _ = writeln!(ready, "listening {name} {address}");
            served
        };
        bound.into_iter().map(serve).collect()
    }

    /// Serves at listeners at which something else was served.
    async fn take_over(
        &self,
        trigger: &Trigger,
        service: &Service,
        there: Vec<Served>,
    ) -> Vec<Served> {
        let mut served = Vec::new();
        for there in there {
            // Nothing is there any more when the host is about to end.
            let Some(mut post) = there.withdraw().await else {
                continue;
            };
            let (name, address) = (&trigger.name, post.local.clone());
            if let Err(error) = post.adapt(&trigger.socket) {
                let reason = format!("cannot set the options of its socket: {error:#}");
                warn!(trigger = %name, %address, reason, "listen");
            }
            info!(trigger = %name, %address, "listen");
            served.push(service.serve(post, self.shutdown.drain(), &self.workers));
        }
        served
    }

    /// Closes a listener that no trigger has any more. One that was inherited may be asked for again.
    async fn close(&mut self, address: &Address, served: Served) {
        let bound = served.withdraw().await.and_then(Post::into_bound);
        if let (Address::Inherited(name), Some(bound)) = (address, bound)
            && let Ok(socket) = bound.socket().try_clone()
        {
            self.inherited.add(name.clone(), socket);
        }
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
        self.spawner.leave_paths();
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
        info!(reason, grace_ms = grace.as_millis(), "drain");
        manager::stopping(grace + patience);
        if self.store.is_there() {
            self.leave().await;
        }
        self.sites.clear();
        let told = async {
            let mut tick = tokio::time::interval_at((Instant::now() + TOLD).into(), TOLD);
            loop {
                tick.tick().await;
                let connections = self.limit.open();
                info!(connections, "drain");
                manager::draining(connections);
            }
        };
        let drained = tokio::select! {
            drained = self.shutdown.stop(grace, patience, async || signals.stop().await) => drained,
            () = told => unreachable!("it tells for ever"),
        };
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

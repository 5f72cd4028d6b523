//! From what is served to what is to be served: who serves already goes on, listeners that are there change hands,
//! and nothing is closed before all of the new is served.

use std::fmt::Write as _;

use tracing::{info, warn};

use super::{BoundPlan, Host, Site};
use crate::listener::Bound;
use crate::plan::{Address, Trigger};
use crate::serve::{Post, Served, Service};

impl Host {
    /// Serves `plan` in place of what was served. Handlers that are the same go on, listeners that are
    /// there already change hands, and the rest is closed when all of the new is served. Gives the ready
    /// lines of what was bound.
    pub(super) async fn turn_to(&mut self, plan: BoundPlan) -> String {
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
}

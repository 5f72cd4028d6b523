//! How long a server takes until it listens, with all that it keeps from an earlier start.

use std::path::Path;
use std::time::Instant;

use crate::launch::Launch;
use crate::run::{Figure, Run};
use crate::server::Server;

/// Of a second start.
pub async fn run(launch: &Launch, log: &Path) -> anyhow::Result<Run> {
    Server::start(launch, log).await?;
    let begun = Instant::now();
    let _server = Server::start(launch, log).await?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    Ok(Run {
        figures: [(Figure::Start, took)].into(),
        faults: [].into(),
    })
}

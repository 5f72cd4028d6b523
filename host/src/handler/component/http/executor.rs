//! The tasks that an HTTP/2 connection starts for its streams: they end with the connection.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::rt;
use tokio::task::JoinSet;

/// Starts tasks, and ends them when its last clone is dropped.
#[derive(Clone, Debug, Default)]
pub struct Executor(Arc<Mutex<JoinSet<()>>>);

impl<F> rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that have ended are forgotten.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

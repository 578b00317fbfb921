//! The engines that render: a few processes, kept warm, each for one tenant at a time.

use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use engine::{
    Answer, EngineError, Limits, Renderer,
    protocol::{Lookup, Render, Rendered},
};
use tokio::sync::Semaphore;

use crate::{context::lock, identity::Identity};

/// A process that nobody has needed for so long ends: an idle operator is a small one.
const IDLE: Duration = Duration::from_mins(1);

/// How the engines are run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) program: PathBuf,
    /// So many processes there are at most.
    pub(crate) processes: usize,
    pub(crate) limits: Limits,
}

pub(crate) struct Engines {
    settings: Settings,
    turns: Semaphore,
    warm: Arc<Mutex<Vec<Warm>>>,
}

struct Warm {
    tenant: Identity,
    since: Instant,
    renderer: Renderer,
}

impl Engines {
    pub(crate) fn new(settings: Settings) -> Self {
        let turns = Semaphore::new(settings.processes);
        Self { settings, turns, warm: Arc::default() }
    }

    /// Renders for `tenant`. What `lookup` fails with ends it.
    pub(crate) async fn render<E, F>(
        &self,
        tenant: &Identity,
        request: &Render<'_>,
        lookup: impl FnMut(Lookup) -> F,
    ) -> Result<Result<Rendered, EngineError>, E>
    where
        F: Future<Output = Result<Answer, E>>,
    {
        // Fails only if it is closed, which it never is.
        let _turn = self.turns.acquire().await.ok();
        let mut renderer = match self.take(tenant) {
            Some(renderer) => renderer,
            None => match self.start() {
                Ok(renderer) => renderer,
                Err(error) => return Ok(Err(error)),
            },
        };
        let answer = renderer.render(request, lookup).await?;
        // What broke its bounds, or was cut short, ends here.
        if matches!(answer, Ok(_) | Err(EngineError::Failed(_))) {
            self.keep(tenant, renderer);
        }
        Ok(answer)
    }

    fn start(&self) -> Result<Renderer, EngineError> {
        Renderer::start(&self.settings.program, self.settings.limits, false)
    }

    /// The warm process of `tenant`. Where there is none, another's makes room for it: what one
    /// tenant's templates may have left in a process is not for the next.
    fn take(&self, tenant: &Identity) -> Option<Renderer> {
        let mut warm = lock(&self.warm);
        if let Some(index) = warm.iter().position(|it| it.tenant == *tenant) {
            return Some(warm.remove(index).renderer);
        }
        // Those at work hold a turn, as this one does.
        let at_work = self.settings.processes - self.turns.available_permits();
        while warm.len() + at_work > self.settings.processes && !warm.is_empty() {
            warm.remove(0);
        }
        None
    }

    fn keep(&self, tenant: &Identity, renderer: Renderer) {
        let kept = Warm { tenant: tenant.clone(), since: Instant::now(), renderer };
        lock(&self.warm).push(kept);
        let warm = Arc::clone(&self.warm);
        tokio::spawn(async move {
            tokio::time::sleep(IDLE).await;
            lock(&warm).retain(|it| it.since.elapsed() < IDLE);
        });
    }
}

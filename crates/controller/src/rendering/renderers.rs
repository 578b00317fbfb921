//! The renderers, which also evaluate health checks: a few processes, kept warm, each for one tenant at
//! a time.

use std::{
    collections::HashMap,
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use engine::{
    Answer, EngineError, Limits, Renderer,
    protocol::{Evaluate, Evaluated, InvalidExpression, Lookup, Render, Rendered},
};
use lifecycle::journal::Failure;

use crate::{
    cluster::impersonation::Identity,
    support::{
        backoff::jitter,
        permits::{Permits, Permitted},
        sync::lock,
    },
};

/// The time after which an unused process ends: an idle operator is small.
const IDLE: Duration = Duration::from_mins(1);
/// The time for which a reconciliation waits for its turn, before it leaves its place to others.
const PATIENCE: Duration = Duration::from_secs(1);
/// The number of specs whose health checks are known to compile, or not to.
const MOST_COMPILED: usize = 1000;
/// The first wait before a chart that took too much is rendered again, and the longest.
const SHORTEST_REST: Duration = Duration::from_mins(1);
const LONGEST_REST: Duration = Duration::from_hours(1);

/// The settings for running the renderers.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) program: PathBuf,
    /// The maximum number of processes.
    pub(crate) processes: usize,
    pub(crate) limits: Limits,
}

pub(crate) struct Renderers {
    settings: Settings,
    turns: Permits,
    warm: Arc<Mutex<Vec<Warm>>>,
    breaches: Mutex<HashMap<String, Breached>>,
    compiled: Mutex<HashMap<String, Arc<[InvalidExpression]>>>,
}

struct Warm {
    tenant: Identity,
    since: Instant,
    renderer: Renderer,
}

/// A chart that took too much, and the time until which it is not rendered again.
struct Breached {
    inputs: String,
    count: u32,
    until: Instant,
    failure: Failure,
}

impl Renderers {
    pub(crate) fn new(settings: Settings) -> Self {
        let turns = Permits::new(settings.processes);
        Self {
            settings,
            turns,
            warm: Arc::default(),
            breaches: Mutex::default(),
            compiled: Mutex::default(),
        }
    }

    /// Returns a turn for `namespace`; `None` if others are served first.
    pub(crate) async fn turn(&self, namespace: &str) -> Option<Permitted> {
        self.turns.take_within(namespace, PATIENCE).await
    }

    /// Returns the failure that was reported for `release` when it took too much, while it is too
    /// early for a retry: otherwise the same work would be done in vain again, and others would
    /// wait for it.
    pub(crate) fn breach(&self, release: &str, inputs: &str) -> Option<Failure> {
        let breaches = lock(&self.breaches);
        let known = breaches.get(release).filter(|it| it.inputs == inputs)?;
        (Instant::now() < known.until).then(|| known.failure.clone())
    }

    /// Records that `release` took too much.
    pub(crate) fn note_breach(&self, release: &str, inputs: &str, failure: &Failure) {
        let mut breaches = lock(&self.breaches);
        breaches.retain(|_, it| it.until.elapsed() < LONGEST_REST);
        let known = breaches.get(release).filter(|it| it.inputs == inputs);
        let count = known.map_or(0, |it| it.count.saturating_add(1));
        let rest = SHORTEST_REST.saturating_mul(1 << count.min(10)).min(LONGEST_REST);
        let until = Instant::now() + rest.mul_f64(jitter());
        let (inputs, failure) = (inputs.to_owned(), failure.clone());
        breaches.insert(release.to_owned(), Breached { inputs, count, until, failure });
    }

    /// Renders for `tenant`, who has a turn. An error of `lookup` ends it.
    pub(crate) async fn render<E, F>(
        &self,
        _turn: Permitted,
        tenant: &Identity,
        request: &Render<'_>,
        lookup: impl FnMut(Lookup) -> F,
    ) -> Result<Result<Rendered, EngineError>, E>
    where
        F: Future<Output = Result<Answer, E>>,
    {
        let mut renderer = match self.take(tenant) {
            Some(renderer) => renderer,
            None => match self.start() {
                Ok(renderer) => renderer,
                Err(error) => return Ok(Err(error)),
            },
        };
        let answer = renderer.render(request, lookup).await?;
        // A process that exceeded its limits, or was interrupted, ends here.
        if matches!(answer, Ok(_) | Err(EngineError::Failed(_))) {
            self.keep(tenant, renderer);
        }
        Ok(answer)
    }

    /// Evaluates health checks for `tenant`, who has a turn.
    pub(crate) async fn evaluate(
        &self,
        _turn: Permitted,
        tenant: &Identity,
        request: &Evaluate<'_>,
    ) -> Result<Evaluated, EngineError> {
        let mut renderer = self.take(tenant).map_or_else(|| self.start(), Ok)?;
        let answer = renderer.evaluate(request).await;
        if matches!(answer, Ok(_) | Err(EngineError::Failed(_))) {
            self.keep(tenant, renderer);
        }
        answer
    }

    /// Returns which expressions of the checks of this digest do not compile, if that is known.
    pub(crate) fn compiled(&self, digest: &str) -> Option<Arc<[InvalidExpression]>> {
        lock(&self.compiled).get(digest).map(Arc::clone)
    }

    /// Records which expressions of the checks of this digest do not compile.
    pub(crate) fn note_compiled(&self, digest: String, invalid: &Arc<[InvalidExpression]>) {
        let mut compiled = lock(&self.compiled);
        if compiled.len() >= MOST_COMPILED {
            compiled.clear();
        }
        compiled.insert(digest, Arc::clone(invalid));
    }

    fn start(&self) -> Result<Renderer, EngineError> {
        Renderer::start(&self.settings.program, self.settings.limits, false)
    }

    /// Returns the warm process of `tenant`. If there is none, the process of another tenant ends
    /// to make room: data that one tenant's templates may have left in a process must not reach the
    /// next.
    fn take(&self, tenant: &Identity) -> Option<Renderer> {
        let mut warm = lock(&self.warm);
        if let Some(index) = warm.iter().position(|it| it.tenant == *tenant) {
            return Some(warm.remove(index).renderer);
        }
        // Running processes hold a turn, as this one does.
        let at_work = self.turns.taken();
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

#[cfg(test)]
mod tests {
    use lifecycle::reason::Reason;

    use super::*;

    #[test]
    fn what_took_too_much_rests_until_its_inputs_change() {
        let limits = Limits { memory: 1, cpu_seconds: 1, time: IDLE };
        let renderers = Renderers::new(Settings { program: PathBuf::new(), processes: 1, limits });
        let failure = Failure::new(Reason::RenderLimit, "too much");
        assert_eq!(renderers.breach("a/b", "1"), None);
        renderers.note_breach("a/b", "1", &failure);
        assert_eq!(renderers.breach("a/b", "1"), Some(failure.clone()));
        assert_eq!((renderers.breach("a/b", "2"), renderers.breach("a/c", "1")), (None, None));
        let until = |renderers: &Renderers| lock(&renderers.breaches)["a/b"].until;
        let first = until(&renderers);
        for _ in 0..3 {
            renderers.note_breach("a/b", "1", &failure);
        }
        // Doubled each time.
        assert!(until(&renderers) > first + 4 * SHORTEST_REST);
        renderers.note_breach("a/b", "2", &failure);
        assert!(until(&renderers) < first + SHORTEST_REST);
    }
}

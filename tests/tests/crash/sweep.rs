use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use e2e::{AuditLog, kwok};
use testkit::proxy::{Fault, When};
use tokio::task::JoinSet;

use crate::{
    point::{Ended, Point, Strike},
    scenario::Scenario,
};

/// So many runs at a time; each waits more than it works.
pub(crate) const WORKERS: usize = 8;

/// The distances of lost answers.
const LOST: &[usize] = &[13, 17, 19, 23];
/// The distances of requests that are not carried out. The longest row of them that has to go well,
/// from the end of one back-off to the next journal, is that of an apply, and shorter.
const FAILED: &[usize] = &[17, 19, 23, 29];

/// One scenario and one kind of fault at many points.
struct Sweep {
    title: &'static str,
    /// Of its namespaces.
    prefix: &'static str,
    scenario: Scenario,
    strike: Strike,
    points: Points,
}

#[derive(Clone, Copy)]
enum Points {
    /// n = `first`, `first + step`, … until the operation ends without an n-th request.
    Until { first: usize, step: usize },
    /// n = each of these.
    Each(&'static [usize]),
}

fn sweeps() -> Vec<Sweep> {
    use Scenario::{
        Chart, Delete, HandOver, Install, Retry, Rollback, RolledBack, TakeOver, Test, Uninstalled,
        Upgrade,
    };
    let kill = |prefix, scenario, when, first, step| Sweep {
        title: match when {
            When::Before => "killed before request n",
            When::After => "killed after request n, its answer lost",
        },
        prefix,
        scenario,
        strike: Strike::Kill(when),
        points: Points::Until { first, step },
    };
    let late = |prefix, scenario, when, first| Sweep {
        title: match when {
            When::Before => "stopped before request n, which comes late, while another goes on",
            When::After => "stopped after request n, while another goes on; then it wakes",
        },
        prefix,
        scenario,
        strike: Strike::Late(when),
        points: Points::Until { first, step: 8 },
    };
    let deposed = |prefix, scenario, when, first| Sweep {
        title: match when {
            When::Before => "deposed before request n, which comes late; then it wakes and ends",
            When::After => "deposed after request n; then it wakes and ends",
        },
        prefix,
        scenario,
        strike: Strike::Deposed(when),
        points: Points::Until { first, step: 12 },
    };
    vec![
        kill("upgrade-before", Upgrade, When::Before, 1, 1),
        kill("upgrade-after", Upgrade, When::After, 1, 1),
        // Fewer: before one request is almost after the previous one.
        kill("install-before", Install, When::Before, 1, 3),
        kill("install-after", Install, When::After, 2, 3),
        kill("rollback-before", Rollback, When::Before, 1, 3),
        kill("rollback-after", Rollback, When::After, 2, 3),
        kill("test-before", Test, When::Before, 1, 3),
        kill("test-after", Test, When::After, 2, 3),
        kill("delete-before", Delete, When::Before, 1, 2),
        kill("delete-after", Delete, When::After, 2, 2),
        kill("retry-before", Retry, When::Before, 1, 4),
        kill("retry-after", Retry, When::After, 3, 4),
        kill("chart-before", Chart, When::Before, 1, 3),
        kill("chart-after", Chart, When::After, 2, 3),
        kill("take-over-before", TakeOver, When::Before, 1, 8),
        kill("take-over-after", TakeOver, When::After, 5, 8),
        kill("hand-over-before", HandOver, When::Before, 1, 1),
        kill("hand-over-after", HandOver, When::After, 1, 1),
        kill("rolled-back-before", RolledBack, When::Before, 1, 7),
        kill("rolled-back-after", RolledBack, When::After, 4, 7),
        kill("uninstalled-before", Uninstalled, When::Before, 1, 7),
        kill("uninstalled-after", Uninstalled, When::After, 4, 7),
        changed("repinned-before", Strike::Repinned(When::Before), Upgrade, 1),
        changed("repinned-after", Strike::Repinned(When::After), Upgrade, 3),
        changed("made-again-before", Strike::MadeAgain(When::Before), Install, 2),
        changed("made-again-after", Strike::MadeAgain(When::After), Install, 4),
        late("late-before", Upgrade, When::Before, 3),
        late("late-after", Upgrade, When::After, 7),
        late("late-delete", Delete, When::Before, 5),
        late("late-take-over", TakeOver, When::Before, 4),
        deposed("deposed-before", Upgrade, When::Before, 4),
        deposed("deposed-after", Upgrade, When::After, 10),
        deposed("deposed-delete", Delete, When::Before, 8),
    ]
}

/// Where something else is asked for once the controller is dead.
fn changed(prefix: &'static str, strike: Strike, scenario: Scenario, first: usize) -> Sweep {
    Sweep {
        title: match strike {
            Strike::Repinned(When::Before) => "killed before request n, then pinned to revision 1",
            Strike::Repinned(When::After) => "killed after request n, then pinned to revision 1",
            Strike::MadeAgain(When::Before) => {
                "killed before request n, then deleted and made again"
            }
            _ => "killed after request n, then deleted and made again",
        },
        prefix,
        scenario,
        strike,
        points: Points::Until { first, step: 5 },
    }
}

fn faults() -> Vec<Sweep> {
    let fault = |title, prefix, fault, each| Sweep {
        title,
        prefix,
        scenario: Scenario::Upgrade,
        strike: Strike::Fault(fault),
        points: Points::Each(each),
    };
    vec![
        fault("every n-th answer lost", "lost", |every| Fault::LoseAnswer { every }, LOST),
        fault(
            "every n-th POST sent twice",
            "twice",
            |every| Fault::Duplicate { every },
            &[1, 2, 3],
        ),
        fault(
            "every n-th request answered 500",
            "error",
            |every| Fault::FailEvery { every, status: 500 },
            FAILED,
        ),
        fault(
            "every n-th request answered 429",
            "busy",
            |every| Fault::FailEvery { every, status: 429 },
            FAILED,
        ),
    ]
}

/// What came of a sweep.
pub(crate) struct Outcome {
    title: String,
    at: String,
    kills: bool,
    struck: usize,
    pub(crate) violations: Vec<String>,
}

impl Outcome {
    /// How often the controller was killed.
    pub(crate) fn kills(&self) -> usize {
        if self.kills { self.struck } else { 0 }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, at, struck, violations, .. } = self;
        write!(f, "{title} ({at}): {struck} points, {} violations", violations.len())
    }
}

/// The table as it stands in docs/src/internals/crash.md. How many requests an operation has varies with what
/// the watches report together, so the number of points is no part of it.
pub(crate) fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from("| sweep | n | violations |\n|---|---|--:|\n");
    for Outcome { title, at, violations, .. } in outcomes {
        let _ = writeln!(text, "| {title} | {at} | {} |", violations.len());
    }
    text
}

/// Runs the sweeps with `only` in their title.
pub(crate) async fn run_all(only: &str) -> Result<Vec<Outcome>> {
    let sweeps = sweeps().into_iter().chain(faults()).map(Progress::new);
    let sweeps: Vec<_> = sweeps.filter(|sweep| sweep.outcome.title.contains(only)).collect();
    let all = Arc::new(Mutex::new(sweeps));
    let log = Arc::new(AuditLog::new(kwok().audit_log().to_owned(), |it| it.namespace.is_some()));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(Arc::clone(&all), Arc::clone(&log)));
    }
    while let Some(worker) = workers.join_next().await {
        worker??;
    }
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *all).into_iter().map(|progress| progress.outcome).collect())
}

async fn work(all: Arc<Mutex<Vec<Progress>>>, log: Arc<AuditLog>) -> Result<()> {
    let lock = || all.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some((index, prefix, point)) = next(&mut lock()) else { return Ok(()) };
        let outcome = point.run(prefix, &log).await?;
        if let Some(progress) = lock().get_mut(index) {
            progress.ended(point, outcome);
        }
    }
}

/// The next point of the sweep that is worked on least, so that few points lie beyond the end of
/// one.
fn next(all: &mut [Progress]) -> Option<(usize, &'static str, Point)> {
    let open = all.iter_mut().enumerate().filter(|(_, progress)| progress.peek().is_some());
    let (index, progress) = open.min_by_key(|(_, progress)| progress.running)?;
    let n = progress.peek()?;
    progress.given += 1;
    progress.running += 1;
    let Sweep { prefix, scenario, strike, .. } = progress.sweep;
    Some((index, prefix, Point { scenario, strike, n }))
}

struct Progress {
    sweep: Sweep,
    given: usize,
    running: usize,
    /// An operation ended without an n-th request.
    over: bool,
    outcome: Outcome,
}

impl Progress {
    fn new(sweep: Sweep) -> Self {
        let outcome = Outcome {
            title: format!("{}, {}", sweep.scenario.name(), sweep.title),
            at: match sweep.points {
                Points::Until { first, step } => format!("{first}, {}, … to the end", first + step),
                Points::Each(all) => {
                    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                }
            },
            kills: matches!(
                sweep.strike,
                Strike::Kill(_) | Strike::Repinned(_) | Strike::MadeAgain(_)
            ),
            struck: 0,
            violations: Vec::new(),
        };
        Self { sweep, given: 0, running: 0, over: false, outcome }
    }

    /// Its next n.
    fn peek(&self) -> Option<usize> {
        match self.sweep.points {
            Points::Until { first, step } => (!self.over).then_some(first + step * self.given),
            Points::Each(all) => all.get(self.given).copied(),
        }
    }

    fn ended(&mut self, point: Point, ended: Ended) {
        let Ended { namespace, struck, violations } = ended;
        self.running -= 1;
        // A fault that never fired shows nothing, so it is not counted as a point.
        self.over |= struck.is_none();
        self.outcome.struck += usize::from(struck.is_some());
        let (title, n) = (&self.outcome.title, point.n);
        let place = struck.as_deref().unwrap_or("never struck");
        let head = format!("namespace {namespace}: {title}, n = {n}, {place}:");
        self.outcome.violations.extend(violations.iter().map(|what| format!("{head}\n  {what}")));
    }
}

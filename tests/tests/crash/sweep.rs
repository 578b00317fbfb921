use std::{
    fmt::{self, Write},
    sync::LazyLock,
};

use anyhow::{Context, Result};
use e2e::{AuditLog, kwok};
use futures::{StreamExt, stream};
use testkit::proxy::{Fault, When};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    point::{Ended, Point, Strike},
    scenario::Scenario,
};

/// So many runs at a time in all sweeps together; each waits more than it works.
const WORKERS: usize = 8;
/// So many in one sweep, so that few points lie beyond the end of it.
pub(crate) const IN_A_ROW: usize = 2;
/// So many in one that tries each request, so that none is left alone at the end.
const OF_EACH: usize = 4;

static LOG: LazyLock<AuditLog> =
    LazyLock::new(|| AuditLog::new(kwok().audit_log().to_owned(), |it| it.namespace.is_some()));

/// The audit log, and the turn of one run.
pub(crate) async fn turn() -> Result<(&'static AuditLog, SemaphorePermit<'static>)> {
    static TURNS: Semaphore = Semaphore::const_new(WORKERS);
    let turn = TURNS.acquire().await.context("the turns are never closed")?;
    Ok((&LOG, turn))
}

/// The distances of lost answers.
const LOST: &[usize] = &[13, 17, 19, 23];
/// The distances of requests that are not carried out. The longest row of them that has to go well,
/// from the end of one back-off to the next journal, is that of an apply, and shorter.
const FAILED: &[usize] = &[17, 19, 23, 29];

/// One scenario and one kind of fault at many points.
#[derive(Clone, Copy)]
pub(crate) struct Sweep {
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

/// Every sweep, those with the most points first.
pub(crate) fn all() -> Vec<Sweep> {
    let mut all = kills();
    all.extend(faults());
    all
}

fn kills() -> Vec<Sweep> {
    use Scenario::{
        Approved, Chart, Delete, HandOver, Install, Retry, Rollback, RolledBack, Ruled, TakeOver,
        Test, Uninstalled, Upgrade,
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
            When::Before => "stopped before request n, which comes late, while another continues",
            When::After => "stopped after request n, while another continues; then it wakes",
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
        kill("approved-before", Approved, When::Before, 1, 3),
        kill("approved-after", Approved, When::After, 2, 3),
        kill("ruled-before", Ruled, When::Before, 1, 6),
        kill("ruled-after", Ruled, When::After, 4, 6),
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
        late("late-ruled", Ruled, When::Before, 6),
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

/// The outcome of a sweep.
#[derive(Default)]
pub(crate) struct Outcome {
    /// How often the fault took effect.
    pub(crate) struck: usize,
    pub(crate) violations: Vec<String>,
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.scenario.name(), self.title)
    }
}

/// The table as it stands in docs/src/internals/crash.md. How many requests an operation has varies with what
/// the watches report together, so the number of points is no part of it; and with a violation a test
/// fails.
pub(crate) fn table() -> String {
    let mut text = String::from("| sweep | n | violations |\n|---|---|--:|\n");
    for sweep in all() {
        let _ = writeln!(text, "| {sweep} | {} | 0 |", sweep.points);
    }
    text
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Until { first, step } => write!(f, "{first}, {}, … to the end", first + step),
            Self::Each(all) => {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                f.write_str(&all.join(", "))
            }
        }
    }
}

impl Points {
    fn all(self) -> Box<dyn Iterator<Item = usize> + Send> {
        match self {
            Self::Until { first, step } => Box::new((first..).step_by(step)),
            Self::Each(all) => Box::new(all.iter().copied()),
        }
    }
}

impl Sweep {
    /// Returns whether the controller is killed by it.
    pub(crate) fn kills(self) -> bool {
        matches!(self.strike, Strike::Kill(_) | Strike::Repinned(_) | Strike::MadeAgain(_))
    }

    /// Runs its points in order, a few at a time, until an operation ends without an n-th request.
    pub(crate) async fn run(self) -> Result<Outcome> {
        let Self { prefix, scenario, strike, points, .. } = self;
        let runs = points.all().map(async |n| {
            let (log, _turn) = turn().await?;
            let ended = Point { scenario, strike, n }.run(prefix, log).await?;
            anyhow::Ok((n, ended))
        });
        let mut outcome = Outcome::default();
        let tries_each = matches!(points, Points::Until { step: 1, .. });
        let mut runs = stream::iter(runs).buffered(if tries_each { OF_EACH } else { IN_A_ROW });
        let mut over = false;
        while let Some(run) = runs.next().await {
            let (n, Ended { namespace, struck, violations }) = run?;
            // A fault that never fired shows nothing, so it is not counted as a point.
            over |= struck.is_none();
            outcome.struck += usize::from(struck.is_some());
            let place = struck.as_deref().unwrap_or("never struck");
            let head = format!("namespace {namespace}: {self}, n = {n}, {place}:");
            let violations = violations.iter().map(|what| format!("{head}\n  {what}"));
            outcome.violations.extend(violations);
            if over && matches!(points, Points::Until { .. }) {
                break;
            }
        }
        Ok(outcome)
    }
}

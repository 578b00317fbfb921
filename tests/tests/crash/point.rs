use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{AuditLog, Controller, Namespace, Proxied, kwok};
use testkit::proxy::{Fault, When};

use crate::{
    prepared,
    scenario::{RELEASE, Scenario},
    verdict,
};

/// Longer than any wait for the release itself, which says more.
const PATIENCE: Duration = Duration::from_mins(2);

/// The fault that strikes the operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Strike {
    /// The controller is killed at the n-th request, and another one is started.
    Kill(When),
    /// The controller is stopped at the n-th request, another one brings the operation to its end,
    /// and then the first wakes and goes on.
    Late(When),
    /// As [`Strike::Late`], but the other one is a replica of its own, which stands by and takes
    /// over when the lease has expired; the first ends by itself when it wakes.
    Deposed(When),
    /// As [`Strike::Kill`], and before another one is started the spec asks for something else: it is
    /// pinned to revision 1.
    Repinned(When),
    /// As [`Strike::Kill`], and then the object is deleted and made again.
    MadeAgain(When),
    /// The controller lives on with this fault, which has n in it.
    Fault(fn(usize) -> Fault),
}

impl Strike {
    /// Returns whether the operation that is struck does not end as it would have.
    fn changes_the_end(self) -> bool {
        matches!(self, Self::Repinned(_) | Self::MadeAgain(_))
    }
}

/// One run of a scenario in a namespace of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) scenario: Scenario,
    pub(crate) strike: Strike,
    pub(crate) n: usize,
}

/// The end of a run.
pub(crate) struct Ended {
    pub(crate) namespace: String,
    /// Where it was struck; `None` where the operation had no n-th request.
    pub(crate) struck: Option<String>,
    pub(crate) violations: Vec<String>,
}

struct Run {
    point: Point,
    namespace: Namespace,
    proxied: Proxied,
}

impl Point {
    pub(crate) async fn run(self, prefix: &str, log: &AuditLog) -> Result<Ended> {
        let namespace = Namespace::new(kwok(), &format!("{prefix}-{}", self.n)).await?;
        let proxied = Proxied::new(&namespace).await?;
        let run = Run { point: self, namespace, proxied };
        let mut struck = None;
        let ended = tokio::select! {
            ended = run.strike(&mut struck) => ended,
            people = self.scenario.people(&run.namespace) => people,
        };
        let violations = match ended {
            Ok(()) if self.strike.changes_the_end() => verdict::of_starts(&run.namespace, log)?,
            Ok(()) => verdict::of(&run.namespace, self.scenario, log).await?,
            Err(error) => vec![format!("{error:#}")],
        };
        if violations.is_empty() {
            verdict::clear(&run.namespace).await?;
        }
        Ok(Ended { namespace: run.namespace.name, struck, violations })
    }
}

impl Run {
    /// Runs the operation to its end. `struck` becomes the request at which the fault took effect.
    async fn strike(&self, struck: &mut Option<String>) -> Result<()> {
        let Self { point, namespace, proxied } = self;
        let (mut controller, mut standby) = self.begin().await?;
        if let Strike::Fault(_) = point.strike {
            point.scenario.until_reached(namespace, &controller).await?;
            let hits = proxied.proxy.hits();
            *struck = (hits > 0).then(|| format!("{hits} requests of which were struck"));
            proxied.proxy.reset();
            return verdict::until_none_is_held(namespace).await;
        }
        tokio::select! {
            hit = proxied.proxy.wait_hit(PATIENCE) => hit?,
            ended = point.scenario.until_over(namespace, &controller) => ended?,
        }
        *struck = self.struck();
        if struck.is_none() {
            return verdict::until_none_is_held(namespace).await;
        }
        let second;
        if let Strike::Late(_) | Strike::Deposed(_) = point.strike {
            let deposed = standby.is_some();
            second = standby.take().map_or_else(|| namespace.controller(), Ok)?;
            if deposed {
                // The operation may have ended before.
                namespace.wait_leader("standby").await?;
            }
            point.scenario.until_reached(namespace, &second).await?;
            proxied.proxy.resume();
            self.until_answered().await?;
            if deposed {
                let status = controller.end().await?;
                ensure!(status.code() == Some(1), "the deposed controller ended with {status}");
            } else {
                controller.ask_to_end()?;
                controller.end().await?;
            }
        } else {
            controller.wait()?;
            proxied.proxy.reset();
            match point.strike {
                Strike::Repinned(_) => {
                    point.scenario.pin(namespace).await?;
                    second = proxied.controller()?;
                    point.scenario.until_pinned(namespace, &second).await?;
                }
                Strike::MadeAgain(_) => {
                    Scenario::Delete.ask(namespace).await?;
                    second = proxied.controller()?;
                    Scenario::Delete.until_reached(namespace, &second).await?;
                    point.scenario.ask(namespace).await?;
                    namespace.wait_ready(RELEASE, &second).await?;
                }
                _ => {
                    second = proxied.controller()?;
                    point.scenario.until_reached(namespace, &second).await?;
                }
            }
        }
        let settled = verdict::until_none_is_held(namespace).await;
        drop(second);
        settled
    }

    /// Up to where the operation that is struck begins: its controller, and the one that stands by.
    async fn begin(&self) -> Result<(Controller, Option<Controller>)> {
        let (scenario, namespace) = (self.point.scenario, &self.namespace);
        // The first of all begins with the object itself.
        if scenario == Scenario::Install {
            scenario.ask(namespace).await?;
        }
        prepared::make(scenario, namespace).await?;
        let deposed = matches!(self.point.strike, Strike::Deposed(_));
        let controller =
            if deposed { self.proxied.replica("first")? } else { self.proxied.controller()? };
        if !scenario.before().is_empty() {
            prepared::settle(namespace, &controller).await?;
        }
        scenario.prepare(namespace, &controller).await?;
        let mut standby = None;
        if deposed {
            let replica = namespace.replica("standby")?;
            replica.wait_standing_by().await?;
            standby = Some(replica);
        }
        self.proxied.proxy.arm(self.fault(&controller))?;
        if scenario != Scenario::Install {
            scenario.ask(namespace).await?;
        }
        Ok((controller, standby))
    }

    fn fault(&self, controller: &Controller) -> Fault {
        let (n, pid) = (self.point.n, controller.pid());
        match self.point.strike {
            Strike::Kill(when) | Strike::Repinned(when) | Strike::MadeAgain(when) => {
                Fault::KillAt { n, pid, when }
            }
            Strike::Late(when) | Strike::Deposed(when) => {
                Fault::StopAt { n, pid, when, for_: PATIENCE * 2 }
            }
            Strike::Fault(fault) => fault(n),
        }
    }

    /// Method and path of the request at which the controller was killed or stopped.
    fn struck(&self) -> Option<String> {
        if !self.proxied.proxy.armed_hit() {
            return None;
        }
        let requests = self.proxied.proxy.requests();
        let it = requests.iter().find(|request| request.counted == Some(self.point.n))?;
        Some(format!("{} {}", it.method, it.path))
    }

    /// Until the request of a process that was stopped has been carried out.
    async fn until_answered(&self) -> Result<()> {
        let answered =
            async {
                while !self.proxied.proxy.requests().iter().any(|request| {
                    request.counted == Some(self.point.n) && request.finished.is_some()
                }) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        answered.context("the request of the stopped controller was never answered")
    }
}

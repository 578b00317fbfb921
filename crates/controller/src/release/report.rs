//! Reports on a release: writes its status and sends Event objects. `status` decides the content.

use api::ReleaseLifecycleStatus;
use jiff::Timestamp;
use lifecycle::{
    approval::PendingPlan,
    journal::{Failure, Journal},
    known::KnownPlan,
    plan::{Chart, Plan},
    reason::Reason,
    step::Hold,
};

use crate::{
    cluster::{Cluster, call::ApiError, error::Error},
    release::{
        Release,
        context::Context,
        object::{Live, write_status},
        status::{self, Drift, Report, is_blocked_by, new_stall},
    },
    support::clock::now,
};

impl Release<'_> {
    /// Writes the journal, and the conditions for users. This is the fence: it fails if any client
    /// has written since the object was read.
    pub(crate) async fn write_journal(
        &mut self,
        journal: &Journal,
        hold: Option<&Hold>,
    ) -> Result<(), Error> {
        let before = self.journal();
        let (preflight, plan) = (self.preflight.take(), self.plan.take());
        let (outside, remark) = (self.outside.as_deref(), self.remark.as_deref());
        let report = Report::Operation { journal, hold, outside, remark, preflight, plan };
        let status = status::status(&self.object, report, now());
        self.warn_of_stall(&status);
        let cluster = &self.ctx.cluster;
        write_status(cluster, &mut self.object, status).await?;
        self.ctx.reporter.journal(&cluster.metrics, &self.object, before.as_ref(), journal);
        Ok(())
    }

    /// Notes a plan that is about to be recorded: from then on it may be executed.
    pub(crate) async fn write_plan(&mut self, plan: &Plan) -> Result<(), Error> {
        let (plan, retry) = (KnownPlan::of(plan, plan.freeze().1), None);
        write(&self.ctx.cluster, &mut self.object, Report::Plan { plan, retry }).await
    }

    /// Notes a plan that may be executed since a person vouches for it, by the request for a retry.
    pub(crate) async fn write_trusted(&mut self, plan: KnownPlan) -> Result<(), Error> {
        let retry = self.object.requests().retry;
        write(&self.ctx.cluster, &mut self.object, Report::Plan { plan, retry }).await
    }

    fn warn_of_stall(&self, next: &ReleaseLifecycleStatus) {
        if let Some(stalled) = new_stall(&self.object, next) {
            self.warn(Reason::Blocked, format!("{}: {}", stalled.reason, stalled.message));
        }
    }

    /// Reports that the deployed revision is the desired one.
    pub(crate) async fn write_in_sync(
        &mut self,
        revision: i32,
        chart: Option<Chart>,
        drift: Option<Drift>,
    ) -> Result<(), Error> {
        let (outside, remark) = (self.outside.as_deref(), self.remark.as_deref());
        let report = Report::InSync { revision, chart, drift, outside, remark };
        write(&self.ctx.cluster, &mut self.object, report).await
    }

    /// Reports again why the configuration was given up.
    pub(crate) async fn write_given_up(&mut self) -> Result<(), Error> {
        write(&self.ctx.cluster, &mut self.object, Report::GivenUp).await
    }

    /// Reports when the next attempt at the configuration begins.
    pub(crate) async fn write_retry_at(&mut self, at: Timestamp) -> Result<(), Error> {
        write(&self.ctx.cluster, &mut self.object, Report::RetryAt(at)).await
    }

    /// Reports that something else has to be ready first.
    pub(crate) async fn write_waiting(&mut self, message: &str) -> Result<(), Error> {
        write(&self.ctx.cluster, &mut self.object, Report::Dependencies(message)).await
    }

    /// Reports which objects of a release remain whose namespace is terminating. No Event object
    /// can be created in there.
    pub(crate) async fn write_left(&mut self, text: String) -> Result<(), Error> {
        let failure = Failure::new(Reason::ReleaseLeft, text.as_str());
        write(&self.ctx.cluster, &mut self.object, Report::Blocked(&failure)).await?;
        self.ctx.reporter.warn_of_namespace(&self.object, Reason::ReleaseLeft, text);
        Ok(())
    }

    /// Reports a plan that waits for an approval.
    pub(crate) async fn write_pending(
        &mut self,
        plan: PendingPlan,
        why: &Failure,
    ) -> Result<(), Error> {
        let preflight = self.preflight.take();
        write(&self.ctx.cluster, &mut self.object, Report::Pending { plan, why, preflight }).await
    }

    /// Reports why the next operation has not begun, although there is no trouble.
    pub(crate) async fn write_held(&mut self, why: &Failure) -> Result<(), Error> {
        write(&self.ctx.cluster, &mut self.object, Report::Held(why)).await
    }
}

/// Reports that nothing can be read for now.
pub(crate) async fn write_trouble(
    cluster: &Cluster,
    object: &mut Live,
    error: &ApiError,
) -> Result<(), Error> {
    write(cluster, object, Report::Trouble(error)).await
}

/// Reports the reason for waiting before anything can be begun, or before an operation continues.
pub(crate) async fn write_waiting(
    cluster: &Cluster,
    object: &mut Live,
    failure: &Failure,
) -> Result<(), Error> {
    write(cluster, object, Report::Waiting(failure)).await
}

/// Reports why nothing can be begun, or why an operation cannot continue.
pub(crate) async fn write_blocked(
    ctx: &Context,
    object: &mut Live,
    failure: &Failure,
) -> Result<(), Error> {
    if !is_blocked_by(object, failure) {
        ctx.reporter.warn(
            object,
            Reason::Blocked,
            format!("{}: {}", failure.reason, failure.message),
        );
    }
    write(&ctx.cluster, object, Report::Blocked(failure)).await
}

async fn write(cluster: &Cluster, object: &mut Live, report: Report<'_>) -> Result<(), Error> {
    let status = status::status(object, report, now());
    write_status(cluster, object, status).await
}

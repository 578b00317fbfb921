//! `approve`: the plan that waits in status runs, exactly as it is.

use api::names;
use lifecycle::approval::PendingPlan;
use serde_json::json;

use super::Release;
use crate::{Outcome, args::Approve, pending, screen, state::State, watch::Goal};

/// The shortest beginning of a digest that names a plan.
const SHORTEST: usize = 8;

pub(crate) async fn approve(args: &Approve) -> anyhow::Result<Outcome> {
    let release = Release::find(&args.how).await?;
    let state = State::new(&release.object);
    let Some(plan) = state.pending_plan().cloned() else {
        let words = state.ready_words();
        return release.refuse(&format!("no plan waits for an approval ({words})"));
    };
    if let Some(digest) = &args.digest
        && !names(&plan, digest)
    {
        return release.refuse(&format!(
            "plan {} waits for an approval, and not {digest}: it was made anew since, or the digest has \
             fewer than {SHORTEST} digits. See it with {}",
            plan.short_digest(),
            release.object.commands().status()
        ));
    }
    if release.object.approved_plan() == Some(&*plan.digest) {
        return release.tell(&format!("plan {} is approved already", plan.short_digest()));
    }
    screen::write(&pending::render(&plan, screen::look()))?;
    let user = release.cluster.user().await?;
    let annotations = json!({names::APPROVED_PLAN: plan.digest, names::APPROVED_BY: user});
    let said = format!("plan {} approved by {user}", plan.short_digest());
    let change = json!({"metadata": {"annotations": annotations}});
    let approved = release.change(&change, &said).await?;
    approved.follow(&args.wait, |object, _| Goal::ready_or_gone(object)).await
}

/// Returns whether `digest` is that of the plan, or the beginning of it.
fn names(plan: &PendingPlan, digest: &str) -> bool {
    let digits = |text: &str| text.strip_prefix("sha256:").unwrap_or(text).to_owned();
    let given = digits(digest);
    given.len() >= SHORTEST && digits(&plan.digest).starts_with(&given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_named_by_the_beginning_of_its_digest() {
        let plan: PendingPlan = serde_json::from_value(json!({
            "digest": "sha256:0123456789abcdef", "operation": "a", "event": "Upgrade", "revision": 2,
            "generation": 1, "madeAt": "2026-11-30T10:00:00Z",
        }))
        .unwrap();
        for (digest, expected) in [
            ("01234567", true),
            ("sha256:0123456789abcdef", true),
            ("0123456", false),
            ("", false),
            ("0123456789abcdef0", false),
            ("11234567", false),
        ] {
            assert_eq!(names(&plan, digest), expected, "{digest}");
        }
    }
}

//! `rollback`: holds a release at an earlier revision, or removes the hold.

use anyhow::bail;
use serde_json::json;

use super::Release;
use crate::{
    Outcome,
    args::Rollback,
    records::{self, Records},
    state::State,
    watch::Goal,
};

pub(crate) async fn rollback(args: &Rollback) -> anyhow::Result<Outcome> {
    let release = Release::find(&args.how).await?;
    let pin = release.object.spec.pin_revision;
    if args.undo {
        let Some(pin) = pin else {
            let said = "is not held at a revision: spec.pinRevision is not set";
            return Box::pin(release.follow_as_is(said, &args.wait)).await;
        };
        let said = format!("is no longer held at revision {pin}: it goes back to its spec");
        let undone = release.change(&json!({"spec": {"pinRevision": null}}), &said).await?;
        return undone.follow(&args.wait, |object, _| Goal::ready(object)).await;
    }
    let found = records::read(&release.cluster, &release.object.release_name()).await?;
    let target = match choose(args.revision, found.as_ref()) {
        Ok(target) => target,
        Err(Unclear::Unknown(why)) => return release.refuse(&why),
        Err(Unclear::NoRights) => bail!(
            "the revision that was deployed before is recorded in Secrets, which you may not list in {}: \
             name the REVISION, or ask for a role with the verb list of secrets",
            release.cluster.scope()
        ),
    };
    if pin == Some(target) {
        let words = State::new(&release.object).ready_words();
        let said = format!("needs no change: spec.pinRevision is {target} already ({words})");
        return Box::pin(release.follow_as_is(&said, &args.wait)).await;
    }
    let name = &args.how.name;
    let said = format!(
        "is rolled back to revision {target} and held there (spec.pinRevision): changes of its \
         source wait until `kubectl lifecycle rollback {name} --undo`"
    );
    let pinned = release.change(&json!({"spec": {"pinRevision": target}}), &said).await?;
    pinned.follow(&args.wait, |object, _| Goal::ready(object)).await
}

#[derive(Debug)]
enum Unclear {
    Unknown(String),
    NoRights,
}

/// Returns the revision to go back to; `found` is `None` if the records may not be read.
fn choose(asked: i32, found: Option<&Records>) -> Result<i32, Unclear> {
    let Some(Records { records, .. }) = found else {
        // The controller looks it up, and reports it if there is none.
        return if asked > 0 { Ok(asked) } else { Err(Unclear::NoRights) };
    };
    let there = || {
        let all: Vec<_> =
            records.iter().map(|it| format!("{} ({})", it.revision, it.status)).collect();
        if all.is_empty() { "no revision".to_owned() } else { all.join(", ") }
    };
    if asked > 0 {
        let is_there = records.iter().any(|record| record.revision == asked);
        let why = || format!("there is no record of revision {asked}; there: {}", there());
        return is_there.then_some(asked).ok_or_else(|| Unclear::Unknown(why()));
    }
    records::previous(records).ok_or_else(|| {
        let why = "no earlier revision was ever deployed, so there is nothing to go back to";
        Unclear::Unknown(format!("{why}; there: {}", there()))
    })
}

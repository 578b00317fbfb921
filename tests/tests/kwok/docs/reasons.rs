//! Every reason that the operator can write has an entry in the troubleshooting, and the reverse.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use e2e::{documentation::Page, markdown, root};

/// Words in the code that look like reasons and are none: kinds, condition types and their values,
/// phases, and what is only read of other objects.
const NO_REASONS: &str = "
    AlreadyExists Always Apply Bound Complete Completed ConfigMap Created CustomResourceDefinition
    DaemonSet Delete Deployment DoesNotExist Exists Never NotIn ProgressDeadlineExceeded
    ProvisioningSucceeded ReplicaSet
    ReplicationController StatefulSet SuccessCriteriaMet WaitFor
    DisruptionTarget Drifted ErrImagePull Error Established Event EvictionByEvictionAPI Failed
    FailedAttachVolume FailedCreate
    FailedCreatePodSandBox FailedMapVolume FailedMount FailedPrepareDynamicResources FailureTarget
    False Install Job List Namespace Namespaced NetworkNotReady PATH Pending PersistentVolumeClaim Pod
    PodScheduled Pulled Pulling Ready Reconciling Released Remediated Rollback SchedulingGated Secret
    SelfSubjectAccessReview SelfSubjectRulesReview Stale Stalled Started Succeeded SuccessfulCreate Test
    TestSuccess True Uninstall Unknown Upgrade Volume Warned HOSTNAME
";

/// What the operator passes on of a Job's own condition, and readers meet.
const OF_JOBS: [&str; 2] = ["BackoffLimitExceeded", "DeadlineExceeded"];

/// Files that hold nothing but the names of kinds, or the rules of kstatus.
const NO_REASONS_IN: [&str; 5] = ["kstatus", "order.rs", "keys.rs", "preflight", "tests.rs"];

fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.to_string_lossy().into_owned();
        if NO_REASONS_IN.iter().any(|part| name.contains(part)) {
            continue;
        }
        if path.is_dir() {
            sources(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether it is written as reasons are.
fn looks_like_one(word: &str) -> bool {
    word.len() > 2
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.chars().all(|c| c.is_ascii_alphabetic())
}

/// The words of the code that look like reasons.
fn words() -> Result<BTreeSet<String>> {
    let mut files = Vec::new();
    for of in ["crates/lifecycle/src", "crates/controller/src", "crates/sources/src"] {
        sources(&root().join(of), &mut files)?;
    }
    let mut words = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file)?;
        let code = text.split_once("#[cfg(test)]").map_or(&*text, |(code, _)| code);
        // A string of one word has its quotes on one line.
        let strings = code.lines().flat_map(|line| line.split('"').skip(1).step_by(2));
        words.extend(strings.filter(|word| looks_like_one(word)).map(str::to_owned));
    }
    Ok(words)
}

/// Those that are put together of an event and what became of it.
fn composed() -> impl Iterator<Item = String> {
    let conditions = ["Install", "Upgrade", "Rollback", "Uninstall"].into_iter();
    let conditions =
        conditions.flat_map(|event| ["Succeeded", "Failed"].map(|end| format!("{event}{end}")));
    let event_objects = ["Install", "Upgrade", "Rollback", "Delete", "Test"].into_iter();
    let event_objects = event_objects
        .flat_map(|event| ["Started", "Succeeded", "Failed"].map(|what| format!("{event}{what}")));
    conditions.chain(event_objects)
}

#[test]
fn every_reason_has_an_entry_and_every_entry_is_a_reason() -> Result<()> {
    let others: BTreeSet<_> = NO_REASONS.split_whitespace().collect();
    let words = words()?;
    let stale: Vec<_> = others.iter().filter(|word| !words.contains(**word)).collect();
    assert!(stale.is_empty(), "no longer in the code: {stale:?}");
    let reasons = words.into_iter().filter(|word| !others.contains(&**word));
    let reasons: BTreeSet<_> =
        reasons.chain(composed()).chain(OF_JOBS.map(str::to_owned)).collect();

    let page = Page::of_docs("troubleshooting.md")?;
    let entries = markdown::headings(&page.text).into_iter().filter(|(level, _)| *level == 3);
    let entries: Vec<_> = entries.map(|(_, heading)| heading).collect();
    let entered: BTreeSet<_> = entries.iter().cloned().collect();
    assert_eq!(entries.len(), entered.len(), "an entry is there twice");
    let missing: Vec<_> = reasons.difference(&entered).collect();
    let unknown: Vec<_> = entered.difference(&reasons).collect();
    assert!(missing.is_empty(), "no entry for {missing:?}");
    assert!(unknown.is_empty(), "entries for what the operator never says: {unknown:?}");
    Ok(())
}

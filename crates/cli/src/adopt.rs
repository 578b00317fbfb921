//! `adopt`: a `ReleaseLifecycle` for a release that Helm has installed.
//!
//! - this file: combines them
//! - `flux`: pure, a `HelmRelease` as a `ReleaseLifecycle`
//! - `history`: reads Helm's records
//! - `written`: pure, the manifests
//! - `verdict`: pure, the operation that would run once they are applied
//! - `remarks`: pure, the obstacles

mod flux;
mod history;
mod remarks;
mod verdict;
mod written;

use api::ObjectsFromKind;
use helm::{adopt, record::Release};
use kube::ResourceExt;
use lifecycle::event::Event;
use serde_json::{Value, json};

use self::{
    flux::Converted,
    history::{History, Stored},
    verdict::{Comparison, Verdict},
};
use crate::{
    Outcome,
    args::{Adopt, Template},
    cluster::{Cluster, HELM_RELEASE, HELM_REPOSITORY},
    create::package::Package,
    format,
    plan::Preview,
    refuse, screen,
    words::printable,
};

pub(crate) async fn adopt(args: &Adopt) -> anyhow::Result<Outcome> {
    let cluster = Cluster::find(&args.place).await?;
    if args.from_flux {
        return from_flux(args, &cluster).await;
    }
    let namespace = cluster.namespace().to_owned();
    let history = history::read(&cluster, &args.release).await?;
    let (deployed, newest) = match adoptable(&history, &args.release, &namespace) {
        Ok(found) => found,
        Err(problem) => return refuse(&[problem]),
    };
    let chart = written::chart(&args.source, &deployed.release)?;
    let is_chart = chart.is_some();
    let Package { documents, notes } =
        match written::package(args, &namespace, &deployed.release, chart) {
            Ok(package) => package,
            Err(problems) => return refuse(&problems),
        };
    if is_chart && let Some(problem) = taken(args, &cluster, deployed).await? {
        return refuse(&[problem]);
    }
    let mut remarks = remarks::of(&history, &namespace);
    let others = others(&cluster, &args.release, &mut remarks).await;
    remarks.extend(notes);

    let (comparison, preview) = if let Some(why) = unknowable(args) {
        (Comparison::Unknown(why.to_owned()), Err(why))
    } else {
        let template = Template { engine: args.engine.clone(), ..Template::default() };
        match Preview::of(&documents, newest.release.version, template).await {
            Ok(mut preview) => (compare(&mut preview, newest, &namespace).await, Ok(preview)),
            Err(problems) => return refuse(&problems),
        }
    };
    if comparison == Comparison::Same
        && let Ok(preview) = &preview
    {
        remarks.extend(renders_otherwise(preview, newest, &namespace).await);
    }
    let verdict = verdict::of(&history, &comparison, &args.release, &others);
    remark(&remarks)?;
    if let Some(verdict) = verdict {
        screen::complain(&say(verdict, preview).await)?;
    }
    screen::write(&format::stream(&documents))?;
    Ok(Outcome::Good)
}

/// Writes the `ReleaseLifecycle` for a `HelmRelease`.
async fn from_flux(args: &Adopt, cluster: &Cluster) -> anyhow::Result<Outcome> {
    let name = &args.release;
    let Some(object) = cluster.flux(&HELM_RELEASE, name, cluster.namespace()).await? else {
        return refuse(&[format!("HelmRelease {name} does not exist in {}", cluster.scope())]);
    };
    let repository = match flux::repository(&object) {
        Some((name, namespace)) => cluster.flux(&HELM_REPOSITORY, &name, &namespace).await?,
        None => None,
    };
    let Converted { release, mut document, mut remarks } =
        match flux::convert(&object, repository.as_ref()) {
            Ok(converted) => converted,
            Err(problems) => return refuse(&problems),
        };
    if let Some(account) = &args.service_account {
        document["spec"]["serviceAccountName"] = json!(account);
    }
    let history = history::read(cluster, &release).await?;
    if let Err(problem) = adoptable(&history, &release, cluster.namespace()) {
        return refuse(&[problem]);
    }
    remarks.extend(remarks::of(&history, cluster.namespace()));
    let others = others(cluster, &release, &mut remarks).await;
    let why = "the operator fetches the chart, and compares it with the record".to_owned();
    let verdict = verdict::of(&history, &Comparison::Unknown(why), name, &others);
    remark(&remarks)?;
    if let Some(verdict) = verdict {
        screen::complain(&format!("{}\n", printable(&verdict.text)))?;
    }
    screen::write(&format::stream(&[document]))?;
    Ok(Outcome::Good)
}

/// Returns the deployed and the newest revision of a release that can be adopted.
///
/// # Errors
/// The reason why it cannot.
fn adoptable<'a>(
    history: &'a History,
    release: &str,
    namespace: &str,
) -> Result<(&'a Stored, &'a Stored), String> {
    let (Some(deployed), Some(newest)) = (history.deployed(), history.newest()) else {
        return Err(nothing_deployed(history, release));
    };
    match elsewhere(&deployed.release, namespace) {
        Some(problem) => Err(problem),
        None => Ok((deployed, newest)),
    }
}

/// Prints remarks: names and versions are as another client has recorded them.
fn remark(remarks: &[String]) -> anyhow::Result<()> {
    let line = |remark: &String| format!("{}\n", printable(remark));
    screen::complain(&remarks.iter().map(line).collect::<String>())
}

fn nothing_deployed(history: &History, release: &str) -> String {
    let revisions: Vec<_> = history
        .stored
        .iter()
        .map(|stored| format!("{} {}", stored.release.version, stored.release.info.status))
        .collect();
    format!(
        "no revision of release {release} is deployed ({}), so there is nothing to adopt: repair it \
         with Helm first, or write a ReleaseLifecycle as for a new release, which is installed as the \
         next revision",
        revisions.join(", ")
    )
}

/// Reports objects in another namespace than the records. Flux can keep them apart; a
/// `ReleaseLifecycle` has both in its own namespace.
fn elsewhere(record: &Release, namespace: &str) -> Option<String> {
    let name = &record.name;
    record.elsewhere.as_ref().map(|home| {
        format!(
            "the objects of release {name} are in namespace {home}, and its records in {namespace} \
             (storageNamespace of Flux): a ReleaseLifecycle has both in its own namespace. Copy the \
             Secrets with the labels owner=helm,name={name} into {home}, and adopt the release there"
        )
    })
}

/// Reports a Secret for the values that exists already for another purpose.
async fn taken(
    args: &Adopt,
    cluster: &Cluster,
    deployed: &Stored,
) -> anyhow::Result<Option<String>> {
    let Some(values) = written::values(&deployed.release) else { return Ok(None) };
    let name = written::values_secret(args);
    let there = cluster.holder(ObjectsFromKind::Secret, &name).await?;
    Ok(there.filter(|it: &Value| !written::holds(it, &values)).map(|_| {
        format!(
            "Secret {name} is in {} already, and holds something else than the values of revision \
             {}: name another one with --values-secret",
            cluster.scope(),
            deployed.release.version
        )
    }))
}

/// Returns the names of the existing `ReleaseLifecycle`s; those of this release are remarked on.
async fn others(cluster: &Cluster, release: &str, remarks: &mut Vec<String>) -> Vec<String> {
    let objects = match cluster.list().await {
        Ok(objects) => objects,
        Err(error) => {
            remarks.push(format!(
                "warning: it is unknown whether a ReleaseLifecycle has this release already: \
                 {error:#}"
            ));
            return Vec::new();
        }
    };
    for object in objects.iter().filter(|object| object.release_name() == release) {
        let name = object.name_any();
        remarks.push(if name == release {
            format!("warning: ReleaseLifecycle {name} is there already; applying this changes it")
        } else {
            format!("warning: ReleaseLifecycle {name} has release {release} already")
        });
    }
    objects.iter().map(ResourceExt::name_any).collect()
}

/// The reason why only the operator can check the chart.
fn unknowable(args: &Adopt) -> Option<&'static str> {
    if args.source.source_ref.is_some() {
        return Some("the artifact that Flux has fetched is known only in the cluster");
    }
    let has_login = args.source.secret_ref.is_some();
    has_login.then_some("it is fetched with a Secret, which this program does not use")
}

async fn compare(preview: &mut Preview, newest: &Stored, namespace: &str) -> Comparison {
    match preview.content().await {
        Ok(Ok(content)) => verdict::compare(newest, &content, namespace),
        Ok(Err(problems)) => Comparison::Unknown(problems.join("; ")),
        Err(error) => Comparison::Unknown(format!("{error:#}")),
    }
}

/// Returns how the chart's objects differ from Helm's record, though name, version and values are
/// the same: Helm 4 renders some charts differently from Helm 3. A difference by chance, or because
/// it is rendered for another revision, occurs with Helm, too.
async fn renders_otherwise(preview: &Preview, newest: &Stored, namespace: &str) -> Option<String> {
    let record = &newest.release;
    let recorded = adopt::desired(record, namespace).ok()?;
    let event = if record.version > 1 { Event::Upgrade } else { Event::Install };
    let made = preview.rendered(event, record.version).await?;
    let mut found = adopt::differences(&recorded, &made);
    if !found.is_empty() {
        let again = preview.rendered(Event::Upgrade, record.version.saturating_add(1)).await?;
        let by_itself = adopt::differences(&made, &again);
        found.retain(|it| by_itself.binary_search(it).is_err());
    }
    (!found.is_empty()).then(|| {
        format!(
            "warning: the chart renders to something else than what Helm has recorded, which the next \
             upgrade would apply (here lookup finds nothing; the operator asks the cluster): {}. See \
             `helm get manifest {} -n {namespace}`",
            adopt::describe(&found),
            record.name
        )
    })
}

/// Prints the operation that would run, and its steps, if they can be shown; the manifests are
/// right in any case.
async fn say(verdict: Verdict, preview: Result<Preview, &str>) -> String {
    let Verdict { text, event } = verdict;
    let text = printable(&text);
    let Some(event) = event else { return format!("{text}\n") };
    let shown = match preview {
        Ok(preview) => preview.show(event).await,
        Err(why) => Ok(Err(vec![why.to_owned()])),
    };
    match shown {
        Ok(Ok(plan)) => format!("{text}\n{plan}"),
        Ok(Err(problems)) => format!("{text}\nit cannot be shown: {}\n", problems.join("; ")),
        Err(error) => format!("{text}\nit cannot be shown: {error:#}\n"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn records_and_objects_have_to_be_in_one_namespace() {
        let record = |elsewhere: Option<&str>| {
            let record =
                json!({"name": "shop", "namespace": "flux-system", "version": 1, "info": {}});
            let record: Release = serde_json::from_value(record).unwrap();
            Release { elsewhere: elsewhere.map(str::to_owned), ..record }
        };
        assert_eq!(elsewhere(&record(None), "flux-system"), None);
        let problem = elsewhere(&record(Some("prod")), "flux-system").unwrap();
        assert!(problem.contains("owner=helm,name=shop into prod"), "{problem}");
    }
}

//! The remarks that a user should read before a release is adopted. Pure.

use helm::{
    adopt,
    ownership::{self, ResourcePolicy},
    record::Status,
};
use lifecycle::source::Desired;

use super::history::{History, Stored};

/// Flux marks every object of its releases with the name of the `HelmRelease`.
const FLUX_NAME: &str = "helm.toolkit.fluxcd.io/name";
const FLUX_NAMESPACE: &str = "helm.toolkit.fluxcd.io/namespace";

/// Returns the remarks, the most important first.
pub(super) fn of(history: &History, namespace: &str) -> Vec<String> {
    let mut remarks: Vec<_> =
        history.problems.iter().map(|problem| format!("warning: left out: {problem}")).collect();
    remarks.extend(history.newest().and_then(at_work));
    let deployed: Vec<_> =
        history.all_deployed().map(|stored| stored.release.version.to_string()).collect();
    if let [.., last] = &*deployed
        && deployed.len() > 1
    {
        remarks.push(format!(
            "warning: revisions {} are all recorded as deployed; the highest counts, {last}",
            deployed.join(", ")
        ));
    }
    if history.in_config_maps {
        remarks.push(
            "warning: Helm keeps the records of this release in ConfigMaps, and the operator keeps \
             its own in Secrets, as Helm does by default: once it has adopted the release, use \
             Helm without HELM_DRIVER"
                .to_owned(),
        );
    }
    let deployed = history.deployed().map(|stored| adopt::desired(&stored.release, namespace));
    if let Some(Ok(desired)) = deployed {
        remarks.extend(flux(&desired));
        remarks.extend(policies(&desired));
    }
    remarks
}

fn at_work(newest: &Stored) -> Option<String> {
    let info = &newest.release.info;
    if !info.status.is_pending() && info.status != Status::Uninstalling {
        return None;
    }
    let who = newest.written.by.as_deref().unwrap_or("another client");
    let since = newest.written.at.map(|at| format!(", which has last written to it at {at:.0},"));
    Some(format!(
        "warning: revision {} is {}: {who}{} is at work on it, or has died at it. The operator waits \
         (HelmAtWork) until nothing was written to it for as long as its flag --takeover-seconds \
         says and none of its hooks runs, and then continues without it",
        newest.release.version,
        info.status,
        since.unwrap_or_default()
    ))
}

fn flux(desired: &Desired) -> Option<String> {
    let label = |key: &str| {
        let label = |it: &lifecycle::object::PlannedObject| {
            it.manifest["metadata"]["labels"][key].as_str().map(str::to_owned)
        };
        desired.objects.iter().find_map(label)
    };
    let name = label(FLUX_NAME)?;
    let namespace = label(FLUX_NAMESPACE).unwrap_or_default();
    Some(format!(
        "warning: the release is of Flux's HelmRelease {namespace}/{name}, and both would act on it: \
         suspend that before you apply this (`flux suspend helmrelease {name} -n {namespace}`); what \
         is deleted while it is suspended uninstalls nothing"
    ))
}

fn policies(desired: &Desired) -> Vec<String> {
    let remark = |it: &lifecycle::object::PlannedObject| match ownership::resource_policy(
        &it.manifest,
    ) {
        ResourcePolicy::Absent => None,
        ResourcePolicy::Keep => Some(format!(
            "note: {} stays when the release is deleted, as with Helm (helm.sh/resource-policy: keep)",
            it.object
        )),
        ResourcePolicy::Unknown(word) => Some(format!(
            "warning: {} has helm.sh/resource-policy: {word:?}, for which `helm uninstall` leaves it \
             without a word; the operator deletes it with the release. Say keep if it is to stay",
            it.object
        )),
    };
    desired.objects.iter().filter_map(remark).collect()
}

#[cfg(test)]
mod tests {
    use helm::record::Release;
    use serde_json::{Value, json};

    use super::super::history::Written;
    use super::*;

    fn stored(revision: i32, status: Status, objects: &[Value]) -> Stored {
        let manifest: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        let release: Release = serde_json::from_value(json!({
            "name": "shop", "version": revision, "info": {"status": status}, "manifest": manifest,
        }))
        .unwrap();
        let at = "2026-11-22T11:02:10.5Z".parse().ok();
        Stored { release, owner: None, written: Written { by: Some("Helm".to_owned()), at } }
    }

    fn remarks(stored: Vec<Stored>, in_config_maps: bool) -> Vec<String> {
        of(&History { stored, in_config_maps, problems: Vec::new() }, "prod")
    }

    #[test]
    fn an_ordinary_release_needs_no_remark() {
        let stored = vec![stored(1, Status::Superseded, &[]), stored(2, Status::Deployed, &[])];
        assert_eq!(remarks(stored, false), Vec::<String>::new());
    }

    #[test]
    fn what_is_in_the_way_is_said() {
        let object = |name: &str, policy: &str| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name,
                "labels": {FLUX_NAME: "shop", FLUX_NAMESPACE: "flux-system"},
                "annotations": {"helm.sh/resource-policy": policy}}})
        };
        let objects = [object("a", "keep"), object("b", "kep")];
        let found = remarks(
            vec![
                stored(1, Status::Deployed, &[]),
                stored(2, Status::Deployed, &objects),
                stored(3, Status::PendingUpgrade, &[]),
            ],
            true,
        );
        let parts = [
            "revision 3 is pending-upgrade: Helm, which has last written to it at \
             2026-11-22T11:02:10Z, is at work on it, or has died at it.",
            "revisions 1, 2 are all recorded as deployed; the highest counts, 2",
            "use Helm without HELM_DRIVER",
            "`flux suspend helmrelease shop -n flux-system`",
            "ConfigMap/a stays when the release is deleted",
            "ConfigMap/b has helm.sh/resource-policy: \"kep\"",
        ];
        assert_eq!(found.len(), parts.len(), "{found:?}");
        for (remark, part) in found.iter().zip(parts) {
            assert!(remark.contains(part), "{remark}");
        }
    }
}

//! The orders in which Helm creates objects and runs hooks.

/// Helm's `InstallOrder` (`pkg/release/v1/util/kind_sorter.go`, version 4).
const INSTALL_ORDER: &[&str] = &[
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// Helm's `UninstallOrder` (the same file, version 4).
const UNINSTALL_ORDER: &[&str] = &[
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "APIService",
    "Ingress",
    "IngressClass",
    "Service",
    "CronJob",
    "Job",
    "StatefulSet",
    "HorizontalPodAutoscaler",
    "Deployment",
    "ReplicaSet",
    "ReplicationController",
    "Pod",
    "DaemonSet",
    "RoleBindingList",
    "RoleBinding",
    "RoleList",
    "Role",
    "ClusterRoleBindingList",
    "ClusterRoleBinding",
    "ClusterRoleList",
    "ClusterRole",
    "CustomResourceDefinition",
    "PersistentVolumeClaim",
    "PersistentVolume",
    "StorageClass",
    "ConfigMap",
    "SecretList",
    "Secret",
    "ServiceAccount",
    "PodDisruptionBudget",
    "PodSecurityPolicy",
    "LimitRange",
    "ResourceQuota",
    "NetworkPolicy",
    "Namespace",
    "PriorityClass",
];

/// Returns the place of `kind` in Helm's install order: known kinds by their rank, unknown ones
/// after all of them and alphabetical among themselves. Sort stably by it.
pub fn install_rank(kind: &str) -> (usize, &str) {
    rank(INSTALL_ORDER, kind)
}

/// Returns the place of `kind` in the order in which a deleted release's objects are deleted;
/// unknown kinds as in [`install_rank`].
pub fn uninstall_rank(kind: &str) -> (usize, &str) {
    rank(UNINSTALL_ORDER, kind)
}

fn rank<'a>(order: &[&str], kind: &'a str) -> (usize, &'a str) {
    match order.iter().position(|known| *known == kind) {
        Some(rank) => (rank, ""),
        None => (order.len(), kind),
    }
}

/// Returns the order of hooks within one event: weight, then name by bytes, then kind by install
/// order (`hookByWeight.Less`; Helm's documentation names kind before name, its code does not).
/// Sort stably by it, so that the order of the source breaks ties.
pub fn hook_rank<'a>(weight: i64, name: &'a str, kind: &'a str) -> impl Ord + 'a {
    (weight, name, install_rank(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_kinds_come_first_and_unknown_ones_by_name() {
        let mut kinds = ["Zebra", "Deployment", "Apple", "ConfigMap", "Namespace", "Service"];
        kinds.sort_by_key(|kind| install_rank(kind));
        assert_eq!(kinds, ["Namespace", "ConfigMap", "Service", "Deployment", "Apple", "Zebra"]);
    }

    #[test]
    fn every_known_kind_has_its_place_in_both_orders() {
        let sorted = |order: &[&'static str]| {
            let mut kinds = order.to_vec();
            kinds.sort_unstable();
            kinds
        };
        assert_eq!(sorted(INSTALL_ORDER), sorted(UNINSTALL_ORDER));
        let mut kinds = ["Namespace", "Zebra", "ConfigMap", "Service", "Deployment", "Apple"];
        kinds.sort_by_key(|kind| uninstall_rank(kind));
        assert_eq!(kinds, ["Service", "Deployment", "ConfigMap", "Namespace", "Apple", "Zebra"]);
    }

    #[test]
    fn hooks_run_by_weight_then_name_then_kind() {
        let mut hooks =
            [(0, "z", "ServiceAccount"), (0, "a", "Job"), (0, "a", "ConfigMap"), (-1, "zz", "Job")];
        hooks.sort_by(|a, b| hook_rank(a.0, a.1, a.2).cmp(&hook_rank(b.0, b.1, b.2)));
        assert_eq!(
            hooks,
            [(-1, "zz", "Job"), (0, "a", "ConfigMap"), (0, "a", "Job"), (0, "z", "ServiceAccount")]
        );
    }
}

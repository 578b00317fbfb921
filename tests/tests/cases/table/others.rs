//! Logs, other releases, rights, time, and Lists.

use e2e::manifests::{Manifest, config_map, job, pod};
use serde_json::{Value, json};

use super::{lasts, rows, service_account};
use crate::{
    case::{Case, Verdict, differs, in_containers, pass},
    program::Program,
    script::{Act, Sight, active, install, script},
};

/// The test of what Helm prints.
const LOGS: &str = "logs_that_helm_prints_are_kept";

pub(super) const CASES: &[Case] = &[
    in_containers(50, "test --logs", "`kubectl lifecycle logs`", LOGS),
    in_containers(51, "hook-output-log-policy", "Helm prints the log, here it is kept", LOGS),
    differs(52, "two releases have a hook of the same name", rows::TAKEN, || {
        let objects = |hook: Value, name| [hook.hook("pre-install"), config_map(name, "1")];
        install(objects(job("a").never_ends(), "one"))
            .release("one")
            .once(active("a"), Act::Install("two", objects(job("a"), "two").into()))
            .says(["HookNameTaken"])
            .unordered()
    }),
    pass(54, "a role without list and watch on the hook's kind", || {
        let metadata = json!({"name": "limited", "namespace": "NAMESPACE"});
        let group = "rbac.authorization.k8s.io";
        script()
            .apply(service_account("limited").set("/metadata/namespace", "NAMESPACE"))
            .apply(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                "metadata": metadata,
                "rules": [
                    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["*"]},
                    {"apiGroups": [""], "resources": ["configmaps"],
                     "verbs": ["get", "create", "update", "patch", "delete"]},
                ],
            }))
            .apply(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "limited"},
                "subjects": [{"kind": "ServiceAccount", "name": "limited",
                              "namespace": "NAMESPACE"}],
            }))
            .install([config_map("a", "").hook("pre-install"), config_map("main", "1")])
            .says(["forbidden"])
            .by_limited()
            .times_out()
    })
    .but(Verdict::AsHelm3),
    differs(55, "timeout 0", rows::NO_TIMEOUT, || {
        install([lasts(job("a"), "33s").hook("pre-install"), config_map("main", "1")])
            .says(["spec.timeout must be between"])
            .timeout(0)
    }),
    differs(56, "a release of Helm 3 is upgraded by Helm 4", rows::MIGRATED, || {
        let hook = job("a").hook("pre-upgrade");
        let is = |main: Option<&Value>| main.is_some_and(|it| it["data"] == json!({"value": "2"}));
        let before = [config_map("main", "1").set("/data/old", "1"), service_account("obsolete")];
        install(before)
            .by_helm3()
            .upgrade([hook, config_map("main", "2")])
            .wait(Sight { kind: "ConfigMap", name: "main", what: "rid of its old key", is })
            .with(&[Program::Helm4])
            .with_methods()
    }),
    differs(58, "a List as hook", rows::LIST, || {
        let list = |items: [Value; 3]| {
            json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
                .hook("pre-install")
        };
        install([list([job("b"), config_map("c", "1"), pod("a")])])
            .install([list([job("d").fails(), config_map("e", "1"), pod("f")])])
            .release("failing")
    }),
];

//! How a hook is run, awaited, and cleaned up.

use e2e::manifests::{Manifest, config_map, deployment, job, pod};
use serde_json::{Value, json};

use super::{ALL_POLICIES, held, rows, widget, widgets};
use crate::{
    case::{Case, Verdict, differs, pass},
    program::Program::{Helm3, Helm4, Helm4Wait},
    script::{Act, Sight, active, complete, install, script},
};

pub(super) const ENDINGS: &[Case] = &[
    pass(13, "hook 2 of 3 fails: 3 is not run, 1 and 2 go by their policies", || {
        let hooks = |first: &str, second: &str| {
            [
                job("a").hook("pre-install").policy(first),
                job("b").hook("pre-install").policy(second).fails(),
                job("c").hook("pre-install"),
            ]
        };
        install(hooks("before-hook-creation,hook-succeeded", "hook-failed"))
            .install(hooks("before-hook-creation,hook-failed", "hook-succeeded"))
            .release("stays")
    }),
    pass(14, "a hook that cannot be created: nothing is deleted", || {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "one-job", "namespace": "NAMESPACE"},
            "spec": {"hard": {"count/jobs.batch": "1"}},
        });
        let counted = Sight {
            kind: "ResourceQuota",
            name: "one-job",
            what: "in force",
            is: |quota| quota.is_some_and(|quota| quota["status"]["hard"].is_object()),
        };
        let hook = |name| job(name).hook("pre-install").policy(ALL_POLICIES);
        script()
            .apply(quota)
            .wait(counted)
            .install([hook("a"), hook("b"), hook("c"), config_map("main", "1")])
            .says(["exceeded quota"])
    }),
    differs(15, "a hook times out: failed, deleted by hook-failed", rows::STOPPED, || {
        let hook = |name| job(name).hook("pre-install").never_ends();
        install([hook("a")])
            .install([hook("b").policy("hook-failed")])
            .release("deleted")
            .times_out()
    }),
    pass(16, "hook-succeeded applies after the event's last hook, in reverse", || {
        let hook = |name, policy| job(name).hook("pre-install").policy(policy);
        install([
            hook("a", "hook-succeeded"),
            hook("b", "before-hook-creation"),
            hook("c", ALL_POLICIES),
            hook("d", "hook-failed"),
            config_map("main", "1"),
        ])
    }),
    differs(17, "a hook-succeeded deletion that is blocked", rows::CLEAN_UP, || {
        install([
            held(job("a").hook("pre-install").policy("hook-succeeded")),
            config_map("main", "1"),
        ])
        .times_out()
        .with(&[Helm4, Helm4Wait, Helm3])
    }),
    differs(18, "a leftover that a finalizer holds", rows::REUSED, || {
        let objects =
            |value| [held(job("a").hook("pre-install,pre-upgrade")), config_map("main", value)];
        install(objects("1"))
            .upgrade(objects("2"))
            .says(["LeftoverNotGone"])
            .times_out()
            .with(&[Helm4, Helm4Wait, Helm3])
    }),
    differs(19, "a Job is deleted while it is awaited", rows::VANISHED, || {
        install([job("a").hook("pre-install").never_ends(), config_map("main", "1")])
            .once(active("a"), Act::Delete)
            .says(["Vanished"])
            .times_out()
    }),
    pass(20, "Deployments and custom resources are not awaited", || {
        script()
            .apply(widgets())
            .kubectl(["wait", "--for=condition=Established", CRD])
            .install([
                deployment("a").unschedulable().hook("pre-install"),
                widget("b").hook("pre-install"),
                config_map("main", "1"),
            ])
            .by_admin()
    }),
    differs(21, "a Pod that is restarted always: timeout", rows::STOPPED, || {
        install([pod("a").hook("pre-install").set_pod("/spec/restartPolicy", "Always")]).times_out()
    }),
    pass(22, "a Job that fails is awaited through its retries", || {
        install([
            job("a").hook("pre-install").set("/spec/backoffLimit", 1).fails(),
            config_map("main", "1"),
        ])
    }),
];

const CRD: &str = "crd/widgets.NAMESPACE.example.com";

pub(super) const LEFTOVERS: &[Case] = &[
    pass(23, "a CRD as hook, run again: never deleted", || {
        let objects = |value| {
            let hook = widgets().hook("pre-install,pre-upgrade").policy(ALL_POLICIES);
            [hook, config_map("main", value)]
        };
        install(objects("1")).upgrade(objects("2")).says(["already exists"]).by_admin()
    })
    .but(Verdict::AsHelm4),
    pass(24, "Namespace and PersistentVolumeClaim as hooks: replaced, with what they hold", || {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
                                       "metadata": {"name": "NAMESPACE-made"}});
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
            "spec": {"accessModes": ["ReadWriteOnce"],
                     "resources": {"requests": {"storage": "1Gi"}}},
        });
        let objects = |value| {
            let hooks = [&namespace, &claim].map(|it| it.clone().hook("pre-install,pre-upgrade"));
            [&hooks[..], &[config_map("main", value)]].concat()
        };
        install(objects("1"))
            .apply(config_map("held", "").set("/metadata/namespace", "NAMESPACE-made"))
            .upgrade(objects("2"))
            .by_admin()
            .with(&[Helm4Wait, Helm3])
    }),
    differs(25, "an object of another owner has the hook's name", rows::TAKEN, || {
        script()
            .apply(job("a").set("/metadata/namespace", "NAMESPACE"))
            .wait(complete("a"))
            .install([job("a").hook("pre-install"), config_map("main", "1")])
            .says(["HookNameTaken"])
    }),
    differs(26, "one ConfigMap as hook and in the manifest", rows::TWICE, || {
        let twice = |name: &str, event: &str| -> [Value; 2] {
            [config_map(name, "hook").hook(event), config_map(name, "object")]
        };
        install(twice("early", "pre-install"))
            .says(["already exists", "the same object is already at"])
            .install(twice("late", "post-install"))
            .release("after")
            .says(["already exists", "the same object is already at"])
    }),
];

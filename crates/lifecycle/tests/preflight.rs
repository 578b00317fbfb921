//! Findings before anything runs: of what can only fail.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use lifecycle::{
    event::Event,
    plan::{Crds, Plan, plan_hooks},
    preflight::{Check, Holds, warnings},
    source::{Author, Desired},
    testing::{self, object},
};
use manifests::placed::Placed;
use serde_json::{Value, json};

fn hook(mut object: Value, events: &str) -> Value {
    object["metadata"]["annotations"]["helm.sh/hook"] = json!(events);
    object
}

fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][key] = json!(value);
    object
}

fn plain(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}})
}

fn job(name: &str, pod: Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name},
        "spec": {"template": {"spec": pod}}})
}

fn deployment(name: &str, pod: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"template": {"spec": pod}}})
}

fn account(name: &str) -> Value {
    json!({"serviceAccountName": name, "containers": []})
}

/// A plan as the controller makes it.
fn plan(event: Event, objects: &[Value]) -> Plan {
    let desired = Desired::parse(&Placed::inline(objects), "prod", Author::User)
        .expect("objects that can be read");
    let mut plan = testing::plan(event);
    plan.hooks = plan_hooks(&desired, event, Crds::Create);
    if event == Event::Delete {
        plan.prune = desired.objects.into_iter().map(|it| it.object).collect();
    } else if event.makes_revision() {
        plan.objects = desired.objects;
    }
    plan
}

#[track_caller]
fn check(plan: &Plan, expected: &[(&str, Holds)]) {
    let found = warnings(plan, "prod");
    let found: Vec<_> = found.iter().map(|it| (&*it.message, it.holds.clone())).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_hook_that_needs_a_later_one_is_told_which() {
    let hooks = |events: &str| {
        [
            hook(job("a-job", account("z-sa")), events),
            hook(plain("ServiceAccount", "z-sa"), events),
            plain("ConfigMap", "app"),
        ]
    };
    let message = "hook Job/a-job (pre-install) cannot run: ServiceAccount/z-sa is hook 2 of this \
                   release and comes after this one: give it a lower weight";
    let without = Holds::Without(object("ServiceAccount", "z-sa"));
    check(&plan(Event::Install, &hooks("pre-install")), &[(message, without.clone())]);
    for (event, name) in [
        (Event::Install, "post-install"),
        (Event::Upgrade, "pre-upgrade"),
        (Event::Rollback, "post-rollback"),
        (Event::Delete, "pre-delete"),
        (Event::Test, "test"),
    ] {
        let message = message.replace("pre-install", name);
        check(&plan(event, &hooks(name)), &[(&message, without.clone())]);
    }
    let [job, account, _] = hooks("pre-install");
    let lighter = annotated(account, "helm.sh/hook-weight", "-1");
    check(&plan(Event::Install, &[job, lighter]), &[]);
}

#[test]
fn everything_that_a_pod_cannot_be_without_is_seen() {
    let needs = |pod: Value| {
        let objects = [
            hook(job("a", pod), "pre-install"),
            plain("ConfigMap", "it"),
            plain("Secret", "it"),
            plain("PersistentVolumeClaim", "it"),
            plain("ServiceAccount", "it"),
        ];
        let found = warnings(&plan(Event::Install, &objects), "prod");
        let kinds = found.iter().map(|warning| match &warning.holds {
            Holds::Without(object) => object.kind.clone(),
            other => panic!("{other:?}"),
        });
        kinds.collect::<Vec<_>>()
    };
    let name = json!({"name": "it"});
    let key = |kind: &str| json!([{"name": "X", "valueFrom": {kind: {"name": "it", "key": "k"}}}]);
    let optional = json!({"name": "it", "optional": true});
    for (pod, expected) in [
        (json!({"serviceAccountName": "it"}), &["ServiceAccount"][..]),
        (json!({"serviceAccount": "it"}), &["ServiceAccount"]),
        (json!({"volumes": [{"configMap": name}]}), &["ConfigMap"]),
        (json!({"volumes": [{"secret": {"secretName": "it"}}]}), &["Secret"]),
        (
            json!({"volumes": [{"persistentVolumeClaim": {"claimName": "it"}}]}),
            &["PersistentVolumeClaim"],
        ),
        (
            json!({"volumes": [{"projected": {"sources": [{"configMap": name}, {"secret": name}]}}]}),
            &["ConfigMap", "Secret"],
        ),
        (json!({"containers": [{"envFrom": [{"configMapRef": name}]}]}), &["ConfigMap"]),
        (json!({"containers": [{"envFrom": [{"secretRef": name}]}]}), &["Secret"]),
        (json!({"initContainers": [{"env": key("configMapKeyRef")}]}), &["ConfigMap"]),
        (json!({"containers": [{"env": key("secretKeyRef")}]}), &["Secret"]),
        (
            json!({"volumes": [{"configMap": name}], "containers": [{"env": key("configMapKeyRef")}]}),
            &["ConfigMap"],
        ),
        (json!({"volumes": [{"configMap": optional}]}), &[]),
        (json!({"volumes": [{"secret": {"secretName": "it", "optional": true}}]}), &[]),
        (json!({"containers": [{"envFrom": [{"secretRef": optional}]}]}), &[]),
        (json!({"imagePullSecrets": [name]}), &[]),
        (json!({"serviceAccountName": "default", "volumes": "none", "containers": [7]}), &[]),
    ] {
        assert_eq!(needs(pod.clone()), expected, "{pod}");
    }
}

#[test]
fn what_is_applied_after_the_hook_is_not_there_at_an_install() {
    let objects = |events: &str| {
        let pod =
            json!({"serviceAccountName": "web", "volumes": [{"configMap": {"name": "other"}}]});
        [hook(job("migrate", pod), events), plain("ServiceAccount", "web")]
    };
    check(
        &plan(Event::Install, &objects("pre-install")),
        &[(
            "hook Job/migrate (pre-install) cannot run: ServiceAccount/web is an object of this \
             release and is applied after the hook: make it a pre-install hook of a lower weight, or \
             the hook a post-install hook",
            Holds::Without(object("ServiceAccount", "web")),
        )],
    );
    // The revision before has it, as a rule.
    check(
        &plan(Event::Upgrade, &objects("pre-upgrade")),
        &[(
            "hook Job/migrate (pre-upgrade) cannot run: ServiceAccount/web does not exist, and this \
             release applies it after the hook: make it a pre-upgrade hook of a lower weight, or \
             create it",
            Holds::IfMissing(object("ServiceAccount", "web")),
        )],
    );
    check(&plan(Event::Install, &objects("post-install")), &[]);
    check(&plan(Event::Test, &objects("test")), &[]);
    let mut elsewhere = plain("ServiceAccount", "web");
    elsewhere["metadata"]["namespace"] = json!("other");
    let [job, _] = objects("pre-install");
    check(&plan(Event::Install, &[job, elsewhere]), &[]);
}

#[test]
fn what_a_policy_has_deleted_by_then_is_not_there() {
    let config = hook(plain("ConfigMap", "config"), "pre-install");
    let config = annotated(config, "helm.sh/hook-delete-policy", "hook-succeeded");
    let pod = json!({"volumes": [{"configMap": {"name": "config"}}]});
    let text = "ConfigMap/config is hook 1 of this release and is deleted by then, as its delete \
                policy hook-succeeded says: remove that policy";
    check(
        &plan(
            Event::Install,
            &[
                config.clone(),
                hook(job("seed", pod.clone()), "post-install"),
                deployment("web", pod.clone()),
            ],
        ),
        &[
            (&format!("hook Job/seed (post-install) cannot run: {text}"), Holds::Always),
            (&format!("Deployment/web cannot become ready: {text}"), Holds::Always),
        ],
    );
    // Within one event, policies are heeded at its end.
    check(&plan(Event::Install, &[config, hook(job("seed", pod), "pre-install")]), &[]);
}

#[test]
fn what_is_waited_for_cannot_need_what_a_post_hook_makes() {
    let pod = json!({"volumes": [{"secret": {"secretName": "key"}}]});
    let mut secret = plain("Secret", "key");
    secret["stringData"] = json!({"a": "b"});
    let objects = |event: &str| [hook(secret.clone(), event), deployment("web", pod.clone())];
    let message = "Deployment/web cannot become ready: Secret/key is hook 1 of this release and comes \
                   after the objects are ready: make it a pre-install hook, or an object of the release";
    let install = plan(Event::Install, &objects("post-install"));
    check(&install, &[(message, Holds::Without(object("Secret", "key")))]);
    check(&Plan { wait: false, ..install }, &[]);
    let upgrade = plan(Event::Upgrade, &objects("post-upgrade"));
    let message = message.replace("pre-install", "pre-upgrade");
    check(&upgrade, &[(&message, Holds::IfMissing(object("Secret", "key")))]);
    let mut idle = objects("post-install");
    idle[1]["spec"]["replicas"] = json!(0);
    check(&plan(Event::Install, &idle), &[]);
}

#[test]
fn an_init_container_that_waits_for_a_post_hook_is_seen_by_its_words() {
    let waiting = |name: &str, command: &str| {
        deployment(
            "web",
            json!({"containers": [], "initContainers": [
            {"name": name, "command": ["sh", "-c", command]}]}),
        )
    };
    let migrate = hook(job("migrate-db", json!({})), "post-install,post-upgrade");
    let sees = |deployment: Value, hook: &Value| {
        !warnings(&plan(Event::Install, &[hook.clone(), deployment]), "prod").is_empty()
    };
    let waits = waiting("wait-for-migrations", "sleep 3600");
    check(
        &plan(Event::Install, &[migrate.clone(), waits]),
        &[(
            "Deployment/web is waited for before hook Job/migrate-db (post-install) runs, and its init \
             container wait-for-migrations seems to wait for that hook: then neither ends; make it a \
             pre-install hook, or set spec.wait: false",
            Holds::Always,
        )],
    );
    assert!(sees(waiting("init", "echo waiting until it is migrated; sleep 9"), &migrate));
    assert!(!sees(waiting("wait-for-database", "nc -z db 5432"), &migrate));
    assert!(!sees(waiting("migrate", "alembic upgrade head"), &migrate));
    let of_release = hook(job("shop-web-seed", json!({})), "post-install");
    assert!(!sees(waiting("wait-for-shop-redis", "ping shop-web"), &of_release));
    assert!(sees(waiting("wait-until-seeded", ""), &of_release));
    let probed = |probe: Value| {
        let container = json!({"name": "w", "readinessProbe": probe});
        deployment("web", json!({"containers": [container]}))
    };
    let seeding = hook(job("seed", json!({})), "post-install");
    let exec = probed(json!({"exec": {"command": ["sh", "-c", "test -e /seeded"]}}));
    let found = warnings(&plan(Event::Install, &[seeding.clone(), exec]), "prod");
    assert!(found[0].message.contains("its readinessProbe of container w seems to"), "{found:?}");
    assert!(!sees(probed(json!({"httpGet": {"path": "/seeds"}})), &seeding));
    let test = hook(job("test-it", json!({})), "post-install");
    assert!(!sees(probed(json!({"exec": {"command": ["test", "-e", "/ready"]}})), &test));
}

#[test]
fn a_deletion_is_told_what_its_hooks_will_not_find() {
    let objects = |event: &str| {
        [
            hook(job("cleanup", account("cleanup")), event),
            plain("ServiceAccount", "cleanup"),
            plain("ConfigMap", "consul"),
        ]
    };
    check(
        &plan(Event::Delete, &objects("pre-delete")),
        &[(
            "hook Job/cleanup (pre-delete) cannot run: ServiceAccount/cleanup is an object of this \
             release and does not exist: create it, or skip the hooks by `kubectl lifecycle \
             skip shop -n prod`",
            Holds::IfMissing(object("ServiceAccount", "cleanup")),
        )],
    );
    check(
        &plan(Event::Delete, &objects("post-delete")),
        &[(
            "hook Job/cleanup (post-delete) cannot run: ServiceAccount/cleanup is an object of this \
             release and is deleted before the hook: make the hook a pre-delete hook, or \
             ServiceAccount/cleanup a post-delete hook of a lower weight",
            Holds::Always,
        )],
    );
    let mut keeps = objects("post-delete");
    keeps[1] = hook(plain("ServiceAccount", "cleanup"), "post-delete");
    keeps[1] = annotated(keeps[1].take(), "helm.sh/hook-weight", "-1");
    check(&plan(Event::Delete, &keeps), &[]);
    let [job, ..] = objects("pre-delete");
    let found = warnings(&plan(Event::Delete, &[job]), "prod");
    assert_eq!(found[0].holds, Holds::IfMissing(object("ServiceAccount", "cleanup")));
}

#[test]
fn what_an_upgrade_prunes_is_gone_when_its_post_hooks_run() {
    let mut upgrade = plan(
        Event::Upgrade,
        &[hook(job("a", account("old")), "post-upgrade"), plain("Secret", "s")],
    );
    upgrade.prune = vec![object("ServiceAccount", "old")];
    check(
        &upgrade,
        &[(
            "hook Job/a (post-upgrade) cannot run: ServiceAccount/old is no longer an object of this \
             release and is deleted: keep it in the release",
            Holds::IfPruned(object("ServiceAccount", "old")),
        )],
    );
    assert!(!warnings(&upgrade, "prod")[0].holds.is_expected(), "it may be one that is kept");
}

#[test]
fn a_deadline_of_its_own_beyond_the_timeout_is_never_reached() {
    let with = |pointer: &str, seconds: i64| {
        let mut job = hook(job("a", json!({})), "pre-install");
        job["spec"][pointer] = json!(seconds);
        plan(Event::Install, &[job])
    };
    check(
        &with("activeDeadlineSeconds", 3600),
        &[(
            "hook Job/a (pre-install) has activeDeadlineSeconds: 3600, and spec.timeout stops it after \
             300 s: raise spec.timeout",
            Holds::Always,
        )],
    );
    check(&with("activeDeadlineSeconds", 300), &[]);
    let mut pod = hook(plain("Pod", "p"), "test");
    pod["spec"] = json!({"activeDeadlineSeconds": 301});
    assert_eq!(warnings(&plan(Event::Test, &[pod]), "prod").len(), 1);
}

#[test]
fn a_release_does_not_hold_the_namespace_that_it_is_in() {
    let objects = [plain("Namespace", "prod"), plain("ConfigMap", "a")];
    for event in [Event::Install, Event::Delete] {
        let found = warnings(&plan(event, &objects), "prod");
        assert!(
            found[0].message.starts_with("Namespace/prod is the namespace that this"),
            "{found:?}"
        );
        assert_eq!(warnings(&plan(event, &objects), "other"), []);
    }
}

#[test]
fn what_is_looked_at_and_said_is_bounded() {
    let mut objects = vec![hook(plain("Secret", "key"), "post-install")];
    let pod = json!({"volumes": [{"secret": {"secretName": "key"}}]});
    objects.extend((0..1_100).map(|index| deployment(&format!("d{index}"), pod.clone())));
    assert_eq!(warnings(&plan(Event::Install, &objects), "prod").len(), 1_000);
}

#[test]
fn a_hook_that_mounts_the_claim_of_a_later_stateful_set_is_told_which() {
    let pod = |claim: &str| json!({"volumes": [{"persistentVolumeClaim": {"claimName": claim}}]});
    let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
        "spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
    let objects = |claim: &str, event: &str| [hook(job("load", pod(claim)), event), set.clone()];
    let claim = object("PersistentVolumeClaim", "data-db-0");
    check(
        &plan(Event::Install, &objects("data-db-0", "pre-install")),
        &[(
            "hook Job/load (pre-install) cannot run: PersistentVolumeClaim/data-db-0 is made by \
             StatefulSet/db, which is applied after the hook: make the hook a post-install hook, or \
             create it",
            Holds::Without(claim.clone()),
        )],
    );
    let upgrade = plan(Event::Upgrade, &objects("data-db-0", "pre-upgrade"));
    assert_eq!(warnings(&upgrade, "prod")[0].holds, Holds::IfMissing(claim));
    check(&plan(Event::Install, &objects("data-db-0", "post-install")), &[]);
    for other in ["data-db-", "data-db-x", "data-other-0"] {
        check(&plan(Event::Install, &objects(other, "pre-install")), &[]);
    }
}

#[test]
fn a_hook_that_seems_to_use_a_later_service_is_told_which() {
    let migrate = |event: &str| {
        let container = json!({"env": [{"name": "DB_HOST", "value": "db.prod.svc:5432"}]});
        hook(job("migrate", json!({"containers": [container]})), event)
    };
    let objects = |event: &str| [migrate(event), plain("Service", "db")];
    let service = object("Service", "db");
    let install = plan(Event::Install, &objects("pre-install"));
    check(
        &install,
        &[(
            "hook Job/migrate (pre-install) seems to use Service/db: Service/db is an object of this \
             release and is applied after the hook: make it a pre-install hook of a lower weight, or \
             the hook a post-install hook",
            Holds::Without(service.clone()),
        )],
    );
    assert_eq!(warnings(&install, "prod")[0].check, Check::UsesService);
    check(&plan(Event::Install, &objects("post-install")), &[]);
    let upgrade = plan(Event::Upgrade, &objects("pre-upgrade"));
    assert_eq!(warnings(&upgrade, "prod")[0].holds, Holds::IfMissing(service));
    let found = warnings(&plan(Event::Delete, &objects("post-delete")), "prod");
    assert!(found[0].message.contains("seems to use Service/db: Service/db is an object of this"));
    let later = [migrate("pre-install"), hook(plain("Service", "db"), "post-install")];
    let found = warnings(&plan(Event::Install, &later), "prod");
    assert!(found[0].message.contains("Service/db is hook 2 of this release"), "{found:?}");
    // A Service of another release is none of its business.
    check(&plan(Event::Install, &[migrate("pre-install"), plain("ConfigMap", "db")]), &[]);
}

#[test]
fn a_hook_that_is_deleted_with_its_data_is_told_so() {
    let claim = |events: &str| hook(plain("PersistentVolumeClaim", "data"), events);
    let both = "pre-install,pre-upgrade";
    let keep = "make it an object of the release with the annotation helm.sh/resource-policy: keep";
    let it = object("PersistentVolumeClaim", "data");
    let message = format!(
        "hook PersistentVolumeClaim/data (pre-upgrade) is deleted with its data and created again at \
         each upgrade, by the default delete policy before-hook-creation: {keep}, or a pre-install \
         hook alone"
    );
    check(&plan(Event::Upgrade, &[claim(both)]), &[(&message, Holds::With(it.clone()))]);
    let message = format!(
        "hook PersistentVolumeClaim/data (pre-install) exists, and would be deleted with its data \
         and created again, by the default delete policy before-hook-creation: {keep}, and save the \
         data first"
    );
    check(&plan(Event::Install, &[claim(both)]), &[(&message, Holds::IfThere(it))]);
    let policy =
        |object: Value, policy: &str| annotated(object, "helm.sh/hook-delete-policy", policy);
    let explicit = || policy(claim(both), "before-hook-creation");
    let found = warnings(&plan(Event::Upgrade, &[explicit()]), "prod");
    assert!(found[0].message.contains("as its delete policy before-hook-creation says"));
    // Only hooks of the same event use it, and its author wants it empty.
    let pod = json!({"volumes": [{"persistentVolumeClaim": {"claimName": "data"}}]});
    let weighted = |events: &str| {
        annotated(hook(job("work", pod.clone()), events), "helm.sh/hook-weight", "1")
    };
    check(&plan(Event::Upgrade, &[explicit(), weighted(both)]), &[]);
    for user in [weighted("post-upgrade"), deployment("web", pod.clone())] {
        let found = warnings(&plan(Event::Upgrade, &[explicit(), weighted(both), user]), "prod");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].check, Check::DeletesData);
    }
    check(&plan(Event::Upgrade, &[policy(claim(both), "hook-failed")]), &[]);
    let mut named = claim(both);
    named["metadata"] = json!({"generateName": "data-", "annotations": {"helm.sh/hook": both}});
    check(&plan(Event::Upgrade, &[named]), &[]);
    // What comes from the release itself is not lost.
    let secret = |data: Value| {
        let mut secret = hook(plain("Secret", "keys"), both);
        secret.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
        warnings(&plan(Event::Upgrade, &[secret]), "prod").len()
    };
    assert_eq!(secret(json!({})), 1);
    assert_eq!(secret(json!({"stringData": {"a": "b"}})), 0);
    assert_eq!(secret(json!({"data": {"a": "Yg=="}})), 0);
    assert_eq!(secret(json!({"type": "kubernetes.io/service-account-token"})), 0);
    check(&plan(Event::Upgrade, &[hook(plain("ConfigMap", "a"), both)]), &[]);
}

#[test]
fn a_hook_that_is_deleted_after_its_event_though_others_use_it_is_told_so() {
    let secret = annotated(
        hook(plain("Secret", "key"), "pre-install"),
        "helm.sh/hook-delete-policy",
        "hook-succeeded",
    );
    let pod = json!({"volumes": [{"secret": {"secretName": "key"}}]});
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly"},
        "spec": {"jobTemplate": {"spec": {"template": {"spec": pod}}}}});
    check(
        &plan(Event::Install, &[secret.clone(), cron]),
        &[(
            "hook Secret/key (pre-install) is deleted with its data once all pre-install hooks have \
             succeeded, as its delete policy hook-succeeded says, and CronJob/nightly uses it: \
             remove that policy, or make it an object of the release with the annotation \
             helm.sh/resource-policy: keep",
            Holds::Always,
        )],
    );
    // One warning is enough.
    let install = plan(Event::Install, &[secret.clone(), deployment("web", pod.clone())]);
    assert_eq!(warnings(&install, "prod").len(), 1);
    let found = warnings(&Plan { wait: false, ..install }, "prod");
    assert_eq!((found.len(), found[0].check), (1, Check::DeletesData));
    check(&plan(Event::Install, &[secret, hook(job("load", pod), "pre-install")]), &[]);
}

#[test]
fn a_job_of_the_release_that_may_be_gone_before_all_is_ready_is_told_so() {
    let with = |ttl: i64| {
        let mut job = job("load", json!({}));
        job["spec"]["ttlSecondsAfterFinished"] = json!(ttl);
        job
    };
    let slow = deployment("web", json!({}));
    check(
        &plan(Event::Install, &[with(60), slow.clone()]),
        &[(
            "Job/load has ttlSecondsAfterFinished: 60, and spec.timeout is 300 s: if it is deleted \
             before the other objects are ready, the release waits for it in vain; make it a hook, or \
             ttlSecondsAfterFinished longer than spec.timeout",
            Holds::Always,
        )],
    );
    check(&plan(Event::Install, &[with(300), slow.clone()]), &[]);
    check(&plan(Event::Install, &[with(60)]), &[]);
    let unwaited = Plan { wait: false, ..plan(Event::Install, &[with(60), slow.clone()]) };
    check(&unwaited, &[]);
    // The operator adds it only once the hook's outcome is recorded.
    check(&plan(Event::Install, &[hook(with(0), "pre-install"), slow]), &[]);
}

#[test]
fn each_check_has_a_name_of_its_own() {
    let ids: BTreeSet<_> = Check::ALL.iter().map(|check| check.id()).collect();
    assert_eq!(ids.len(), Check::ALL.len());
}

#[test]
fn a_loss_of_data_is_told_before_everything_else_that_is_looked_up() {
    let claim = hook(plain("PersistentVolumeClaim", "data"), "pre-upgrade");
    let mut objects: Vec<_> = (0..30)
        .map(|index| hook(job(&format!("j{index}"), account(&format!("a{index}"))), "pre-upgrade"))
        .collect();
    objects.extend((0..30).map(|index| plain("ServiceAccount", &format!("a{index}"))));
    objects.push(claim);
    let found = warnings(&plan(Event::Upgrade, &objects), "prod");
    assert_eq!((found.len(), found[0].check), (31, Check::DeletesData), "{found:?}");
}

#[test]
fn what_an_earlier_attempt_at_the_install_has_left_is_no_loss() {
    let claim = hook(plain("PersistentVolumeClaim", "data"), "pre-install");
    let mut first = plan(Event::Install, &[claim]);
    assert_eq!(warnings(&first, "prod").len(), 1);
    first.hooks[0].recorded = true;
    assert_eq!(warnings(&first, "prod"), []);
}

#[test]
fn only_what_is_certain_holds_an_operation_back() {
    let guesses = Check::ALL.into_iter().filter(|check| check.is_guess());
    assert_eq!(guesses.collect::<Vec<_>>(), [Check::UsesService, Check::WaitsForPostHook]);
}

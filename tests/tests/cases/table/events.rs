//! Installs, upgrades, rollbacks and tests.

use e2e::manifests::{Manifest, config_map, job};
use serde_json::{Value, json};

use super::{rows, service_account, widget, widgets};
use crate::{
    case::{Case, differs, pass},
    script::{Act, active, complete, file, generated, install, script},
};

pub(super) const OBJECTS: &[Case] = &[
    differs(
        27,
        "an object becomes a pre-upgrade hook: made by the hook, then deleted by the upgrade",
        rows::BECOMES_HOOK,
        || {
            install([config_map("moved", "object")])
                .upgrade([config_map("moved", "hook").hook("pre-upgrade")])
        },
    ),
    pass(28, "a hook becomes an object of the release: refused", || {
        install([config_map("moved", "hook").hook("pre-install"), config_map("main", "1")])
            .upgrade([config_map("moved", "object"), config_map("main", "2")])
            .says(["cannot be imported", "belongs to no release"])
    }),
    differs(29, "generateName", rows::GENERATED, || {
        let hook = || generated(job("")).hook("pre-install");
        install([hook(), config_map("main", "1")])
            .install([hook().policy("hook-failed"), config_map("other", "1")])
            .release("bare")
    }),
    differs(30, "a custom resource whose CRD is a hook", rows::BROUGHT_KIND, || {
        install([widgets().hook("pre-install"), widget("a")])
            .says(["no matches for kind \"Widget\"", "does not know kind \"Widget\""])
            .by_admin()
    }),
    pass(31, "lookup does not see what a pre hook makes, but what is there", || {
        let lookup = r#"lookup "v1" "ConfigMap" .Release.Namespace "made""#;
        let map = |name: &str| config_map(name, "1").to_string();
        let (seen, unseen) = (map("seen"), map("unseen"));
        let text = format!("{{{{ if {lookup} }}}}{seen}{{{{ else }}}}{unseen}{{{{ end }}}}");
        let objects =
            || [config_map("made", "1").hook("pre-install"), file("templates/facts.yaml", &text)];
        install(objects()).upgrade(objects())
    }),
    pass(32, "a hook in another namespace", || {
        script()
            .kubectl(["create", "namespace", "NAMESPACE-other"])
            .install([
                job("a").hook("pre-install").set("/metadata/namespace", "NAMESPACE-other"),
                config_map("main", "1"),
            ])
            .by_admin()
    }),
    pass(33, "pre-install,post-install: run twice, the record has the second", || {
        install([job("a").hook("pre-install,post-install"), config_map("main", "1")])
    }),
];

pub(super) const INTERRUPTIONS: &[Case] = &[
    pass(34, "install --no-hooks, then uninstall: delete hooks run", || {
        let policy = "before-hook-creation,hook-succeeded";
        let objects = [
            job("a").hook("pre-install"),
            job("b").hook("pre-delete").policy(policy),
            job("c").hook("post-delete").policy(policy),
            config_map("main", "1"),
        ];
        install(objects.clone()).flags(["--no-hooks"]).by_helm().take_over(objects).uninstall()
    }),
    differs(35, "an upgrade after a failed first install", rows::INSTALL_AGAIN, || {
        let others = [job("b").hook("pre-upgrade"), config_map("main", "1")];
        let hook = job("a").hook("pre-install");
        install([&[hook.clone().fails()], &others[..]].concat())
            .upgrade([&[hook], &others[..]].concat())
            .flags(["--install"])
    }),
    differs(
        36,
        "uninstall --keep-history, then upgrade --install: install hooks",
        rows::TAKEN_DOWN,
        || {
            let objects = [
                job("a").hook("pre-install"),
                job("b").hook("pre-upgrade"),
                config_map("main", "1"),
            ];
            install(objects.clone())
                .by_helm()
                .uninstall()
                .flags(["--keep-history"])
                .by_helm()
                .upgrade(objects)
                .flags(["--install"])
        },
    ),
    differs(37, "kill -9 in a pre-install hook", rows::RESUMED, || {
        let objects =
            |value| [job("a").hook("pre-install").never_ends(), config_map("main", value)];
        install(objects("1"))
            .once(active("a"), Act::Signal("KILL"))
            .wait(complete("a"))
            .upgrade(objects("2"))
            .flags(["--install"])
            .says(["another operation"])
            .uninstall()
    }),
    differs(38, "SIGTERM in a pre-install hook", rows::RESUMED, || {
        install([job("a").hook("pre-install").never_ends(), config_map("main", "1")])
            .once(active("a"), Act::Signal("TERM"))
            .says(["context canceled"])
            .wait(complete("a"))
    }),
    pass(44, "install --rollback-on-failure: delete hooks run", || {
        let policy = "before-hook-creation,hook-succeeded,hook-failed";
        install([
            job("a").hook("pre-install").policy(policy).fails(),
            job("b").hook("pre-delete").policy(policy),
            job("c").hook("post-delete").policy(policy),
            config_map("main", "1"),
        ])
        .flags(["--atomic"])
        .spec(json!({"install": {"onFailure": "Uninstall"}}))
    }),
    pass(45, "upgrade --rollback-on-failure: rollback hooks run", || {
        let policy = "before-hook-creation,hook-succeeded,hook-failed";
        let objects = |value: &str, more: &[Value]| {
            let hook =
                |name: &str, event: &str| job(&format!("{name}{value}")).hook(event).policy(policy);
            let own = [
                hook("before", "pre-rollback"),
                hook("after", "post-rollback"),
                // Helm makes what is of one kind side by side, in no order.
                service_account(&format!("only{value}")),
                config_map("main", value),
            ];
            [&own, more].concat()
        };
        let failing = [job("a").hook("post-upgrade").policy(policy).fails()];
        install(objects("1", &[]))
            .upgrade(objects("2", &failing))
            .flags(["--atomic"])
            .spec(json!({"upgrade": {"onFailure": "Rollback"}}))
    }),
    differs(
        46,
        "an upgrade after a failed one: what only the failed one had",
        rows::PRUNED,
        || {
            let objects = |value, more: &[Value]| [&[config_map("main", value)], more].concat();
            let failing = [config_map("new", ""), job("a").hook("post-upgrade").fails()];
            install(objects("1", &[])).upgrade(objects("2", &failing)).upgrade(objects("3", &[]))
        },
    ),
    differs(47, "two upgrades at once", rows::TURN, || {
        let objects = |hook: &Value, value: &str| [hook.clone(), config_map("main", value)];
        let hook = job("a").hook("pre-upgrade");
        install(objects(&hook, "1"))
            .upgrade(objects(&hook.clone().never_ends(), "2"))
            .once(active("a"), Act::Upgrade(objects(&hook, "3").into()))
            .says(["another operation"])
    }),
];

pub(super) const ROLLBACKS: &[Case] = &[
    differs(39, "a failing pre-rollback hook", rows::ROLLBACK_FAILED, || {
        let objects = |value| [job("a").hook("pre-rollback").fails(), config_map("main", value)];
        install(objects("1"))
            .upgrade(objects("2"))
            .rollback(1)
            .upgrade(objects("3"))
            .says(["another operation"])
    }),
    pass(40, "rollback from 3 to 1: the rollback hooks of revision 1, no upgrade hooks", || {
        let objects = |value: &str| {
            let hook = |name: &str, event: &str| job(&format!("{name}{value}")).hook(event);
            let policy = "before-hook-creation,hook-succeeded";
            [
                hook("before", "pre-rollback").policy(policy),
                hook("after", "post-rollback").policy(policy),
                hook("upgrade", "pre-upgrade,post-upgrade").policy(policy),
                config_map("main", value),
            ]
        };
        install(objects("1")).upgrade(objects("2")).upgrade(objects("3")).rollback(1)
    }),
    differs(48, "kill -9 in a filtered test", rows::FILTERS, || {
        let policy = "before-hook-creation,hook-succeeded";
        install([
            job("a").hook("test").never_ends(),
            job("b").hook("test"),
            job("c").hook("pre-delete").policy(policy),
        ])
        .test()
        .flags(["--filter", "name=a"])
        .spec(json!({"test": {"filters": [{"name": "a"}]}}))
        .once(active("a"), Act::Signal("KILL"))
        .wait(complete("a"))
        .uninstall()
    }),
    pass(49, "a test of a failed release runs", || {
        install([
            config_map("main", "1"),
            job("a").hook("post-install").fails(),
            job("b").hook("test"),
        ])
        .test()
    }),
];

//! Annotations, and the order in which hooks run.

use e2e::manifests::{Manifest, config_map, job, pod};

use super::{rows, service_account};
use crate::{
    case::{Case, differs, pass},
    script::{file, install, yaml},
};

pub(super) const CASES: &[Case] = &[
    pass(1, "events are trimmed and lowered", || {
        let objects =
            |value| [job("a").hook(" Pre-Install , POST-UPGRADE"), config_map("main", value)];
        install(objects("1")).upgrade(objects("2"))
    }),
    differs(2, "one unknown event among others", rows::UNKNOWN_EVENT, || {
        install([job("a").hook("pre-install,foo"), config_map("main", "1")])
            .says(["Job/a", "unknown hook event \"foo\""])
    }),
    differs(3, "an empty event, also after a comma", rows::UNKNOWN_EVENT, || {
        let hooks = [job("a").hook("pre-install,"), job("b").hook("")];
        install([&hooks[..], &[config_map("main", "1")]].concat()).says([
            "Job/a",
            "Job/b",
            "unknown hook event \"\"",
        ])
    }),
    differs(
        4,
        "crd-install and test-failure are unknown, test-success is test",
        rows::UNKNOWN_EVENT,
        || {
            install([job("a").hook("crd-install"), job("b").hook("test-failure")])
                .says(["unknown hook event \"crd-install\"", "\"test-failure\""])
                .install([job("c").hook("test-success")])
                .release("tested")
                .test()
                .release("tested")
        },
    ),
    pass(5, "test,test-success runs twice", || {
        let hook = job("a").hook("test,test-success");
        install([hook.policy("before-hook-creation,hook-succeeded")]).test()
    }),
    pass(6, "weights are read as Go's Atoi reads them, or are 0", || {
        let hook = |name, weight| job(name).hook("pre-install").weight(weight);
        // Of a chart: what a user writes is refused.
        install([
            file("README.md", ""),
            hook("a", "+5"),
            hook("b", " 5"),
            hook("c", "5.0"),
            hook("d", "abc"),
            hook("e", "99999999999999999999"),
            hook("f", "-1"),
            hook("g", "010"),
        ])
    }),
    differs(7, "an unquoted weight", rows::NOT_A_STRING, || {
        let hook = |name, weight| {
            yaml(&format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  annotations:\n    \
                         helm.sh/hook: pre-install\n    helm.sh/hook-weight: {weight}\n"
            ))
        };
        install([hook("a", "010"), hook("b", "5")])
            .says(["cannot unmarshal number", "spec.source.objects[0].metadata"])
    }),
    pass(8, "without a delete policy it is before-hook-creation", || {
        let objects = |value| [job("a").hook("pre-install,pre-upgrade"), config_map("main", value)];
        install(objects("1")).upgrade(objects("2"))
    }),
    differs(9, "an empty or unknown delete policy deletes nothing", rows::REUSED, || {
        let hook = |name| job(name).hook("pre-install,pre-upgrade");
        let empty = |value| [hook("a").policy(""), config_map("main", value)];
        // Of a chart: what a user writes is refused.
        let never =
            |value| [file("README.md", ""), hook("b").policy("never"), config_map("other", value)];
        install(empty("1"))
            .upgrade(empty("2"))
            .says(["already exists", "HookExists"])
            .install(never("1"))
            .release("never")
            .upgrade(never("2"))
            .release("never")
            .says(["already exists", "HookExists"])
    }),
    pass(10, "of equal weight, Job a comes before ServiceAccount z", || {
        install([service_account("z").hook("pre-install"), job("a").hook("pre-install")])
    }),
    pass(11, "of equal weight and name, kinds come in install order", || {
        install([
            job("a").hook("pre-install"),
            pod("a").hook("pre-install"),
            config_map("a", "1").hook("pre-install"),
            service_account("a").hook("pre-install"),
        ])
    }),
    pass(12, "hooks of parent and subchart have one order", || {
        let hook = |name: &str, weight| job(name).hook("pre-install").weight(weight);
        install([
            hook("c", "1"),
            hook("z", "-1"),
            config_map("main", "1"),
            file("charts/sub/Chart.yaml", "apiVersion: v2\nname: sub\nversion: 1.0.0\n"),
            file("charts/sub/templates/hook.yaml", &hook("b", "0").to_string()),
            file("charts/sub/templates/main.yaml", &service_account("sub").to_string()),
        ])
    }),
];

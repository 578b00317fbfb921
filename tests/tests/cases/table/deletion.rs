//! The end of a release.

use e2e::manifests::{Manifest, config_map, deployment, job};
use serde_json::{Value, json};

use super::{rows, service_account};
use crate::{
    case::{Case, differs, pass},
    script::install,
};

pub(super) const CASES: &[Case] = &[
    differs(41, "a failing pre-delete hook", rows::PRE_DELETE, || {
        install([job("a").hook("pre-delete").fails(), config_map("main", "1")])
            .spec(json!({"deletion": {"timeout": "0s"}}))
            .uninstall()
            .uninstall()
            .uninstall_without_hooks()
    }),
    differs(42, "a failing post-delete hook", rows::POST_DELETE, || {
        install([job("a").hook("post-delete").fails(), config_map("main", "1")])
            .spec(json!({"deletion": {"timeout": "0s"}}))
            .uninstall()
    }),
    pass(43, "uninstall after a failed upgrade: the hooks of the failed revision", || {
        let policy = "before-hook-creation,hook-succeeded";
        install([job("first").hook("pre-delete").policy(policy), config_map("main", "1")])
            .upgrade([
                job("second").hook("pre-delete").policy(policy),
                job("failing").hook("pre-upgrade").policy("hook-failed").fails(),
                config_map("main", "2"),
            ])
            .uninstall()
    }),
    differs(53, "resource-policy: an unknown word, and \" Keep \"", rows::KEEP, || {
        let policy = |object: Value, word: &str| object.annotation("helm.sh/resource-policy", word);
        let objects = [
            policy(config_map("a", "1"), "foo"),
            policy(service_account("b"), " Keep "),
            deployment("main"),
        ];
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c"}});
        install([&objects[..], &[policy(secret, " Keep ")]].concat()).upgrade(objects).uninstall()
    }),
    differs(57, "a release of hooks alone", rows::REMOVED, || {
        install([
            job("a").hook("pre-install"),
            job("b").hook("pre-delete"),
            job("c").hook("post-delete"),
        ])
        .uninstall()
    }),
];

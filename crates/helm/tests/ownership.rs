//! Helm's marks on live objects.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use helm::ownership::{ResourcePolicy, check, kept_when_removed, mark, owner, resource_policy};
use serde_json::{Value, json};

fn object(metadata: &Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web", "namespace": "prod"}});
    for (key, value) in metadata.as_object().unwrap() {
        object["metadata"][key] = value.clone();
    }
    object
}

fn marked(managed_by: &str, name: &str, namespace: &str) -> Value {
    object(&json!({
        "labels": {"app.kubernetes.io/managed-by": managed_by},
        "annotations": {"meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": namespace},
    }))
}

#[test]
fn marking_makes_an_object_the_releases_own() {
    let cases = [
        object(&json!({})),
        object(&json!({"labels": null, "annotations": null})),
        object(&json!({"labels": {"a": "b"}, "annotations": {"c": "d"}})),
        marked("Kustomize", "other", "other"),
        json!({"kind": "ConfigMap"}),
        json!({"kind": "ConfigMap", "metadata": null}),
    ];
    for mut object in cases {
        let before = object.clone();
        mark(&mut object, "shop", "prod");
        assert_eq!(check(&object, "shop", "prod"), Ok(()), "{object}");
        assert_eq!(owner(&object), Some(("shop", "prod")));
        for (field, key) in [("labels", "a"), ("annotations", "c")] {
            assert_eq!(object["metadata"][field][key], before["metadata"][field][key]);
        }
        assert_eq!(object["metadata"]["name"], before["metadata"]["name"]);
    }
    let mut text = json!("text");
    mark(&mut text, "shop", "prod");
    assert_eq!(text, "text");
}

#[test]
fn check_says_whose_an_object_is_and_what_is_wrong() {
    let cases = [
        (marked("Helm", "shop", "prod"), None),
        (object(&json!({})), Some("ConfigMap prod/web belongs to no release")),
        (
            marked("Helm", "other", "prod"),
            Some("ConfigMap prod/web belongs to release other in namespace prod"),
        ),
        (
            json!({"kind": "ClusterRole", "metadata": {"name": "web", "labels": {"app.kubernetes.io/managed-by": "helm"},
                "annotations": {"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": "prod"}}}),
            Some(
                "ClusterRole web belongs to no release, \
                 label app.kubernetes.io/managed-by is \"helm\" and not \"Helm\"",
            ),
        ),
    ];
    for (live, expected) in cases {
        let message = check(&live, "shop", "prod").map_err(|error| error.to_string());
        assert_eq!(message.err().as_deref(), expected);
    }
}

#[test]
fn an_owner_needs_all_three_marks() {
    let mut two = marked("Helm", "shop", "prod");
    two["metadata"]["annotations"]["meta.helm.sh/release-namespace"] = json!(null);
    let cases = [
        (marked("Helm", "other", "ns"), Some(("other", "ns"))),
        (marked("helm", "shop", "prod"), None),
        (object(&json!({})), None),
        (two, None),
    ];
    for (live, expected) in cases {
        assert_eq!(owner(&live), expected, "{live}");
    }
}

#[test]
fn resource_policies() {
    let unknown = |word: &str| ResourcePolicy::Unknown(word.to_owned());
    let cases = [
        (json!("keep"), ResourcePolicy::Keep, true),
        (json!(" Keep "), ResourcePolicy::Keep, false),
        (json!("foo"), unknown("foo"), false),
        (json!(""), unknown(""), false),
        (json!(null), ResourcePolicy::Absent, false),
    ];
    for (value, stored, live) in cases {
        let object = object(&json!({"annotations": {"helm.sh/resource-policy": value}}));
        assert_eq!(resource_policy(&object), stored);
        assert_eq!(kept_when_removed(&object), live);
    }
    assert_eq!(resource_policy(&object(&json!({}))), ResourcePolicy::Absent);
}

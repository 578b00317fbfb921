//! Refusals of the API server itself, and their words.

use anyhow::Result;
use e2e::{Namespace, kwok, manifests::config_map};
use serde_json::{Value, json};

/// Returns what the API server answers to this spec.
async fn answer(namespace: &Namespace, name: &str, more: Value) -> String {
    match namespace.release(name, &[config_map("main", "")], more).await {
        Ok(()) => "accepted".to_owned(),
        Err(error) => format!("{error:#}"),
    }
}

#[tokio::test]
async fn a_release_name_cannot_be_changed_set_or_removed() -> Result<()> {
    let namespace = Namespace::new(kwok(), "immutable").await?;
    assert_eq!(answer(&namespace, "named", json!({"releaseName": "one"})).await, "accepted");
    assert_eq!(answer(&namespace, "unnamed", json!({})).await, "accepted");
    let forbidden = "spec.releaseName cannot be changed, set or removed later: delete this object and \
                     create another";
    for (name, more) in [
        ("named", json!({"releaseName": "two"})),
        ("named", json!({})),
        ("unnamed", json!({"releaseName": "one"})),
        ("unnamed", json!({"releaseName": "unnamed"})),
    ] {
        let text = answer(&namespace, name, more.clone()).await;
        assert!(text.contains(forbidden) && text.contains("spec.releaseName"), "{more}: {text}");
    }
    // Anything else may change.
    let more = json!({"releaseName": "one", "timeout": "1m", "wait": false});
    assert_eq!(answer(&namespace, "named", more).await, "accepted");
    Ok(())
}

#[tokio::test]
async fn values_out_of_range_are_refused_with_what_to_write_instead() -> Result<()> {
    let namespace = Namespace::new(kwok(), "ranges").await?;
    let long = |length| "a".repeat(length);
    let timeout = "spec.timeout must be between 1s and 8760h, such as 90s or 1h30m";
    let helm = "Helm takes release names of at most 53 characters: shorten metadata.name, or set \
                spec.releaseName";
    let cases = [
        (long(53), json!({}), "accepted"),
        (long(54), json!({}), helm),
        (long(54), json!({"releaseName": "short"}), "accepted"),
        (
            long(64),
            json!({"releaseName": "short"}),
            "metadata.name is used in labels: use at most 63",
        ),
        ("a".to_owned(), json!({"releaseName": long(54)}), "spec.releaseName: Too long"),
        ("a".to_owned(), json!({"releaseName": "Shop_1"}), "spec.releaseName in body should match"),
        (
            "a".to_owned(),
            json!({"releaseName": ""}),
            "spec.releaseName in body should be at least 1",
        ),
        ("a".to_owned(), json!({"timeout": "999ms"}), timeout),
        ("a".to_owned(), json!({"timeout": "0s"}), timeout),
        ("a".to_owned(), json!({"timeout": "8761h"}), timeout),
        ("a".to_owned(), json!({"timeout": "soon"}), "spec.timeout in body should match"),
        ("a".to_owned(), json!({"timeout": "-5m"}), "spec.timeout in body should match"),
        ("b".to_owned(), json!({"timeout": "1h30m"}), "accepted"),
        ("c".to_owned(), json!({"timeout": "1.5s"}), "accepted"),
        ("a".to_owned(), json!({"hooks": {"logLines": 201}}), "spec.hooks.logLines"),
        ("a".to_owned(), json!({"hooks": {"logLines": -1}}), "spec.hooks.logLines"),
        ("a".to_owned(), json!({"serviceAccountName": ""}), "spec.serviceAccountName"),
        ("a".to_owned(), json!({"source": null}), "spec.source"),
        ("a".to_owned(), json!({"source": {}}), "exactly one of objects, objectsFrom"),
        (
            "a".to_owned(),
            json!({"suspended": true}),
            ".spec.suspended: field not declared in schema",
        ),
    ];
    for (name, more, expect) in cases {
        let text = answer(&namespace, &name, more.clone()).await;
        assert!(text.contains(expect), "{name} {more}: {expect:?} is not in {text}");
    }
    Ok(())
}

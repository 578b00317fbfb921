//! Findings as SARIF 2.1.0 (OASIS), which code scanning and editors read. Pure.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::plan::{Finding, RULES};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Returns the findings as SARIF. `input`: the place of those that have none.
pub(super) fn sarif(findings: &[Finding], input: &str) -> Value {
    let rules: Vec<_> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": {"text": rule.meaning},
                "defaultConfiguration": {"level": rule.level.as_str()},
            })
        })
        .collect();
    let results: Vec<_> = findings.iter().map(|it| result(it, input)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "kubectl-lifecycle",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Finding, input: &str) -> Value {
    let place = finding.place.as_ref();
    let (file, line) = place.map_or((input, None), |(file, line)| (file.as_str(), *line));
    // Code scanning refuses all results if one has no place, and shows none without a line.
    let mut location = json!({"physicalLocation": {
        "artifactLocation": {"uri": uri(file)},
        "region": {"startLine": line.unwrap_or(1).max(1)},
    }});
    let release = finding.release.as_ref().map(|release| match &finding.namespace {
        Some(namespace) => format!("{namespace}/{release}"),
        None => release.clone(),
    });
    let names = finding.object.iter().chain(&release);
    let logical: Vec<_> = names.map(|name| json!({"fullyQualifiedName": name})).collect();
    if !logical.is_empty() {
        location["logicalLocations"] = json!(logical);
    }
    let events: Vec<_> = finding.events.iter().map(ToString::to_string).collect();
    json!({
        "ruleId": finding.rule.id,
        "ruleIndex": RULES.iter().position(|rule| rule.id == finding.rule.id),
        "level": finding.rule.level.as_str(),
        "message": {"text": finding.message},
        "locations": [location],
        "properties": {"events": events},
    })
}

/// Returns the path as a relative reference (RFC 3986), or as the URI of a file if it is absolute. A
/// chart of a registry is no file of the repository: its name stands for it.
fn uri(path: &str) -> String {
    let path = path.strip_prefix("oci://").unwrap_or(path);
    let mut text = String::new();
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // A `String` accepts everything that is written to it.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    if path.starts_with('/') { format!("file://{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::finding, *};
    use crate::plan::Level;

    #[test]
    fn a_finding_names_its_rule_its_level_and_its_place() {
        let nowhere =
            Finding { place: None, object: None, release: None, ..finding(Level::Error, "no") };
        let found = sarif(&[finding(Level::Warning, "it"), nowhere], "releases");
        assert_eq!(found["version"], "2.1.0");
        let run = &found["runs"][0];
        let [first, second] = run["results"].as_array().unwrap().as_slice() else { panic!("two") };
        let place = &first["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.yaml");
        assert_eq!(place["region"]["startLine"], 3);
        assert_eq!(first["level"], "warning");
        let names = &first["locations"][0]["logicalLocations"];
        assert_eq!(names[1]["fullyQualifiedName"], "prod/shop");
        let place = &second["locations"][0];
        assert_eq!(place["physicalLocation"]["artifactLocation"]["uri"], "releases");
        assert_eq!(place["physicalLocation"]["region"]["startLine"], 1);
        assert_eq!(place["logicalLocations"], Value::Null);
        for result in [first, second] {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        }
    }

    #[test]
    fn a_path_is_a_reference() {
        for (path, expected) in [
            ("./shop/a.yaml", "shop/a.yaml"),
            ("/tmp/a.yaml", "file:///tmp/a.yaml"),
            ("a:b#c%.yaml", "a%3Ab%23c%25.yaml"),
            ("oci://registry.example/shop", "registry.example/shop"),
            ("ä.yaml", "%C3%A4.yaml"),
        ] {
            assert_eq!(uri(path), expected);
        }
    }
}

//! The result of rendering a chart, from whichever side.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// The fields of a hook that Helm derives from its text, and the text.
const HOOK: [&str; 8] = [
    "name",
    "kind",
    "path",
    "manifest",
    "events",
    "weight",
    "delete_policies",
    "output_log_policies",
];

#[derive(Debug)]
pub(crate) struct Rendered {
    /// As in a release's record.
    manifest: String,
    hooks: Vec<Map<String, Value>>,
    notes: String,
    /// The part of the chart that the record keeps, and the user's values; not told by everyone.
    chart: Option<Kept>,
    /// The CRDs as `helm show crds` prints them; not in a record.
    pub(crate) crds: Option<String>,
    /// Of the engine.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, PartialEq)]
struct Kept {
    metadata: Value,
    values: Value,
    config: Value,
}

impl Rendered {
    /// Of the release that Helm prints with `-o json`.
    pub(crate) fn from_helm(release: &Value) -> Self {
        let hooks = release["hooks"].as_array().into_iter().flatten();
        let kept = &release["chart"];
        Self {
            manifest: text(&release["manifest"]),
            hooks: hooks.map(|hook| fields(hook, str::to_owned)).collect(),
            notes: text(&release["info"]["notes"]),
            chart: kept.is_object().then(|| Kept {
                metadata: kept["metadata"].clone(),
                values: or_empty(&kept["values"]),
                config: or_empty(&release["config"]),
            }),
            crds: None,
            warnings: Vec::new(),
        }
    }

    /// Of the engine's answer.
    pub(crate) fn from_engine(answer: &Value) -> Result<Self> {
        let mut manifest = String::new();
        for object in list(answer, "objects")? {
            let (path, text) = (text(&object["path"]), text(&object["manifest"]));
            manifest.extend(["---\n# Source: ", &path, "\n", &text, "\n"]);
        }
        let mut crds = String::new();
        for crd in list(answer, "crds")? {
            let text = text(&crd["manifest"]);
            crds.extend([if text.starts_with("---") { "" } else { "---\n" }, &text, "\n"]);
        }
        let hooks = list(answer, "hooks")?.iter().map(|hook| fields(hook, camel_case)).collect();
        let warnings = list(answer, "warnings")?.iter().map(text).collect();
        Ok(Self {
            manifest,
            hooks,
            notes: text(&answer["notes"]),
            chart: Some(Kept {
                metadata: answer["chart"]["metadata"].clone(),
                values: or_empty(&answer["chart"]["values"]),
                config: or_empty(&answer["config"]),
            }),
            crds: Some(crds),
            warnings,
        })
    }

    /// How much there is of it.
    pub(crate) fn size(&self) -> String {
        let objects = self.manifest.matches("\n# Source: ").count();
        let hooks = self.hooks.len();
        format!("{objects} objects, {hooks} hooks, {} bytes", self.manifest.len())
    }

    /// Where the other differs from this one, which is right.
    pub(crate) fn differences(&self, found: &Self) -> Vec<String> {
        let mut all = Vec::new();
        all.extend(first_difference("objects", &self.manifest, &found.manifest));
        all.extend(first_difference("notes", &self.notes, &found.notes));
        if self.hooks.len() != found.hooks.len() {
            all.push(format!("{} hooks instead of {}", found.hooks.len(), self.hooks.len()));
        }
        for (expected, found) in self.hooks.iter().zip(&found.hooks) {
            for field in HOOK.into_iter().filter(|field| expected.get(*field) != found.get(*field))
            {
                let name = &expected["name"];
                let (expected, found) = (&expected[field], &found[field]);
                all.push(format!("hook {name}: {field} is {found} instead of {expected}"));
            }
        }
        if let (Some(expected), Some(found)) = (&self.chart, &found.chart) {
            let pairs = [
                ("metadata", &expected.metadata, &found.metadata),
                ("values", &expected.values, &found.values),
                ("config", &expected.config, &found.config),
            ];
            for (name, expected, found) in pairs {
                let pretty = |value| serde_json::to_string_pretty(value).unwrap_or_default();
                if expected != found {
                    all.extend(first_difference(name, &pretty(expected), &pretty(found)));
                }
            }
        }
        all.extend(self.crds_differ(found));
        all
    }

    /// As it is once it has been run: Helm fills in the policy that counts where a hook has none, in the
    /// record as well, but for each hook only when it runs it.
    #[must_use]
    pub(crate) fn once_run(mut self) -> Self {
        for hook in &mut self.hooks {
            let policies = &mut hook["delete_policies"];
            if policies.as_array().is_some_and(Vec::is_empty) {
                *policies = json!(["before-hook-creation"]);
            }
        }
        self
    }

    pub(crate) fn has_crds(&self) -> bool {
        self.crds.as_ref().is_some_and(|crds| !crds.is_empty())
    }

    /// Where the other's CRDs differ.
    pub(crate) fn crds_differ(&self, found: &Self) -> Option<String> {
        let (Some(expected), Some(found)) = (&self.crds, &found.crds) else { return None };
        first_difference("CRDs", expected, found)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An empty map is left out, `null` or `{}`, as the reader likes.
fn or_empty(value: &Value) -> Value {
    if value.is_null() { Value::Object(Map::new()) } else { value.clone() }
}

fn list<'a>(answer: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    answer[name].as_array().with_context(|| format!("{name} is a list"))
}

/// A hook's fields under Helm's names; what is empty is there as well.
fn fields(hook: &Value, name_of: impl Fn(&str) -> String) -> Map<String, Value> {
    let empty = |field: &str| match field {
        "weight" => 0.into(),
        "events" | "delete_policies" | "output_log_policies" => Value::Array(Vec::new()),
        _ => "".into(),
    };
    let value = |field: &str| match &hook[name_of(field)] {
        Value::Null => empty(field),
        value => value.clone(),
    };
    HOOK.iter().map(|field| ((*field).to_owned(), value(field))).collect()
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut text = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        text.extend([&first.to_uppercase(), rest]);
    }
    text
}

/// The first line in which two texts differ, and the one before it.
pub(crate) fn first_difference(what: &str, expected: &str, found: &str) -> Option<String> {
    if expected == found {
        return None;
    }
    let lines = |text: &str| text.split('\n').map(str::to_owned).collect::<Vec<_>>();
    let (expected, found) = (lines(expected), lines(found));
    let same = expected.iter().zip(&found).take_while(|(a, b)| a == b).count();
    let line = |lines: &[String]| {
        lines.get(same).map_or("nothing".to_owned(), |line| {
            let line: String = line.chars().take(300).collect();
            format!("{line:?}")
        })
    };
    let place = expected[..same].iter().rfind(|line| line.starts_with("# Source: "));
    let place = place
        .map_or(String::new(), |place| format!(" ({})", place.trim_start_matches("# Source: ")));
    let (expected, found) = (line(&expected), line(&found));
    Some(format!("{what}, line {}{place}: {found} instead of {expected}", same + 1))
}

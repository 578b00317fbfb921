//! A marker stands in every place that a Secret's data can come from, and nothing that the operator
//! writes contains it: status, Event objects, the log, metrics, descriptions of records.

mod changes;
mod charts;
mod objects;
mod pods;
mod servers;

use std::{fmt::Write as _, io::Read as _};

use anyhow::{Context, Result, ensure};
use api::{ReleaseLifecycle, names::STATUS_MANAGER};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use e2e::{Controller, Namespace, condition, message};
use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::cli::Cli;

/// The markers of one namespace.
struct Canaries {
    markers: Vec<(String, String)>,
}

impl Canaries {
    fn new() -> Self {
        Self { markers: Vec::new() }
    }

    /// A new marker for `place`: twelve letters, which stand in no other text.
    fn plain(&mut self, place: &str) -> String {
        let random = uuid::Uuid::new_v4();
        let letters = random.as_bytes().iter().take(10);
        let letters = letters.map(|byte| char::from(b'g' + byte % 20));
        let marker = format!("Q{}X", letters.collect::<String>());
        self.markers.push((place.to_owned(), marker.clone()));
        marker
    }

    /// A marker among what means something to YAML, JSON, Go and shells.
    fn odd(&mut self, place: &str) -> String {
        format!("{}: \"a\" [b] {{c}} 'd' <e> & f\\g!", self.plain(place))
    }

    /// A marker in each of two lines.
    fn lines(&mut self, place: &str) -> String {
        format!("{}: 1\n- {}\n", self.plain(place), self.plain(place))
    }

    /// A marker of five letters.
    fn short(&mut self, place: &str) -> String {
        let mut marker = self.plain(place).to_lowercase();
        marker.truncate(5);
        self.markers.pop();
        self.markers.push((place.to_owned(), marker.clone()));
        marker
    }

    /// A marker that is a number of ten digits.
    fn number(&mut self, place: &str) -> String {
        let random = uuid::Uuid::new_v4().as_u128() % 1_000_000_000;
        let marker = format!("7{random:09}");
        self.markers.push((place.to_owned(), marker.clone()));
        marker
    }

    /// The parts of `text` that show a marker.
    fn shown(&self, surface: &str, text: &str) -> Vec<String> {
        let lower = text.to_lowercase();
        let mut found = Vec::new();
        for (place, marker) in &self.markers {
            let seen = needles(marker).into_iter().find_map(|(needle, as_it_is)| {
                let text = if as_it_is { text } else { &lower };
                let at = text.find(&needle)?;
                let from = text.floor_char_boundary(at.saturating_sub(160));
                let to = text.ceil_char_boundary((at + 80).min(text.len()));
                text.get(from..to)
            });
            found.extend(seen.map(|seen| format!("{place} in {surface}: …{seen}…")));
        }
        found
    }

    /// Nothing that the operator has written shows a marker.
    fn check(&self, namespace: &Namespace, controller: &Controller, more: &[String]) -> Result<()> {
        let mut found = Vec::new();
        for (surface, text) in written(namespace, controller)? {
            found.extend(self.shown(&surface, &text));
        }
        for text in more {
            found.extend(self.shown("output", text));
        }
        let mut list = String::new();
        found.iter().try_for_each(|it| writeln!(list, "- {it}"))?;
        ensure!(found.is_empty(), "{} of {}:\n{list}", found.len(), self.markers.len());
        Ok(())
    }
}

/// The texts that show `marker`, and whether upper and lower case count.
fn needles(marker: &str) -> Vec<(String, bool)> {
    let start = marker.get(..marker.len().min(8)).unwrap_or(marker);
    let mut needles = vec![(start.to_lowercase(), false)];
    if let Some((first, rest)) = start.split_at_checked(1).filter(|(first, _)| *first == "7") {
        // As Go prints a large number.
        needles.push((format!("{first}.{rest}"), false));
    }
    if marker.len() >= 10 {
        for offset in 0..3 {
            let encoded = STANDARD.encode([&b"xxx"[..offset], marker.as_bytes()].concat());
            needles.extend(encoded.get(4..12).map(|part| (part.to_owned(), true)));
        }
    }
    needles
}

/// All texts that the operator writes for people, each with where it is.
fn written(namespace: &Namespace, controller: &Controller) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    let list = |args: &[&str]| -> Result<Vec<Value>> {
        let text = namespace.kubectl(&[args, &["-o", "json"]].concat())?;
        let list: Value = serde_json::from_str(&text)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    };
    for release in list(&["get", "rl"])? {
        let name = release["metadata"]["name"].as_str().unwrap_or_default();
        all.push((format!("status of {name}"), texts(&release["status"])));
    }
    let events = [list(&["get", "events"])?, list(&["get", "events", "-n", "default"])?].concat();
    for event in events {
        if event["reportingComponent"] == STATUS_MANAGER {
            all.push((format!("Event object {}", event["reason"]), texts(&event)));
        }
    }
    for record in list(&["get", "secrets", "--field-selector=type=helm.sh/release.v1"])? {
        let name = record["metadata"]["name"].as_str().unwrap_or_default();
        let text = record["data"]["release"].as_str().context("a record")?;
        let packed = STANDARD.decode(STANDARD.decode(text)?)?;
        let mut text = String::new();
        GzDecoder::new(&packed[..]).read_to_string(&mut text)?;
        let release: Value = serde_json::from_str(&text)?;
        let description = texts(&release["info"]["description"]);
        all.push((format!("description of {name}"), description));
    }
    // What the operator adds to objects.
    for object in list(&["get", "all,cm,secrets"])? {
        for field in ["labels", "annotations"] {
            for (key, value) in object["metadata"][field].as_object().into_iter().flatten() {
                if key.contains("releaselifecycle.dev/") {
                    all.push((format!("{field} {key}"), texts(value)));
                }
            }
        }
    }
    all.push(("metrics".to_owned(), controller.http("/metrics")?.1));
    all.extend(controller.log()?.lines().map(|line| ("log".to_owned(), line.to_owned())));
    Ok(all)
}

/// Returns what `kubectl lifecycle` prints of these releases.
fn printed<'a>(namespace: &Namespace, names: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let cli = Cli::new(namespace)?;
    let mut all = Vec::new();
    for name in names {
        for command in ["plan", "status", "history"] {
            let end = cli.run(&[command, name])?;
            all.extend([end.out, end.err]);
        }
    }
    Ok(all)
}

/// All texts of a value, a line for each.
fn texts(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text}\n"),
        Value::Array(items) => items.iter().map(texts).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key}: {}", texts(value))).collect()
        }
        other => format!("{other}\n"),
    }
}

/// Puts `data` into the Secret `name`.
async fn put(namespace: &Namespace, name: &str, data: Value) -> Result<()> {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
                        "stringData": data});
    namespace.apply(&secret).await
}

/// `spec` with the objects in the Secret `name`.
fn from_secret(name: &str) -> Value {
    json!({"source": {"objectsFrom": [{"kind": "Secret", "name": name}]}})
}

/// Waits until each of these releases is refused, or is deployed as it is. Returns all messages.
async fn refused(
    namespace: &Namespace,
    controller: &Controller,
    names: impl IntoIterator<Item = &str>,
) -> Result<String> {
    let mut all = String::new();
    for name in names {
        let is = |release: &ReleaseLifecycle| {
            let is_ready = condition(release, "Ready").is_some_and(|it| it.status == "True");
            let seen = release.status.as_ref().map(|status| status.observed_generation);
            seen == Some(release.metadata.generation)
                && (is_ready || condition(release, "Stalled").is_some())
        };
        let release = namespace.wait(name, controller, "refused", is).await?;
        writeln!(all, "{name}: {}", message(&release))?;
    }
    Ok(all)
}

/// Makes a release of each of these texts, which stand in Secrets.
async fn releases(namespace: &Namespace, cases: &[(&str, String)]) -> Result<()> {
    for (name, text) in cases {
        put(namespace, name, json!({"all.yaml": text})).await?;
        namespace.release(name, &[], from_secret(name)).await?;
    }
    Ok(())
}

//! The changes, for people and programs. Pure.

use lifecycle::{approval::Action, object::ObjectRef};
use serde_json::{Map, Value, json};

use crate::words::{Colour, Look, printable};

/// The longest value that is shown, in characters.
const MOST: usize = 160;
/// The place of a value of a Secret.
const HIDDEN: &str = "(hidden)";

/// Everything that would change.
pub(super) struct Changes {
    pub(super) all: Vec<Change>,
    /// The number of objects that stay as they are.
    pub(super) unchanged: usize,
    pub(super) notes: Vec<String>,
}

pub(super) struct Change {
    pub(super) action: Action,
    pub(super) object: ObjectRef,
    /// Of an update.
    pub(super) fields: Vec<Field>,
}

/// A field, by its JSON pointer; a value is `None` if the field is not there.
pub(super) struct Field {
    pub(super) path: String,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
}

impl Change {
    /// Returns the values of a field, unless they are secret.
    fn shown(&self, field: &Field) -> [Option<Value>; 2] {
        let values = [&field.before, &field.after];
        let is_secret = self.object.kind == "Secret" && !field.path.starts_with("/metadata/");
        values.map(|value| match value {
            Some(_) if is_secret => Some(HIDDEN.into()),
            value => value.clone(),
        })
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    }
}

pub(super) fn render(changes: &Changes, look: Look) -> String {
    let mut lines: Vec<_> = changes.notes.iter().flat_map(|note| look.wrap("", note)).collect();
    for change in &changes.all {
        let colour = match change.action {
            Action::Create => Colour::Green,
            Action::Update => Colour::Yellow,
            Action::Delete => Colour::Red,
        };
        let ObjectRef { kind, namespace, name, .. } = &change.object;
        let place = namespace.as_ref().map_or(String::new(), |it| format!(" in {it}"));
        let object = printable(&format!("{kind}/{name}{place}"));
        lines.push(format!("{}  {object}", look.paint(colour, word(change.action))));
        for field in &change.fields {
            let [before, after] = change.shown(field).map(|value| text(value.as_ref()));
            let path = printable(&field.path);
            lines.push(look.cut(&format!("    {path}: {before} → {after}")));
        }
    }
    let same = match changes.unchanged {
        0 => None,
        1 => Some("1 object stays as it is".to_owned()),
        number => Some(format!("{number} objects stay as they are")),
    };
    lines.extend(same.map(|same| look.paint(Colour::Dim, &same).into_owned()));
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn text(value: Option<&Value>) -> String {
    let text = match value {
        None => return "(none)".to_owned(),
        Some(Value::String(hidden)) if hidden == HIDDEN => return HIDDEN.to_owned(),
        Some(value) => value.to_string(),
    };
    if text.chars().count() <= MOST {
        return printable(&text);
    }
    let cut: String = text.chars().take(MOST).chain(['…']).collect();
    printable(&cut)
}

pub(super) fn value(changes: &Changes) -> Value {
    let field = |change: &Change, field: &Field| {
        let mut shown = Map::from_iter([("path".to_owned(), json!(field.path))]);
        let [before, after] = change.shown(field);
        for (key, value) in [("before", before), ("after", after)] {
            shown.extend(value.map(|value| (key.to_owned(), value)));
        }
        Value::Object(shown)
    };
    let change = |change: &Change| {
        let ObjectRef { api_version, kind, namespace, name } = &change.object;
        json!({
            "action": word(change.action), "apiVersion": api_version, "kind": kind,
            "namespace": namespace, "name": name,
            "fields": change.fields.iter().map(|it| field(change, it)).collect::<Value>(),
        })
    };
    json!({
        "changes": changes.all.iter().map(change).collect::<Value>(),
        "unchanged": changes.unchanged,
        "notes": changes.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: &str, action: Action, fields: Vec<Field>) -> Change {
        let object = ObjectRef {
            api_version: "v1".to_owned(),
            kind: kind.to_owned(),
            namespace: Some("shop".to_owned()),
            name: "a".to_owned(),
        };
        Change { action, object, fields }
    }

    fn changes() -> Changes {
        let field = |path: &str, before: Value, after: Value| Field {
            path: path.to_owned(),
            before: (!before.is_null()).then_some(before),
            after: (!after.is_null()).then_some(after),
        };
        Changes {
            all: vec![
                change(
                    "ConfigMap",
                    Action::Update,
                    vec![
                        field("/data/size", json!("1"), json!("2")),
                        field("/data/new", Value::Null, json!("\u{1b}[31m")),
                    ],
                ),
                change(
                    "Secret",
                    Action::Update,
                    vec![
                        field("/data/key", json!("c2VjcmV0"), json!("b3RoZXI=")),
                        field("/metadata/labels/a", json!("1"), Value::Null),
                    ],
                ),
                change("Role", Action::Delete, Vec::new()),
            ],
            unchanged: 2,
            notes: vec!["a note".to_owned()],
        }
    }

    #[test]
    fn each_field_is_a_line_and_no_secret_is_shown() {
        let text = render(&changes(), Look::PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..3],
            ["a note", "update  ConfigMap/a in shop", "    /data/size: \"1\" → \"2\""]
        );
        assert!(lines[3].starts_with("    /data/new: (none) → ") && !text.contains('\u{1b}'));
        assert_eq!(
            lines[4..],
            [
                "update  Secret/a in shop",
                "    /data/key: (hidden) → (hidden)",
                "    /metadata/labels/a: \"1\" → (none)",
                "delete  Role/a in shop",
                "2 objects stay as they are",
            ]
        );
    }

    #[test]
    fn programs_get_the_same() {
        let value = value(&changes());
        assert!(!value.to_string().contains("c2VjcmV0"), "{value}");
        assert_eq!(value["changes"][0]["fields"][1]["before"], Value::Null);
        assert!(value["changes"][0]["fields"][1].get("before").is_none());
        assert_eq!(value["changes"][2]["action"], "delete");
        assert_eq!(value["unchanged"], 2);
    }
}

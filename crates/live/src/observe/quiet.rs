//! Reports of others about an object, without the values that the object holds: in the messages of its
//! status, and of Event objects about it. The kubelet quotes commands and arguments, webhooks quote
//! anything.

use manifests::values::{self, Values};
use serde_json::Value;

use super::text;

/// Returns the object with the values of its spec cut out of the messages in its status.
pub fn object(mut object: Value) -> Value {
    let Some(mut status) = object.get_mut("status").map(Value::take) else { return object };
    let values = values_of(&[&object]);
    messages(&mut status, &values);
    object["status"] = status;
    object
}

/// Cuts the values of `objects` out of the messages of `events`, which are about them.
pub fn events(events: &mut [Value], objects: &[&Value]) {
    let values = values_of(objects);
    for event in events {
        messages(event, &values);
    }
}

fn messages(value: &mut Value, values: &Values) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| messages(item, values)),
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(words) if key == "message" => {
                        let hidden = values.hide(words);
                        *words = hidden.unwrap_or_else(|| "(withheld)".to_owned());
                    }
                    value => messages(value, values),
                }
            }
        }
        _ => {}
    }
}

fn values_of(objects: &[&Value]) -> Values {
    let mut values = Values::default();
    for object in objects {
        values.add_name(text(object, "/metadata/name"));
        if is_built_in(text(object, "/apiVersion")) {
            texts(object, &mut values);
        } else if let Some(spec) = object.get("spec") {
            values.add_value(spec, false);
        }
    }
    values
}

/// Returns whether it is of Kubernetes itself. The kinds of others may hold anything anywhere.
fn is_built_in(api_version: &str) -> bool {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    !group.contains('.') || group.ends_with(".k8s.io")
}

/// Adds the texts that are neither a name nor one of the API's own words: without images, classes
/// and policies no message would be of use.
fn texts(value: &Value, values: &mut Values) {
    let Value::Object(fields) = value else {
        value.as_array().into_iter().flatten().for_each(|item| texts(item, values));
        return;
    };
    for (key, value) in fields {
        match (&**key, value) {
            (key, Value::String(name)) if key == "image" || values::is_name(key) => {
                values.add_name(name);
            }
            ("args" | "annotations" | "labels" | "hostname" | "subdomain", value) => {
                values.add_value(value, false);
            }
            ("value", Value::String(text)) => values.add_text(text),
            ("command", Value::Array(words)) => {
                let program = words.first().and_then(Value::as_str);
                match program.filter(|program| !program.contains(char::is_whitespace)) {
                    Some(program) => values.add_name(program),
                    None => program.into_iter().for_each(|text| values.add_text(text)),
                }
                words.iter().skip(1).for_each(|word| values.add_value(word, false));
            }
            ("managedFields", _) => {}
            (_, value) => texts(value, values),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_repeats_no_value_of_its_object() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "shop-1", "labels": {"app": "shop", "license": "hunter2"}},
            "spec": {"containers": [{"name": "main", "image": "busybox:hunter", "command": ["/bin/sh", "-c", "psql -phunter3"],
                     "args": ["hunter4"], "env": [{"name": "PASSWORD", "value": "hunter5"}]}]},
            "status": {"containerStatuses": [{"state": {"waiting": {"message":
                "container main of shop-1 (busybox:hunter): PASSWORD is hunter5, license hunter2: exec: \"/bin/sh\": psql -phunter3 hunter4"}}}]}});
        let said = object(pod.clone());
        assert_eq!(
            text(&said, "/status/containerStatuses/0/state/waiting/message"),
            "container main of shop-1 (busybox:hunter): PASSWORD is …, license …: exec: \"/bin/sh\": … …"
        );
        let mut told = [json!({"message": "no hunter5 in shop-1"})];
        events(&mut told, &[&pod]);
        assert_eq!(told[0]["message"], "no … in shop-1");
        let other = json!({"apiVersion": "a.example/v1", "kind": "Database", "metadata": {"name": "db"},
            "spec": {"user": {"password": "hunter2"}},
            "status": {"conditions": [{"message": "db: hunter2 is wrong"}]}});
        assert_eq!(object(other)["status"]["conditions"][0]["message"], "db: … is wrong");
    }
}

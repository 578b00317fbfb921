//! The fields of an object that differ from the result of another apply, and who wrote them when:
//! by `metadata.managedFields`, whose format (`FieldsV1`) also says how lists are merged.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Work;

/// The metadata that the API server keeps for itself.
const OF_THE_SERVER: [&str; 7] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Longer lists are compared as a whole, since each item is searched for in both.
const MOST_ITEMS: usize = 1000;

/// The path to a field in the words of `FieldsV1`: `f:name` for a field, `k:{…}` for the item of a
/// list that is identified by these fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<String>);

/// The fields of `live` that differ in `wanted`, the answer to applying the object again.
pub fn differences(live: &Value, wanted: &Value) -> Vec<Path> {
    let mut shape = Value::Null;
    for entry in entries(live).chain(entries(wanted)) {
        merge(&mut shape, &entry["fieldsV1"]);
    }
    let mut found = Fields::default();
    found.compare(Some(live), Some(wanted), &shape);
    found.paths
}

/// The origin of the last write of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was part of the release's own work.
    Work,
    /// Another client has written it since.
    Later,
    /// No manager owns the field. The API server keeps no trace of who removes one, nor when.
    Removed,
}

/// Returns who wrote the field at `path` of `live`, as far as that separates drift from the
/// release's own work. Writes of `manager` by apply are the operator's own, and say nothing if
/// another client has written the same.
pub fn origin(live: &Value, path: &Path, work: &Work, manager: &str) -> Origin {
    let is_own = |entry: &&Value| entry["manager"] == manager && entry["operation"] == "Apply";
    // The status that controllers write says nothing about the desired state.
    let writes = entries(live).filter(|entry| entry["subresource"] != "status");
    let owners = writes.filter(|entry| path.is_in(&entry["fieldsV1"]));
    let (own, others): (Vec<_>, Vec<_>) = owners.partition(is_own);
    let owners = if others.is_empty() { own } else { others };
    let times = owners.iter().filter_map(|entry| entry["time"].as_str()?.parse::<Timestamp>().ok());
    match times.max() {
        None => Origin::Removed,
        Some(last) if work.covers(last) => Origin::Work,
        Some(_) => Origin::Later,
    }
}

fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    object.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

fn merge(into: &mut Value, fields: &Value) {
    let Value::Object(fields) = fields else { return };
    if !into.is_object() {
        *into = Value::Object(Map::new());
    }
    for (key, inner) in fields {
        merge(&mut into[key], inner);
    }
}

#[derive(Default)]
struct Fields {
    way: Vec<String>,
    paths: Vec<Path>,
}

impl Fields {
    /// Compares a field. If the `shape` of the field is unknown, or it is owned as a whole, it is
    /// compared as a whole.
    fn compare(&mut self, live: Option<&Value>, wanted: Option<&Value>, shape: &Value) {
        if live == wanted {
            return;
        }
        match (live, wanted) {
            (Some(Value::Object(live)), Some(Value::Object(wanted))) if is_of(shape, "f:") => {
                let names: BTreeSet<_> = live.keys().chain(wanted.keys()).collect();
                for name in names {
                    if self.is_of_the_server(name) {
                        continue;
                    }
                    let key = format!("f:{name}");
                    let inner = shape.get(&key).unwrap_or(&Value::Null);
                    self.step(key, live.get(name), wanted.get(name), inner);
                }
            }
            (Some(Value::Array(live)), Some(Value::Array(wanted)))
                if (is_of(shape, "k:") || is_of(shape, "v:"))
                    && live.len().max(wanted.len()) <= MOST_ITEMS =>
            {
                // A client that adds an item may change the order.
                if has_same_items(live, wanted) {
                    return;
                }
                let before = self.paths.len();
                for (key, inner) in shape.as_object().into_iter().flatten() {
                    if key.starts_with("k:") {
                        let item =
                            |items: &[Value]| Some(items.get(position(items, key)?)?.clone());
                        self.step(key.clone(), item(live).as_ref(), item(wanted).as_ref(), inner);
                    }
                }
                if self.paths.len() == before {
                    self.paths.push(Path(self.way.clone()));
                }
            }
            _ => self.paths.push(Path(self.way.clone())),
        }
    }

    fn step(&mut self, key: String, live: Option<&Value>, wanted: Option<&Value>, shape: &Value) {
        self.way.push(key);
        self.compare(live, wanted, shape);
        self.way.pop();
    }

    fn is_of_the_server(&self, name: &str) -> bool {
        match &*self.way {
            [] => name == "status",
            [top] => top == "f:metadata" && OF_THE_SERVER.contains(&name),
            _ => false,
        }
    }
}

fn is_of(shape: &Value, prefix: &str) -> bool {
    shape.as_object().is_some_and(|fields| fields.keys().any(|key| key.starts_with(prefix)))
}

fn has_same_items(some: &[Value], others: &[Value]) -> bool {
    some.len() == others.len()
        && some.iter().all(|item| {
            let count = |items: &[Value]| items.iter().filter(|other| *other == item).count();
            count(some) == count(others)
        })
}

/// The position of the item that is identified by `key`. A manifest may leave out what has a
/// default, such as the protocol of a port.
fn position(items: &[Value], key: &str) -> Option<usize> {
    let fields: Map<String, Value> = serde_json::from_str(key.strip_prefix("k:")?).ok()?;
    let is = |item: &Value, lenient: bool| {
        fields.iter().all(|(name, value)| match item.get(name) {
            Some(found) => found == value,
            None => lenient,
        })
    };
    let exact = items.iter().position(|item| is(item, false));
    exact.or_else(|| items.iter().position(|item| is(item, true)))
}

impl Path {
    /// Returns the path as a JSON pointer into `live`, or if the field is missing there, into
    /// `wanted`.
    pub fn pointer(&self, live: &Value, wanted: &Value) -> String {
        let mut text = String::new();
        let (mut live, mut wanted) = (Some(live), Some(wanted));
        for key in &self.0 {
            if let Some(name) = key.strip_prefix("f:") {
                text.extend(["/", &name.replace('~', "~0").replace('/', "~1")]);
            } else {
                let at = |object: Option<&Value>| position(object?.as_array()?, key);
                let at = at(live).or_else(|| at(wanted));
                text.extend(["/", &at.map_or_else(|| "-".to_owned(), |at| at.to_string())]);
            }
            live = live.and_then(|live| step(live, key));
            wanted = wanted.and_then(|wanted| step(wanted, key));
        }
        text
    }

    /// Copies this field from `live` to `body`, so that an apply changes nothing there.
    pub fn keep(&self, body: &mut Value, live: &Value) {
        let Some((last, way)) = self.0.split_last() else { return };
        let value = self.0.iter().try_fold(live, |place, key| step(place, key)).cloned();
        let mut place = body;
        for key in way {
            let next = match (place, key.strip_prefix("f:")) {
                (Value::Object(fields), Some(name)) => {
                    fields.entry(name).or_insert_with(|| Value::Object(Map::new()))
                }
                (Value::Array(items), None) => {
                    let at = position(items, key);
                    let Some(item) = at.and_then(|at| items.get_mut(at)) else { return };
                    item
                }
                _ => return,
            };
            place = next;
        }
        match (place, last.strip_prefix("f:"), value) {
            (Value::Object(fields), Some(name), Some(value)) => {
                fields.insert(name.to_owned(), value);
            }
            (Value::Object(fields), Some(name), None) => {
                fields.remove(name);
            }
            (Value::Array(items), None, value) => {
                if let Some(at) = position(items, last) {
                    items.remove(at);
                }
                items.extend(value);
            }
            _ => {}
        }
    }

    /// Returns whether a manager that owns `fields` owns this field, or a field that contains it as
    /// a whole.
    fn is_in(&self, fields: &Value) -> bool {
        let mut place = fields;
        for key in &self.0 {
            match place.get(key) {
                Some(inner) => place = inner,
                None => return place != fields && place.as_object().is_some_and(Map::is_empty),
            }
        }
        true
    }
}

fn step<'a>(place: &'a Value, key: &str) -> Option<&'a Value> {
    if let Some(name) = key.strip_prefix("f:") {
        return place.get(name);
    }
    let items = place.as_array()?;
    items.get(position(items, key)?)
}

//! Strategic merge patches, as kustomize merges them.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    PatchProblem,
    keys::{self, Key, Shape},
    kind_of, scalar,
};

/// The key of the action of a patch on the mapping or the list that contains it.
const DIRECTIVE: &str = "$patch";

/// The fields that identify an object; in a patch they only say which object it is for.
const IDENTITY: [(&str, &str); 4] =
    [("", "apiVersion"), ("", "kind"), ("metadata", "name"), ("metadata", "namespace")];

/// Merges `patch` into `object`; `false` if it deletes the object.
pub(super) fn apply(object: &mut Value, patch: &Value) -> Result<bool, PatchProblem> {
    let identity = IDENTITY.map(|(parent, field)| place(object, parent)?.get(field).cloned());
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (group, _) = text("apiVersion").split_once('/').unwrap_or_default();
    let fields = keys::of(group, text("kind"));
    let merged =
        Path::default().merge(Some(object.take()), patch, Some(&Shape::Mapping(fields)))?;
    let Some(merged) = merged else { return Ok(false) };
    *object = merged;
    for ((parent, field), value) in IDENTITY.into_iter().zip(identity) {
        restore(object, parent, field, value);
    }
    Ok(true)
}

fn place<'a>(object: &'a Value, parent: &str) -> Option<&'a Value> {
    if parent.is_empty() { Some(object) } else { object.get(parent) }
}

fn restore(object: &mut Value, parent: &str, field: &str, value: Option<Value>) {
    let Value::Object(mut fields) = object.take() else { return };
    if parent.is_empty() {
        set(&mut fields, field, value);
    } else {
        match fields.get_mut(parent) {
            Some(Value::Object(fields)) => set(fields, field, value),
            _ => {
                if let Some(value) = value {
                    fields.insert(
                        parent.to_owned(),
                        Map::from_iter([(field.to_owned(), value)]).into(),
                    );
                }
            }
        }
    }
    *object = Value::Object(fields);
}

fn set(fields: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => fields.insert(field.to_owned(), value),
        None => fields.remove(field),
    };
}

/// The place in the object at which the patch is being merged.
#[derive(Default)]
struct Path(Vec<String>);

/// The values of `$patch`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

impl Path {
    /// Returns the result of `patch` on `live`; `None` if it is deleted.
    fn merge(
        &mut self,
        live: Option<Value>,
        patch: &Value,
        shape: Option<&Shape>,
    ) -> Result<Option<Value>, PatchProblem> {
        let live = live.filter(|live| !live.is_null());
        match (live, patch) {
            (_, Value::Null) => Ok(None),
            (None, Value::Object(patch)) => self.merge_mappings(Map::new(), patch, shape),
            (Some(Value::Object(live)), Value::Object(patch)) => {
                self.merge_mappings(live, patch, shape)
            }
            (None, Value::Array(patch)) => self.merge_lists(Vec::new(), patch, shape),
            (Some(Value::Array(live)), Value::Array(patch)) => self.merge_lists(live, patch, shape),
            (Some(live @ (Value::Object(_) | Value::Array(_))), patch)
            | (Some(live), patch @ (Value::Object(_) | Value::Array(_))) => {
                let (is, would_be) = (kind_of(&live), kind_of(patch));
                Err(self.problem(format!(
                    "is a {is} in the object and a {would_be} in the patch; a JSON patch can \
                     replace the one by the other"
                )))
            }
            (_, patch) => Ok(Some(patch.clone())),
        }
    }

    fn merge_mappings(
        &mut self,
        live: Map<String, Value>,
        patch: &Map<String, Value>,
        shape: Option<&Shape>,
    ) -> Result<Option<Value>, PatchProblem> {
        let mut merged = match self.directive(patch.get(DIRECTIVE))? {
            Directive::Delete => return Ok(None),
            Directive::Replace => Map::new(),
            Directive::Merge => live,
        };
        let fields = match shape {
            Some(Shape::Mapping(fields)) => *fields,
            _ => &[],
        };
        for (key, patch) in patch {
            if key == DIRECTIVE {
                continue;
            }
            self.refuse_directive(key)?;
            let shape = fields.iter().find(|(field, _)| field == key).map(|(_, shape)| shape);
            self.0.push(key.clone());
            if let Some(value) = self.merge(merged.remove(key), patch, shape)? {
                merged.insert(key.clone(), value);
            }
            self.0.pop();
        }
        Ok(Some(Value::Object(merged)))
    }

    fn merge_lists(
        &mut self,
        live: Vec<Value>,
        patch: &[Value],
        shape: Option<&Shape>,
    ) -> Result<Option<Value>, PatchProblem> {
        let (keys, fields) = match shape {
            Some(Shape::Set) => return self.merge_sets(live, patch),
            Some(Shape::Keyed(keys, fields)) => (*keys, *fields),
            Some(Shape::Mapping(_)) | None => {
                patch.iter().try_for_each(|item| self.refuse_directives(item))?;
                return Ok(Some(patch.to_vec().into()));
            }
        };
        // An item that has only a directive is for the list.
        let for_list = |item: &&Value| {
            item.as_object().is_some_and(|item| item.len() == 1 && item.contains_key(DIRECTIVE))
        };
        let directive = patch.iter().find(for_list).and_then(|item| item.get(DIRECTIVE));
        let live = match self.directive(directive)? {
            Directive::Delete => return Ok(None),
            Directive::Replace => Vec::new(),
            Directive::Merge => live,
        };
        let mut live = Live::of(live, keys);
        // Patched items come first, as in kustomize, so that the others can refer to new ones.
        let mut merged = Vec::with_capacity(patch.len().saturating_add(live.items.len()));
        let mut seen = HashSet::new();
        for item in patch.iter().filter(|item| !for_list(item)) {
            let (Value::Object(fields_of_item), Some(known)) = (item, known_by(item, keys)) else {
                let (key, _) = keys.first().copied().unwrap_or_default();
                return Err(self.problem(format!(
                    "has an item without {key:?} in the patch, by which items of this list are \
                     known; add it"
                )));
            };
            self.0.push(format!("[{}]", named(keys, &known)));
            if !seen.insert(known.clone()) {
                return Err(self.problem("stands in the patch more than once; merge them".into()));
            }
            match self.directive(fields_of_item.get(DIRECTIVE))? {
                Directive::Delete => live.delete(&known),
                Directive::Replace => {
                    return Err(self.problem(
                        "has $patch: replace among other fields, which kustomize ignores and \
                         Kubernetes takes for the whole list; for that, let it stand in an item of \
                         its own, and for one item, use a JSON patch"
                            .into(),
                    ));
                }
                Directive::Merge => {
                    let live = live.take(&known);
                    merged.extend(self.merge(live, item, Some(&Shape::Mapping(fields)))?);
                }
            }
            self.0.pop();
        }
        merged.extend(live.items.into_iter().flatten());
        Ok(Some(merged.into()))
    }

    fn merge_sets(
        &mut self,
        live: Vec<Value>,
        patch: &[Value],
    ) -> Result<Option<Value>, PatchProblem> {
        let mut merged: Vec<Value> = Vec::with_capacity(patch.len().saturating_add(live.len()));
        let mut seen = HashSet::new();
        for item in patch {
            let Some(text) = scalar(item) else {
                let found = kind_of(item);
                return Err(self.problem(format!("has a {found} as an item; write texts")));
            };
            if seen.insert(text) {
                merged.push(item.clone());
            }
        }
        merged.extend(
            live.into_iter().filter(|item| !scalar(item).is_some_and(|it| seen.contains(&it))),
        );
        Ok(Some(merged.into()))
    }

    fn directive(&self, value: Option<&Value>) -> Result<Directive, PatchProblem> {
        match value {
            None => Ok(Directive::Merge),
            Some(value) => match value.as_str() {
                Some("merge") => Ok(Directive::Merge),
                Some("replace") => Ok(Directive::Replace),
                Some("delete") => Ok(Directive::Delete),
                _ => Err(self.problem("has a $patch that is not delete, replace or merge".into())),
            },
        }
    }

    /// Refuses the directives that kubectl writes into strategic merge patches and kustomize leaves
    /// in the object.
    fn refuse_directive(&self, key: &str) -> Result<(), PatchProblem> {
        let known = ["$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys"];
        if known.iter().any(|directive| key.starts_with(directive)) {
            return Err(self.problem(format!(
                "has {key}, which kustomize does not know; use $patch, null or a JSON patch"
            )));
        }
        Ok(())
    }

    /// Refuses directives in a list that is replaced as a whole: every one would end up in the
    /// object.
    fn refuse_directives(&mut self, value: &Value) -> Result<(), PatchProblem> {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.refuse_directives(item)),
            Value::Object(fields) => fields.iter().try_for_each(|(key, value)| {
                if key == DIRECTIVE {
                    return Err(self.problem(
                        "is replaced as a whole, so that no item of it can have $patch; list all \
                         items, or use a JSON patch"
                            .into(),
                    ));
                }
                self.refuse_directive(key)?;
                self.refuse_directives(value)
            }),
            _ => Ok(()),
        }
    }

    fn problem(&self, reason: String) -> PatchProblem {
        let path = self.0.iter().fold(String::new(), |path, part| {
            let dot = if path.is_empty() || part.starts_with('[') { "" } else { "." };
            path + dot + part
        });
        let path = if path.is_empty() { "the object".to_owned() } else { path };
        PatchProblem::Merge { path, reason }
    }
}

/// The items of a list in an object, found without a search for each item of a patch.
struct Live {
    /// The items without those that were taken or deleted.
    items: Vec<Option<Value>>,
    /// The places of those of a name; the API server refuses a name twice, but objects come from
    /// anywhere.
    places: HashMap<Vec<String>, Vec<usize>>,
}

impl Live {
    fn of(items: Vec<Value>, keys: &[Key]) -> Self {
        let mut places: HashMap<_, Vec<_>> = HashMap::new();
        for (place, item) in items.iter().enumerate() {
            if let Some(known) = known_by(item, keys) {
                places.entry(known).or_default().push(place);
            }
        }
        Self { items: items.into_iter().map(Some).collect(), places }
    }

    /// Takes the first that `known` identifies.
    fn take(&mut self, known: &[String]) -> Option<Value> {
        let place = self.places.get(known)?.first()?;
        self.items.get_mut(*place)?.take()
    }

    /// Deletes all that `known` identifies.
    fn delete(&mut self, known: &[String]) {
        for place in self.places.get(known).into_iter().flatten() {
            if let Some(item) = self.items.get_mut(*place) {
                *item = None;
            }
        }
    }
}

/// Returns the values that identify `item`, if it has the first.
fn known_by(item: &Value, keys: &[Key]) -> Option<Vec<String>> {
    let value = |(index, (key, missing)): (usize, &Key)| match item.get(key).and_then(scalar) {
        Some(value) => Some(value.into_owned()),
        None if index == 0 => None,
        None => Some((*missing).to_owned()),
    };
    keys.iter().enumerate().map(value).collect()
}

fn named(keys: &[Key], values: &[String]) -> String {
    let pairs = keys.iter().zip(values).filter(|(_, value)| !value.is_empty());
    pairs.map(|((key, _), value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

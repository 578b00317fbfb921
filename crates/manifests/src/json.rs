//! Changes to JSON that others have made. `value["key"] = …` panics if `value` is a text or a list.

use serde_json::{Map, Value};

/// Sets the field at `path`. A value on the way that is not an object becomes one.
pub fn set(value: &mut Value, path: &[&str], to: impl Into<Value>) {
    let mut place = value;
    for key in path {
        place = object(place).entry(*key).or_insert(Value::Null);
    }
    *place = to.into();
}

/// Takes the field's value, and leaves null; null if there is no such field.
pub fn take(value: &mut Value, key: &str) -> Value {
    value.get_mut(key).map(Value::take).unwrap_or_default()
}

/// Returns the object that `value` is, or becomes.
///
/// # Panics
/// Never.
#[expect(clippy::expect_used, reason = "it was just made one")]
pub fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was just made an object")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_stands_on_the_way_becomes_an_object() {
        for odd in [json!("text"), json!([1]), json!(7), json!(null), json!({"a": "text"})] {
            let mut value = odd.clone();
            set(&mut value, &["a", "b"], "c");
            assert_eq!(value, json!({"a": {"b": "c"}}), "{odd}");
        }
        let mut value = json!({"a": {"x": 1}, "y": 2});
        set(&mut value, &["a", "b"], json!([3]));
        assert_eq!(value, json!({"a": {"x": 1, "b": [3]}, "y": 2}));
    }

    #[test]
    fn a_field_is_taken_from_whatever_it_is() {
        for mut odd in [json!("text"), json!([1]), json!(null)] {
            assert_eq!(take(&mut odd, "a"), Value::Null);
        }
        let mut value = json!({"a": 1});
        assert_eq!((take(&mut value, "a"), value), (json!(1), json!({"a": null})));
    }
}

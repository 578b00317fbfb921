//! The reasons for the order of hooks: by weight, then name, then kind, then as the source has
//! them. Pure.

use lifecycle::{
    plan::PlannedHook,
    source::{Desired, Hook},
};
use serde_json::Value;

/// Returns the reason of each hook's place, in words.
pub(super) fn of(hooks: &[PlannedHook], desired: &Desired) -> Vec<String> {
    let places: Vec<_> = hooks.iter().map(|hook| place(hook, desired)).collect();
    let mut reasons = Vec::new();
    for (index, (hook, place)) in hooks.iter().zip(&places).enumerate() {
        if hook.in_crds {
            let then = if hook.replaces { "is applied" } else { "stays as it is" };
            reasons.push(format!("in the chart's crds/, before all hooks; one that exists {then}"));
            continue;
        }
        let before = index.checked_sub(1).and_then(|index| hooks.get(index).zip(places.get(index)));
        let before = before.filter(|(before, _)| before.event == hook.event && !before.in_crds);
        reasons.push(match before {
            None => first(hooks, hook, place.as_ref()),
            Some(before) => after((hook, place.as_ref()), (before.0, before.1.as_ref())),
        });
    }
    reasons
}

/// The object or the list that Helm treats as one hook, and which part of it this is.
struct Place<'a> {
    whole: &'a Hook,
    part: usize,
}

fn place<'a>(hook: &PlannedHook, desired: &'a Desired) -> Option<Place<'a>> {
    let of = |whole: &'a Hook| {
        let is_it = |part: &lifecycle::object::PlannedObject| {
            part.object == hook.object && part.manifest == hook.manifest
        };
        let part = whole.parts.iter().position(is_it)?;
        whole.events.contains(&hook.event).then_some(Place { whole, part })
    };
    desired.hooks.iter().find_map(of)
}

fn first(hooks: &[PlannedHook], hook: &PlannedHook, place: Option<&Place<'_>>) -> String {
    let of_event = || hooks.iter().filter(|other| other.event == hook.event && !other.in_crds);
    if of_event().count() == 1 {
        return format!("the only {} hook", hook.event);
    }
    let lightest = of_event().filter(|other| other.weight == hook.weight).count();
    match place.map(|place| name(place.whole)) {
        _ if lightest == 1 => "the lowest weight".to_owned(),
        Some("") => "the lowest weight; without a name yet it comes before others".to_owned(),
        _ => "the lowest weight, and of these the first".to_owned(),
    }
}

type At<'a> = (&'a PlannedHook, Option<&'a Place<'a>>);

fn after((hook, place): At<'_>, (before, before_place): At<'_>) -> String {
    if hook.weight != before.weight {
        return format!("weight {} comes after {}", hook.weight, before.weight);
    }
    let (Some(place), Some(before_place)) = (place, before_place) else {
        return format!("as heavy as {}, and after it in the source", before.object);
    };
    let (whole, before_whole) = (place.whole, before_place.whole);
    if std::ptr::eq(whole, before_whole) {
        return if place.part > 0 && place.part == before_place.part + 1 {
            format!("the next item of {}", whole.object.kind)
        } else {
            format!("its annotation names {} twice", hook.event)
        };
    }
    let other = match name(before_whole) {
        "" => format!("{}/{}…", before_whole.object.kind, before_whole.object.name),
        _ => before_whole.object.to_string(),
    };
    if name(whole) != name(before_whole) {
        return format!("as heavy as {other}, and after it by name");
    }
    if whole.object.kind != before_whole.object.kind {
        return format!("as heavy as {other}, of the same name, and after it by kind");
    }
    format!("as heavy as {other}, and after it in the source")
}

/// Returns the name by which Helm sorts: a hook without a name of its own comes first.
fn name(hook: &Hook) -> &str {
    hook.manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use lifecycle::{
        event::Event,
        plan::{Crds, plan_hooks},
        source::Author,
    };
    use manifests::placed::Placed;
    use serde_json::json;

    use super::*;

    fn hook(kind: &str, name: &str, weight: i64) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "annotations": {
            "helm.sh/hook": "pre-install", "helm.sh/hook-weight": weight.to_string()}}})
    }

    #[track_caller]
    fn check(objects: &[Value], expected: &[(&str, &str)]) {
        let desired = Desired::parse(&Placed::inline(objects), "shop", Author::User).unwrap();
        let hooks = plan_hooks(&desired, Event::Install, Crds::Create);
        let reasons = of(&hooks, &desired);
        let found: Vec<_> = hooks
            .iter()
            .zip(&reasons)
            .map(|(hook, it)| (hook.object.name.as_str(), it.as_str()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn each_place_has_its_reason() {
        check(&[hook("Job", "a", 0)], &[("a", "the only pre-install hook")]);
        check(
            &[
                hook("Job", "b", 5),
                hook("Job", "a", 5),
                hook("ConfigMap", "a", 5),
                hook("Pod", "z", -1),
            ],
            &[
                ("z", "the lowest weight"),
                ("a", "weight 5 comes after -1"),
                ("a", "as heavy as ConfigMap/a, of the same name, and after it by kind"),
                ("b", "as heavy as Job/a, and after it by name"),
            ],
        );
        let mut twice = hook("Job", "a", 0);
        twice["metadata"]["annotations"]["helm.sh/hook"] = json!("pre-install,pre-install");
        check(
            &[twice],
            &[
                ("a", "the lowest weight, and of these the first"),
                ("a", "its annotation names pre-install twice"),
            ],
        );
    }

    #[test]
    fn the_items_of_a_list_follow_each_other() {
        let item =
            |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [item("z"), item("b")],
            "metadata": {"annotations": {"helm.sh/hook": "pre-install"}}});
        check(
            &[list, hook("Job", "a", 0)],
            &[
                ("z", "the lowest weight; without a name yet it comes before others"),
                ("b", "the next item of List"),
                ("a", "as heavy as List/…, and after it by name"),
            ],
        );
    }
}

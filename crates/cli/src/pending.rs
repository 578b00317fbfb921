//! The plan that waits for an approval, as a person reads it. Pure.

use lifecycle::approval::{Action, Change, PendingHook, PendingPlan};

use crate::words::{Colour, Look, pad_columns, printable};

/// Returns the lines of the plan: its hooks in order, then the changes of its objects.
pub(crate) fn lines(plan: &PendingPlan, look: Look) -> Vec<String> {
    let mut rows: Vec<_> = plan.hooks.iter().map(hook).collect();
    rows.extend(plan.changes.iter().map(change));
    pad_columns(&mut rows);
    let mut lines: Vec<_> = rows.iter().map(|row| format!("    {}", row.concat())).collect();
    let count = |number: u32, what: &str| {
        (number > 0).then(|| look.paint(Colour::Dim, &format!("    {number} {what}")).into_owned())
    };
    lines.extend(count(plan.unchanged, "objects stay as they are"));
    lines.extend(count(plan.more, "more are not listed here"));
    lines
}

/// Returns the plan with a title.
pub(crate) fn render(plan: &PendingPlan, look: Look) -> String {
    let PendingPlan { event, revision, .. } = plan;
    let title = format!("plan {}: {event} of revision {revision}", plan.short_digest());
    let mut all = vec![look.paint(Colour::Bold, &title).into_owned()];
    all.extend(lines(plan, look));
    all.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn hook(hook: &PendingHook) -> Vec<String> {
    let PendingHook { event, kind, namespace, name, weight, rule, skipped } = hook;
    let mut more = vec![format!("weight {weight}")];
    more.extend(skipped.as_ref().map(|why| format!("skipped: {why}")));
    more.extend(rule.clone());
    vec![event.as_str().to_owned(), object(kind, namespace.as_deref(), name), more.join(", ")]
}

fn change(change: &Change) -> Vec<String> {
    let Change { action, kind, namespace, name, fields } = change;
    let word = match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
    };
    let fields: Vec<_> = fields.iter().map(|field| printable(field)).collect();
    vec![word.to_owned(), object(kind, namespace.as_deref(), name), fields.join(" ")]
}

fn object(kind: &str, namespace: Option<&str>, name: &str) -> String {
    let place = namespace.map_or(String::new(), |namespace| format!(" in {namespace}"));
    printable(&format!("{kind}/{name}{place}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_is_a_table_of_hooks_and_changes() {
        let plan: PendingPlan = serde_json::from_value(json!({
            "digest": "sha256:0123456789abcdef", "operation": "a", "event": "Upgrade", "revision": 2,
            "generation": 1, "madeAt": "2026-11-30T10:00:00Z", "unchanged": 3, "more": 1,
            "hooks": [
                {"event": "pre-upgrade", "kind": "Job", "name": "migrate", "weight": -5,
                 "rule": "spec.hooks.rules[0]"},
                {"event": "post-upgrade", "kind": "Job", "name": "notify", "weight": 0,
                 "skipped": "Unchanged"},
            ],
            "changes": [
                {"action": "Create", "kind": "ConfigMap", "name": "new"},
                {"action": "Update", "kind": "Deployment", "name": "web",
                 "fields": ["/spec/replicas", "/spec/\u{1b}[31m"]},
                {"action": "Delete", "kind": "Role", "namespace": "b", "name": "old"},
            ],
        }))
        .unwrap();
        let text = render(&plan, Look::PLAIN);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "plan 0123456789ab: upgrade of revision 2");
        assert_eq!(lines[1], "    pre-upgrade   Job/migrate     weight -5, spec.hooks.rules[0]");
        assert_eq!(lines[2], "    post-upgrade  Job/notify      weight 0, skipped: Unchanged");
        assert_eq!(lines[3], "    create        ConfigMap/new");
        assert!(lines[4].starts_with("    update        Deployment/web  /spec/replicas /spec/"));
        assert!(!text.contains('\u{1b}'), "nothing moves the cursor");
        assert_eq!(lines[5], "    delete        Role/old in b");
        assert_eq!(
            lines[6..],
            ["    3 objects stay as they are", "    1 more are not listed here"]
        );
    }
}

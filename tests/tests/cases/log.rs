//! The part of the audit log by which the sides are compared.

use e2e::is_write;
use testkit::audit::Event;

/// Returns what Helm or a tenant wrote, and the API server did.
pub(crate) fn is_of_a_side(event: &Event) -> bool {
    let helm = event.user_agent.as_deref().is_some_and(|agent| agent.starts_with("Helm/"));
    let tenant = event.impersonated.is_some();
    (helm || tenant) && is_write(event) && event.succeeded() && !event.is_dry_run()
}

/// In `namespace`, in those whose names begin with it, and without a namespace to objects that have
/// its name in theirs.
pub(crate) fn concerns(event: &Event, namespace: &str) -> bool {
    match &event.namespace {
        Some(other) => other.starts_with(namespace),
        None => event.name.as_ref().is_some_and(|name| name.contains(namespace)),
    }
}

/// Returns what the write did, as a transcript has it: `create jobs/a`. `None` for records and reviews, and
/// for what the operator changes in a hook's object to start it, stop it, or let it expire.
pub(crate) fn line(event: &Event, namespace: &str) -> Option<String> {
    let name = event.name.as_deref()?;
    if event.subresource.is_some() || name.starts_with("sh.helm.release.") {
        return None;
    }
    let did = match (event.verb.as_str(), event.code) {
        ("create", _) | ("patch", 201) => "create",
        ("delete", _) => "delete",
        _ if event.request.is_array() => return None,
        _ => "change",
    };
    // A Namespace is said to be in itself.
    let other = event.namespace.as_deref().filter(|other| *other != namespace && *other != name);
    let place = other.map_or(String::new(), |other| format!("{other}/"));
    Some(format!("  {did} {place}{}/{name}", event.resource))
}

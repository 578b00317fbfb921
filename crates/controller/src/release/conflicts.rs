//! The objects that could not be applied: all at once, in one message with the remedies. Pure.

use api::names;
use helm::ownership::{self, OwnershipError};
use lifecycle::{
    event::{Event, Field},
    object::ObjectRef,
};

use crate::cluster::{
    call::{ApiError, Cause, Refused, Why},
    rights::{self, Lack, Right},
};

/// The part of a message of at most one kilobyte that is left for names beside the remedies.
const NAMES: usize = 560;
/// The part that a remedy may have without reducing that of the names.
const REMEDY: usize = 240;
/// The part that one object may have.
const NAME: usize = 280;

/// The reason why one object was not applied.
pub(crate) enum Refusal {
    /// Another release owns it, or it is unowned.
    NotOwned(OwnershipError),
    /// Another field manager owns fields of the named object; in the API server's words.
    Conflict(String, String),
    /// These fields of the named object can only be set when it is created.
    Immutable(String, Vec<String>),
    /// RBAC prevents the creation of the named object; the missing rights.
    Rights(String, Lack),
    /// The named Role or binding would grant more than its creator has.
    Grant(String, Lack),
    /// Any other reason, in the API server's words.
    Other(String),
}

impl Refusal {
    /// Returns the refusal of `object` in `error`; the error itself if waiting may help.
    pub(crate) fn of(object: &ObjectRef, error: ApiError) -> Result<Self, ApiError> {
        match &error.cause {
            Cause::FieldConflict(message) => {
                Ok(Self::Conflict(object.to_string(), conflicts(message)))
            }
            Cause::Refused(Refused { why: Why::Rights(lack), .. }) => {
                Ok(Self::Rights(object.to_string(), (**lack).clone()))
            }
            Cause::Refused(Refused { why: Why::Grant(lack), .. }) => {
                Ok(Self::Grant(object.to_string(), (**lack).clone()))
            }
            Cause::Refused(Refused { fields, .. }) => {
                let immutable = fields.iter().filter(|field| field.immutable);
                let immutable: Vec<_> = immutable.map(|field| field.path.clone()).collect();
                Ok(if immutable.is_empty() {
                    Self::Other(error.message())
                } else {
                    Self::Immutable(object.to_string(), immutable)
                })
            }
            Cause::NotFound(_) => Ok(Self::Other(error.to_string())),
            _ => Err(error),
        }
    }
}

/// Returns the API server's list on one line, without its headline.
fn conflicts(message: &str) -> String {
    let list = message.split_once(": ").map_or(message, |(_, list)| list);
    list.replace("\n- ", " ").replace('\n', "; ")
}

/// Returns all of them in one message, for an operation of `event` of the release.
pub(crate) fn message(
    refusals: &[Refusal],
    event: Event,
    release: &str,
    namespace: &str,
) -> String {
    let mut conflicts = Vec::new();
    let mut immutable = Vec::new();
    let mut owned = Vec::new();
    let mut others = Vec::new();
    let (mut denied, mut grants) = (Lacking::default(), Lacking::default());
    for refusal in refusals {
        match refusal {
            Refusal::Rights(object, lack) => denied.add(object, lack),
            Refusal::Grant(object, lack) => grants.add(object, lack),
            Refusal::Conflict(object, list) => conflicts.push(format!("{object}: {list}")),
            Refusal::Immutable(object, fields) => {
                immutable.push(format!("{object}: {}", fields.join(", ")));
            }
            Refusal::NotOwned(error) => owned.push(error.to_string()),
            Refusal::Other(text) => others.push(text.clone()),
        }
    }
    let groups = [&conflicts, &immutable, &owned, &others, &denied.objects, &grants.objects];
    let filled = groups.iter().filter(|group| !group.is_empty()).count();
    let remedy = remedy(&denied, &grants);
    let names = NAMES.saturating_sub(remedy.len().saturating_sub(REMEDY));
    let room = names / filled.max(1);
    let mut parts = Vec::new();
    let mut lacks = Vec::new();
    if !denied.objects.is_empty() {
        lacks.push(denied.sentence("may not", room));
    }
    if !grants.objects.is_empty() {
        lacks.push(grants.sentence("may not grant what it does not have itself:", room));
    }
    if !lacks.is_empty() {
        parts.push(format!("{}; {remedy}", lacks.join("; ")));
    }
    if !conflicts.is_empty() {
        parts.push(format!(
            "other field managers own what the release sets: {}. Set spec.forceConflicts to true to \
             take these fields, or leave them out of the release",
            listed(&conflicts, room)
        ));
    }
    if !immutable.is_empty() {
        parts.push(format!(
            "fields that cannot be changed once the object is there: {}. Change them back, give the \
             object another name, or delete it; then annotate with {}",
            listed(&immutable, room),
            names::RETRY_AT,
        ));
    }
    if !owned.is_empty() {
        parts.push(format!(
            "{}. Remove or rename what is not of release {release}, or hand it over: by {} true, or by \
             {}",
            listed(&owned, room),
            field(event),
            ownership::marks(release, namespace),
        ));
    }
    if let [one] = &others[..]
        && filled == 1
    {
        parts.push(one.clone());
    } else if !others.is_empty() {
        parts.push(listed(&others, room));
    }
    parts.join(". ")
}

/// The missing rights of a user, and the objects that need them.
#[derive(Default)]
struct Lacking {
    objects: Vec<String>,
    user: String,
    rights: Vec<Right>,
}

impl Lacking {
    fn add(&mut self, object: &str, lack: &Lack) {
        self.objects.push(object.to_owned());
        self.user.clone_from(&lack.user);
        self.rights.extend(lack.rights.iter().cloned());
    }

    /// Returns the sentence. The rights come first, since they are fewer.
    fn sentence(&self, what: &str, room: usize) -> String {
        let rights = cut(&rights::listed(&self.rights), room);
        let objects = listed(&self.objects, room.saturating_sub(rights.len()).max(NAME / 4));
        format!("{} {what} {rights} (for {objects})", rights::who(&self.user))
    }
}

fn remedy(denied: &Lacking, grants: &Lacking) -> String {
    let rights: Vec<_> = denied.rights.iter().chain(&grants.rights).cloned().collect();
    let user = if denied.user.is_empty() { &grants.user } else { &denied.user };
    if rights.is_empty() { String::new() } else { rights::remedy(user, &rights) }
}

/// Returns the field that lets an operation of `event` adopt existing objects.
fn field(event: Event) -> String {
    let field = event.facts().field.map_or("spec.upgrade", Field::as_str);
    format!("{field}.takeOwnership:")
}

/// Returns as many as there is room for, and the number of the others.
pub(crate) fn listed(items: &[String], room: usize) -> String {
    let most = if items.len() == 1 { room } else { room.min(NAME) };
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        let item = cut(item, most);
        if index == 0 {
            text = item;
            continue;
        }
        if text.len() + item.len() > room {
            return format!("{text}; and {} more", items.len() - index);
        }
        text = format!("{text}; {item}");
    }
    text
}

fn cut(text: &str, most: usize) -> String {
    match text.get(..text.floor_char_boundary(most)) {
        Some(head) if head.len() < text.len() => format!("{head}…"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str) -> String {
        format!("ConfigMap/{name}")
    }

    fn said(refusals: &[Refusal]) -> String {
        message(refusals, Event::Upgrade, "shop", "prod")
    }

    #[test]
    fn conflicts_are_listed_with_their_fields_and_what_to_do() {
        let one = "Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .data.a";
        let more = "Apply failed with 3 conflicts: conflicts with \"x\" using v1:\n- .data.a\n\
                    - .data.b\nconflicts with \"y\" using v1:\n- .data.c";
        let refusals = [one, more].map(|it| Refusal::Conflict(object("web"), conflicts(it)));
        assert_eq!(
            said(&refusals),
            "other field managers own what the release sets: ConfigMap/web: conflict with \
             \"kubectl\" using v1: .data.a; ConfigMap/web: conflicts with \"x\" using v1: .data.a \
             .data.b; conflicts with \"y\" using v1: .data.c. Set spec.forceConflicts to true to \
             take these fields, or leave them out of the release"
        );
    }

    #[test]
    fn every_kind_of_refusal_has_its_part() {
        let live = serde_json::json!({"kind": "Service", "metadata": {"name": "web"}});
        let not_owned = ownership::check(&live, "shop", "prod").unwrap_err();
        let text = said(&[
            Refusal::Other("apply Ingress/web: no".to_owned()),
            Refusal::NotOwned(not_owned),
            Refusal::Immutable(object("web"), vec!["data".to_owned(), "immutable".to_owned()]),
        ]);
        for part in [
            "fields that cannot be changed once the object is there: ConfigMap/web: data, immutable. \
             Change them back",
            "releaselifecycle.dev/retryAt. Service web belongs to no release. Remove or rename",
            "by spec.upgrade.takeOwnership: true, or by label app.kubernetes.io/managed-by=Helm and",
            "apply Ingress/web: no",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    #[test]
    fn a_long_list_leaves_room_for_what_to_do() {
        let long = "é".repeat(200);
        let refusals: Vec<_> = (0..50)
            .map(|n| Refusal::Conflict(object(&format!("web-{n}")), format!("conflict {long}")))
            .collect();
        let text = said(&refusals);
        assert!(text.len() < 1024, "{}", text.len());
        assert!(
            text.contains("ConfigMap/web-0: ") && text.contains("; and 49 more. Set"),
            "{text}"
        );
        let short: Vec<_> = (0..50)
            .map(|n| Refusal::Immutable(object(&format!("web-{n}")), vec!["data".to_owned()]))
            .collect();
        let text = said(&short);
        assert!(text.len() < 1024 && text.contains("web-22: data; and 27 more. "), "{text}");
    }

    fn lack(verbs: &[&str], resource: &str, namespace: Option<&str>) -> Lack {
        let user = "system:serviceaccount:prod:shop".to_owned();
        Lack { user, rights: vec![Right::new(verbs, "", resource, namespace)] }
    }

    #[test]
    fn rights_that_are_missing_are_told_whole_with_one_remedy() {
        let text = said(&[
            Refusal::Grant("Role/m7".to_owned(), lack(&["get", "list"], "endpoints", Some("prod"))),
            Refusal::Grant(
                "RoleBinding/m7".to_owned(),
                lack(&["get", "list"], "endpoints", Some("prod")),
            ),
            Refusal::Rights("Lease/a".to_owned(), lack(&["create"], "leases", Some("prod"))),
        ]);
        assert_eq!(
            text,
            "ServiceAccount prod/shop may not create on leases in namespace prod (for Lease/a); \
             ServiceAccount prod/shop may not grant what it does not have itself: get, list on \
             endpoints in namespace prod (for Role/m7; RoleBinding/m7); allow it: `kubectl create role \
             shop-more -n prod --verb=create,get,list --resource=endpoints,leases` and `kubectl create \
             rolebinding shop-more -n prod --role=shop-more --serviceaccount=prod:shop`"
        );
        let many: Vec<_> = (0..60)
            .map(|n| {
                Refusal::Rights(object(&n.to_string()), lack(&["get"], &format!("r{n}"), None))
            })
            .chain(
                (0..40).map(|n| Refusal::Immutable(object(&n.to_string()), vec!["a".to_owned()])),
            )
            .collect();
        let text = said(&many);
        assert!(text.len() < 1024 && text.contains("a ClusterRoleBinding"), "{text}");
    }

    #[test]
    fn one_refusal_in_the_api_servers_words_is_left_as_it_is() {
        let text = "a".repeat(2000);
        assert_eq!(said(&[Refusal::Other(text.clone())]), text);
    }
}

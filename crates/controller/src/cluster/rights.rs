//! Rights that are missing, read from the API server's message, and the commands that grant them.
//! Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Value;

/// The rules for an identity in a namespace, as a `SelfSubjectRulesReview` lists them; `None` if the
/// authorizer cannot list them all.
pub(crate) type Rules = Option<Arc<[Value]>>;

/// The shipped role that a tenant's ServiceAccount is bound to, and its rights: `deploy/base`.
const DEPLOYER: &str = "releaselifecycle-deployer";
/// The shipped role by which the operator may act as a `ServiceAccount` of a namespace:
/// `deploy/multi-tenant`.
const IMPERSONATOR: &str = "releaselifecycle-impersonator";
const DEPLOYER_RESOURCES: [(&str, &[&str]); 7] = [
    (
        "",
        &[
            "configmaps",
            "persistentvolumeclaims",
            "pods",
            "replicationcontrollers",
            "secrets",
            "serviceaccounts",
            "services",
        ],
    ),
    ("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("batch", &["cronjobs", "jobs"]),
    ("autoscaling", &["horizontalpodautoscalers"]),
    ("policy", &["poddisruptionbudgets"]),
    ("networking.k8s.io", &["ingresses", "networkpolicies"]),
    ("rbac.authorization.k8s.io", &["rolebindings", "roles"]),
];
const DEPLOYER_VERBS: [&str; 7] = ["get", "list", "watch", "create", "update", "patch", "delete"];
/// The verbs that the life of a release needs on an object: whoever lacks one of these lacks the
/// others, too.
const OBJECT_VERBS: [&str; 4] = ["get", "create", "patch", "delete"];
/// The maximum length of the commands: longer ones can no longer be pasted easily.
const MOST_COMMANDS: usize = 420;

/// The missing rights of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    /// The name of the user, as in the API server.
    pub(crate) user: String,
    pub(crate) rights: Vec<Right>,
}

/// Verbs on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    pub(crate) verbs: Vec<String>,
    /// The resource as commands name it: `deployments.apps`, `pods/log`; a path if it begins with
    /// `/`.
    pub(crate) resource: String,
    /// Only objects of these names; empty: of any name.
    pub(crate) names: Vec<String>,
    /// `None`: in the whole cluster.
    pub(crate) namespace: Option<String>,
}

impl Right {
    pub(crate) fn new(
        verbs: &[&str],
        group: &str,
        resource: &str,
        namespace: Option<&str>,
    ) -> Self {
        Self {
            verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
            resource: named(group, resource),
            names: Vec::new(),
            namespace: namespace.map(str::to_owned),
        }
    }

    pub(crate) fn is_path(&self) -> bool {
        self.resource.starts_with('/')
    }

    fn is_deployers(&self) -> bool {
        let (resource, group) = self.resource.split_once('.').unwrap_or((&self.resource, ""));
        let is_log = group.is_empty() && resource == "pods/log" && self.verbs == ["get"];
        let resources = DEPLOYER_RESOURCES.iter().find(|(known, _)| *known == group);
        self.namespace.is_some()
            && (is_log
                || resources.is_some_and(|(_, known)| known.contains(&resource))
                    && self.verbs.iter().all(|verb| DEPLOYER_VERBS.contains(&&**verb)))
    }
}

/// Returns `deployments.apps`, `deployments.apps/scale`, `pods/log`.
fn named(group: &str, resource: &str) -> String {
    match (group, resource.split_once('/')) {
        ("", _) => resource.to_owned(),
        (_, None) => format!("{resource}.{group}"),
        (_, Some((resource, subresource))) => format!("{resource}.{group}/{subresource}"),
    }
}

/// Parses `… is forbidden: User "u" cannot get resource "r" in API group "g" in the namespace "n"`,
/// as `pkg/endpoints/handlers/responsewriters/errors.go` of the API server writes it.
pub(crate) fn lacking(message: &str) -> Option<Lack> {
    let (_, rest) = message.split_once("forbidden: User \"")?;
    let (user, rest) = rest.split_once("\" cannot ")?;
    let (verb, rest) = rest.split_once(' ')?;
    let right = if let Some(rest) = rest.strip_prefix("path \"") {
        Right::new(&[verb], "", rest.split_once('"')?.0, None)
    } else {
        let (resource, rest) = rest.strip_prefix("resource \"")?.split_once('"')?;
        let (group, rest) = rest.strip_prefix(" in API group \"")?.split_once('"')?;
        let namespace = rest.strip_prefix(" in the namespace \"");
        let namespace = namespace.and_then(|rest| Some(rest.split_once('"')?.0));
        Right::new(&[verb], group, resource, namespace)
    };
    Some(Lack { user: user.to_owned(), rights: vec![right] })
}

/// Parses the message about a Role or a binding that grants more than its author has, as
/// `pkg/registry/rbac/validation` of the API server writes it. The message does not name the
/// namespace.
pub(crate) fn ungrantable(message: &str) -> Option<Lack> {
    let (head, rest) =
        message.split_once("attempting to grant RBAC permissions not currently held:")?;
    let (_, user) = head.split_once("user \"")?;
    let user = user.split_once('"')?.0.to_owned();
    let rights = rest.lines().flat_map(|line| rule(line.trim())).collect();
    Some(Lack { user, rights })
}

/// Parses the rights of `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`.
fn rule(line: &str) -> Vec<Right> {
    let list = |key: &str| -> Vec<&str> {
        let rest = line.split_once(key).map(|(_, rest)| rest);
        let list = rest.and_then(|rest| rest.split_once(']')).map(|(list, _)| list);
        // Every second part is the text between two quotes.
        list.into_iter().flat_map(|list| list.split('"').skip(1).step_by(2)).collect()
    };
    let (verbs, names) = (list("Verbs:["), list("ResourceNames:["));
    let mut rights = Vec::new();
    for group in list("APIGroups:[") {
        for resource in list("Resources:[") {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            rights.push(Right { names, ..Right::new(&verbs, group, resource, None) });
        }
    }
    rights
        .extend(list("NonResourceURLs:[").into_iter().map(|url| Right::new(&verbs, "", url, None)));
    rights
}

/// Returns the rights in words: `get, list on configmaps, secrets in namespace prod; …`.
pub(crate) fn listed(rights: &[Right]) -> String {
    let mut alike: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for right in rights {
        let only = match &right.names[..] {
            [] => String::new(),
            names => format!(" ({})", names.join(", ")),
        };
        let resources = alike.entry((&right.namespace, &right.verbs)).or_default();
        resources.insert(format!("{}{only}", right.resource));
    }
    let groups = alike.into_iter().map(|((namespace, verbs), resources)| {
        let resources = resources.into_iter().collect::<Vec<_>>().join(", ");
        let place = namespace.as_ref().map_or_else(String::new, |it| format!(" in namespace {it}"));
        format!("{} on {resources}{place}", verbs.join(", "))
    });
    groups.collect::<Vec<_>>().join("; ")
}

/// Returns the name of the user as users know it.
pub(crate) fn who(user: &str) -> String {
    account(user).map_or_else(
        || format!("user {user}"),
        |(namespace, name)| format!("ServiceAccount {namespace}/{name}"),
    )
}

fn account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// Returns the commands to paste that grant `user` these rights: a binding of the shipped role if
/// that role has them, otherwise a new role. For resources without a namespace it is a
/// `ClusterRole`.
pub(crate) fn remedy(user: &str, rights: &[Right]) -> String {
    let (name, subject) = match account(user) {
        Some((namespace, name)) => {
            (name.to_owned(), format!("--serviceaccount={namespace}:{name}"))
        }
        None => ("releaselifecycle".to_owned(), format!("--user={user}")),
    };
    // Cluster-wide roles have names that nobody else uses.
    let in_cluster = account(user).map(|(namespace, name)| format!("{namespace}-{name}"));
    let mut commands = Vec::new();
    let (deployers, others): (Vec<_>, Vec<_>) = rights.iter().partition(|it| it.is_deployers());
    let namespaces: BTreeSet<_> = deployers.iter().filter_map(|it| it.namespace.as_ref()).collect();
    for namespace in namespaces {
        commands.push(format!(
            "kubectl create rolebinding {name} -n {namespace} --clusterrole={DEPLOYER} {subject}"
        ));
    }
    let mut roles: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for right in others {
        let is_url = right.is_path();
        roles.entry((&right.namespace, is_url, &right.names)).or_default().push(right);
    }
    for (number, ((namespace, is_url, names), rights)) in roles.into_iter().enumerate() {
        let number =
            if number == 0 { String::new() } else { format!("-{}", number.saturating_add(1)) };
        let whose = if namespace.is_some() { &name } else { in_cluster.as_ref().unwrap_or(&name) };
        let role_name = format!("{whose}-more{number}");
        commands.extend(role(&role_name, namespace.as_deref(), is_url, names, &rights, &subject));
    }
    let text = commands.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(" and ");
    if commands.is_empty() || text.len() > MOST_COMMANDS || text.contains('*') {
        let kind = if rights.iter().any(|it| it.namespace.is_none()) {
            "a ClusterRole with these rights by a ClusterRoleBinding"
        } else {
            "a Role with these rights by a RoleBinding"
        };
        return format!("bind {kind} to {}", who(user));
    }
    format!("allow it: {text}")
}

/// Returns how to let the operator act as a `ServiceAccount` of a release's namespace: a command to
/// paste, if the API server named the namespace.
pub(crate) fn impersonation_remedy(lack: &Lack) -> String {
    let Some(namespace) = lack.rights.iter().find_map(|right| right.namespace.as_ref()) else {
        return format!(
            "bind the ClusterRole {IMPERSONATOR} to the operator by a RoleBinding in the release's \
             namespace"
        );
    };
    let subject = account(&lack.user).map_or_else(
        || format!("--user={}", lack.user),
        |(namespace, name)| format!("--serviceaccount={namespace}:{name}"),
    );
    format!(
        "allow it: `kubectl create rolebinding {IMPERSONATOR} -n {namespace} \
         --clusterrole={IMPERSONATOR} {subject}`"
    )
}

/// Returns the commands for a role that is not shipped.
fn role(
    name: &str,
    namespace: Option<&str>,
    is_url: bool,
    names: &[String],
    rights: &[&Right],
    subject: &str,
) -> [String; 2] {
    let mut verbs: Vec<&str> = Vec::new();
    for verb in rights.iter().flat_map(|right| &right.verbs) {
        let is_one = rights.iter().all(|right| right.verbs.len() == 1);
        let is_objects = is_one && !is_url && OBJECT_VERBS.contains(&&**verb);
        let alike: &[&str] = if is_objects { &OBJECT_VERBS } else { &[verb] };
        for verb in alike {
            if !verbs.contains(verb) {
                verbs.push(verb);
            }
        }
    }
    let resources: BTreeSet<_> = rights.iter().map(|right| &*right.resource).collect();
    let resources = resources.into_iter().collect::<Vec<_>>().join(",");
    let verbs = verbs.join(",");
    let what = if is_url { "non-resource-url" } else { "resource" };
    let names: String = names.iter().map(|name| format!(" --resource-name={name}")).collect();
    let (kind, place) = match namespace {
        Some(namespace) => ("role", format!(" -n {namespace}")),
        None => ("clusterrole", String::new()),
    };
    [
        format!("kubectl create {kind} {name}{place} --verb={verbs} --{what}={resources}{names}"),
        format!("kubectl create {kind}binding {name}{place} --{kind}={name} {subject}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "system:serviceaccount:prod:shop";

    fn said(message: &str) -> (String, String) {
        let lack = lacking(message).unwrap();
        (listed(&lack.rights), remedy(&lack.user, &lack.rights))
    }

    #[test]
    fn the_right_that_is_missing_is_read_from_the_refusal() {
        let (listed, remedy) = said(
            "secrets is forbidden: User \"system:serviceaccount:prod:shop\" cannot list resource \
             \"secrets\" in API group \"\" in the namespace \"prod\"",
        );
        assert_eq!(listed, "list on secrets in namespace prod");
        assert_eq!(
            remedy,
            "allow it: `kubectl create rolebinding shop -n prod \
             --clusterrole=releaselifecycle-deployer --serviceaccount=prod:shop`"
        );
        let (listed, remedy) = said(
            "leases.coordination.k8s.io \"a\" is forbidden: User \"system:serviceaccount:prod:shop\" \
             cannot patch resource \"leases\" in API group \"coordination.k8s.io\" in the namespace \
             \"prod\": RBAC: role.rbac.authorization.k8s.io \"gone\" not found",
        );
        assert_eq!(listed, "patch on leases.coordination.k8s.io in namespace prod");
        assert_eq!(
            remedy,
            "allow it: `kubectl create role shop-more -n prod --verb=get,create,patch,delete \
             --resource=leases.coordination.k8s.io` and `kubectl create rolebinding shop-more -n prod \
             --role=shop-more --serviceaccount=prod:shop`"
        );
    }

    #[test]
    fn a_namespace_is_opened_to_the_operator_by_one_command() {
        let asked = [
            "serviceaccounts \"shop\" is forbidden: User \"system:serviceaccount:ops:operator\" \
             cannot impersonate resource \"serviceaccounts\" in API group \"\" in the namespace \
             \"prod\"",
            "secrets is forbidden: User \"system:serviceaccount:ops:operator\" cannot \
             impersonate-on:serviceaccount:list resource \"secrets\" in API group \"\" in the \
             namespace \"prod\"",
        ];
        for said in asked {
            assert_eq!(
                impersonation_remedy(&lacking(said).unwrap()),
                "allow it: `kubectl create rolebinding releaselifecycle-impersonator -n prod \
                 --clusterrole=releaselifecycle-impersonator --serviceaccount=ops:operator`"
            );
        }
        let nowhere = "forbidden: User \"x\" cannot impersonate-on:serviceaccount:get resource \
                       \"nodes\" in API group \"\" at the cluster scope";
        assert!(!impersonation_remedy(&lacking(nowhere).unwrap()).contains("kubectl"));
        let role = include_str!("../../../../deploy/multi-tenant/role-impersonator.yaml");
        assert!(role.contains(&format!("name: {IMPERSONATOR}\n")));
    }

    #[test]
    fn what_is_in_no_namespace_wants_a_binding_in_the_cluster() {
        let (listed, remedy) = said(
            "clusterroles.rbac.authorization.k8s.io \"a\" is forbidden: User \
             \"system:serviceaccount:prod:shop\" cannot get resource \"clusterroles\" in API group \
             \"rbac.authorization.k8s.io\" at the cluster scope",
        );
        assert_eq!(listed, "get on clusterroles.rbac.authorization.k8s.io");
        assert_eq!(
            remedy,
            "allow it: `kubectl create clusterrole prod-shop-more --verb=get,create,patch,delete \
             --resource=clusterroles.rbac.authorization.k8s.io` and `kubectl create \
             clusterrolebinding prod-shop-more --clusterrole=prod-shop-more --serviceaccount=prod:shop`"
        );
        let (listed, remedy) = said("forbidden: User \"jane\" cannot get path \"/metrics\"");
        assert_eq!(listed, "get on /metrics");
        assert!(remedy.contains("--verb=get --non-resource-url=/metrics"), "{remedy}");
        assert!(remedy.contains("--user=jane"), "{remedy}");
    }

    #[test]
    fn what_may_not_be_granted_is_listed_whole() {
        let message = "roles.rbac.authorization.k8s.io \"m7\" is forbidden: user \
            \"system:serviceaccount:prod:shop\" (groups=[\"system:serviceaccounts\" \"x\"]) is \
            attempting to grant RBAC permissions not currently held:\n\
            {APIGroups:[\"\"], Resources:[\"endpoints\"], Verbs:[\"get\" \"list\" \"watch\"]}\n\
            {APIGroups:[\"apps\"], Resources:[\"deployments/scale\"], ResourceNames:[\"a\"], \
            Verbs:[\"patch\"]}\n{NonResourceURLs:[\"/metrics\"], Verbs:[\"get\"]}";
        let lack = ungrantable(message).unwrap();
        assert_eq!(lack.user, USER);
        assert_eq!(
            listed(&lack.rights),
            "get on /metrics; get, list, watch on endpoints; patch on deployments.apps/scale (a)"
        );
        let mut one = lack.rights[0].clone();
        one.namespace = Some("prod".to_owned());
        let remedy = remedy(USER, &[one]);
        assert!(
            remedy.starts_with(
                "allow it: `kubectl create role shop-more -n prod --verb=get,list,watch \
                 --resource=endpoints` and `kubectl create rolebinding"
            ),
            "{remedy}"
        );
    }

    #[test]
    fn many_rights_are_named_and_no_command_is_cut() {
        let many: Vec<_> = (0..40)
            .map(|n| Right::new(&["get"], "example.com", &format!("widgets{n}"), None))
            .collect();
        assert_eq!(
            remedy(USER, &many),
            "bind a ClusterRole with these rights by a ClusterRoleBinding to ServiceAccount prod/shop"
        );
        assert!(listed(&many).starts_with("get on widgets0.example.com, widgets1.example.com"));
        let all = Right::new(&["*"], "", "*", Some("prod"));
        assert!(remedy(USER, &[all]).starts_with("bind a Role with these rights"));
    }

    #[test]
    fn the_shipped_role_is_advised_for_what_it_has() {
        let role = include_str!("../../../../deploy/base/role-deployer.yaml");
        for (group, resources) in DEPLOYER_RESOURCES {
            for resource in resources {
                assert!(Right::new(&["get"], group, resource, Some("a")).is_deployers());
                assert!(!Right::new(&["get"], group, resource, None).is_deployers());
                assert!(!Right::new(&["escalate"], group, resource, Some("a")).is_deployers());
                assert!(role.contains(resource) && role.contains(group), "{resource}.{group}");
            }
        }
        assert!(Right::new(&["get"], "", "pods/log", Some("a")).is_deployers());
        for verb in DEPLOYER_VERBS {
            assert!(role.contains(verb));
        }
    }

    #[test]
    fn nothing_else_is_taken_for_a_missing_right() {
        for other in [
            "",
            "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1",
            "forbidden: User \"x",
            "forbidden: User \"x\" cannot get resource \"y\"",
            "forbidden: User \"x\" cannot ",
        ] {
            assert_eq!(lacking(other), None, "{other}");
            assert_eq!(ungrantable(other), None);
        }
    }
}

//! The reason why the API server refused, and the part of it that may be reported. The API server's
//! own message is used where it cannot contain values of an object. Otherwise only the fields and
//! the kinds of error are reported: values also come from Secrets, and many people read the report.
//! Pure.

use kube::core::{
    Status,
    response::{StatusCause, StatusDetails},
};
use lifecycle::reason::Reason;

use super::values::{Values, on_one_line, without_keys, without_value, without_values};
use crate::cluster::rights::{self, Lack};

/// The reason why the API server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// RBAC: the missing rights.
    Rights(Box<Lack>),
    /// A Role or a binding would grant more than its creator has: the missing rights.
    Grant(Box<Lack>),
    /// The `ServiceAccount` that is impersonated, `<namespace>/<name>`, does not exist.
    NoAccount(String),
    /// The `ServiceAccount` that a Pod names, likewise, does not exist.
    NoAccountOfPod(String),
    /// A `ResourceQuota`.
    Quota,
    /// The namespace is terminating.
    Terminating,
    /// The Pod Security level of the namespace.
    PodSecurity,
    /// An admission webhook or policy, which has its own message.
    Admission,
    /// An admission webhook that cannot be part of a dry run.
    NoDryRun,
    /// Any other reason, such as an invalid field.
    Other,
}

/// A refusal in a form that may be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: u16,
    pub(crate) why: Why,
    pub(crate) message: String,
    pub(crate) fields: Vec<Field>,
}

/// A field that the API server does not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) path: String,
    /// True if the field must keep the value that it had when the object was created.
    pub(crate) immutable: bool,
    /// The kind of the fault and its detail, without the value.
    fault: String,
}

impl Field {
    fn new(cause: &StatusCause) -> Self {
        /// The words about an immutable field, for which there is no code. The API server's own
        /// validations use them, and rules of `CustomResourceDefinitions` do by convention.
        const WORDS: [&str; 5] =
            ["immutable", "may not change", "may not be changed", "cannot change", "updates to "];
        let immutable = WORDS.iter().any(|words| cause.message.contains(words));
        let fault = without_value(&cause.message);
        Self { path: without_keys(&cause.field), immutable, fault }
    }
}

/// Returns the causes that are about a field.
fn causes(status: &Status) -> impl Iterator<Item = &StatusCause> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.filter(|cause| !cause.field.is_empty())
}

/// Returns the faults of all fields.
fn faults(fields: &[Field]) -> String {
    let text = fields.iter().map(|Field { path, fault, .. }| format!("{path}: {fault}"));
    let mut text: Vec<_> = text.collect();
    text.dedup();
    text.join("; ")
}

impl Refused {
    /// Returns a refusal that this program makes itself.
    pub(crate) fn own(code: u16, message: impl Into<String>) -> Self {
        Self { code, why: Why::Other, message: message.into(), fields: Vec::new() }
    }

    pub(super) fn of(status: &Status) -> Self {
        let Status { code, message, details, .. } = status;
        let fields: Vec<_> = causes(status).map(Field::new).collect();
        let (why, mut message) = read(message, details.as_ref());
        if why == Why::Other && !fields.is_empty() {
            message = faults(&fields);
        }
        Self { code: *code, why, message, fields }
    }

    /// Limits the rights that would be granted to the namespace of the object that grants them, if
    /// it has one.
    pub(crate) fn within(&mut self, namespace: Option<&str>) {
        if let Why::Grant(lack) = &mut self.why {
            for right in &mut lack.rights {
                right.namespace = namespace.filter(|_| !right.is_path()).map(str::to_owned);
            }
            self.message = ungrantable(lack);
        }
    }

    /// Notes that the impersonated `ServiceAccount` does not exist.
    pub(crate) fn without_account(&mut self, namespace: &str, name: &str) {
        self.message = format!("ServiceAccount {namespace}/{name} does not exist");
        self.why = Why::NoAccount(format!("{namespace}/{name}"));
    }

    /// Hides the values of the objects that the call is about: webhooks and policies have messages of
    /// their own, which may contain anything, and so may the API server's detail of a fault.
    pub(super) fn hide(&mut self, status: &Status, values: &Values) {
        let hidden = match &self.why {
            Why::Rights(_)
            | Why::Grant(_)
            | Why::NoAccount(_)
            | Why::NoAccountOfPod(_)
            | Why::NoDryRun
            | Why::Terminating => return,
            Why::Admission => match self.message.split_once(": ") {
                Some((whose, words)) => values.hide(words).map(|words| format!("{whose}: {words}")),
                None => return,
            },
            // Known values first: where the API server's quotations end is a guess.
            Why::Other if self.fields.is_empty() => {
                values.known.hide(&status.message).map(|words| without_values(&words))
            }
            Why::Other => {
                let causes = causes(status).map(|cause| cause.message.as_str());
                let hidden = self.fields.iter_mut().zip(causes).map(|(field, words)| {
                    field.fault = without_value(&values.known.hide(words)?);
                    if values.is_unknown {
                        // A rule of a CustomResourceDefinition may quote any field.
                        let kind = field.fault.find(": ").unwrap_or(field.fault.len());
                        field.fault.truncate(kind);
                    }
                    Some(())
                });
                hidden.collect::<Option<()>>().map(|()| faults(&self.fields))
            }
            // Their own names are in quotes.
            Why::PodSecurity | Why::Quota => values.known.hide(&self.message),
        };
        match hidden {
            Some(hidden) => self.message = hidden,
            None => self.without_words(),
        }
    }

    /// Returns true if the message may contain values of the objects that the call is about.
    pub(super) fn is_about_values(&self) -> bool {
        matches!(self.why, Why::Admission | Why::PodSecurity | Why::Other)
    }

    /// Removes everything that is not a fixed phrase of the API server, or a field.
    pub(super) fn without_words(&mut self) {
        match &self.why {
            Why::Rights(_)
            | Why::Grant(_)
            | Why::NoAccount(_)
            | Why::NoAccountOfPod(_)
            | Why::NoDryRun
            | Why::Quota
            | Why::Terminating => {}
            Why::Admission => {
                if let Some((whose, _)) = self.message.split_once(": ") {
                    self.message = format!("{whose} {WITHHELD}");
                }
            }
            Why::PodSecurity | Why::Other => {
                let paths: Vec<_> = self.fields.iter().map(|field| field.path.as_str()).collect();
                let code = self.code;
                self.message = match &paths[..] {
                    [] => format!("refused with {code} {WITHHELD}"),
                    _ => format!("refused with {code} for {} {WITHHELD}", paths.join(", ")),
                };
            }
        }
    }

    /// Returns the remedy, with the command.
    pub(crate) fn remedy(&self) -> Option<String> {
        match &self.why {
            Why::Rights(lack) | Why::Grant(lack) => Some(rights::remedy(&lack.user, &lack.rights)),
            Why::NoAccount(account) => {
                let (namespace, name) = account.split_once('/')?;
                Some(format!(
                    "create it: `kubectl create serviceaccount {name} -n {namespace}`, and give it what \
                     a release needs: `kubectl create rolebinding {name} -n {namespace} \
                     --clusterrole=releaselifecycle-deployer --serviceaccount={namespace}:{name}`"
                ))
            }
            Why::NoAccountOfPod(account) => {
                let (namespace, name) = account.split_once('/')?;
                Some(format!("create it: `kubectl create serviceaccount {name} -n {namespace}`"))
            }
            Why::Quota => Some(
                "raise the quota, or free some of it: `kubectl describe resourcequota` in that \
                 namespace shows what is used"
                    .to_owned(),
            ),
            Why::NoDryRun | Why::Terminating | Why::PodSecurity | Why::Admission | Why::Other => {
                None
            }
        }
    }
}

pub(super) const WITHHELD: &str =
    "(the API server's words are withheld, they may quote the Secret)";

/// Classifies a refusal, and returns the message to report.
fn read(message: &str, details: Option<&StatusDetails>) -> (Why, String) {
    let causes = details.map(|details| &details.causes[..]).unwrap_or_default();
    // The API server's own words (`NewDryRunUnsupportedErr`).
    let whose = message.strip_prefix("admission webhook \"");
    let whose = whose.and_then(|rest| rest.strip_suffix("\" does not support dry run"));
    if whose.is_some_and(|name| !name.contains('"')) {
        return (Why::NoDryRun, on_one_line(message));
    }
    if let Some(words) = admission(message) {
        return (Why::Admission, on_one_line(&words));
    }
    if let Some(lack) = rights::lacking(message) {
        return (Why::Rights(Box::new(lack)), message.to_owned());
    }
    if let Some(lack) = rights::ungrantable(message) {
        let text = ungrantable(&lack);
        return (Why::Grant(Box::new(lack)), text);
    }
    for quota in ["exceeded quota: ", "failed quota: ", "insufficient quota"] {
        if let Some(index) = message.find(quota) {
            return (Why::Quota, on_one_line(message.get(index..).unwrap_or_default()));
        }
    }
    let terminating = causes.iter().any(|cause| cause.reason == Reason::NamespaceTerminating);
    if terminating || message.contains("because it is being terminated") {
        let namespace = message.split_once(" in namespace ").map(|(_, rest)| rest);
        let namespace = namespace.and_then(|rest| rest.split_whitespace().next());
        let namespace = namespace.map_or_else(String::new, |it| format!(" {it}"));
        let text = format!("namespace{namespace} is terminating, and nothing can be created there");
        return (Why::Terminating, text);
    }
    if let Some((_, level)) = message.split_once("violates PodSecurity ") {
        return (Why::PodSecurity, on_one_line(&format!("it violates PodSecurity {level}")));
    }
    if let Some((_, rest)) = message.split_once("error looking up service account ")
        && let Some((place, _)) = rest.split_once(": ")
        && place.contains('/')
        && rest.ends_with("not found")
    {
        let text = format!("its ServiceAccount {place} does not exist");
        return (Why::NoAccountOfPod(place.to_owned()), text);
    }
    (Why::Other, without_values(message))
}

fn ungrantable(lack: &Lack) -> String {
    format!(
        "it would grant rights that {} does not have itself (attempting to grant RBAC permissions not \
         currently held): {}",
        rights::who(&lack.user),
        rights::listed(&lack.rights)
    )
}

/// Returns who denied the request, a colon, and the message of that webhook or policy, which may
/// contain anything.
fn admission(message: &str) -> Option<String> {
    if let Some((_, rest)) = message.split_once("admission webhook \"") {
        let (name, words) = rest.split_once('"')?;
        let words = words.trim_start_matches(" denied the request").trim_start_matches(": ");
        let words = if words.trim_start() == "without explanation" { "" } else { words };
        return Some(match words {
            "" => format!("admission webhook \"{name}\" denied the request"),
            words => format!("admission webhook \"{name}\" denied the request: {words}"),
        });
    }
    let index = message.find("AdmissionPolicy '")?;
    let begin = message.get(..index)?.rfind(' ').map_or(0, |space| space.saturating_add(1));
    let rest = message.get(begin..)?;
    rest.contains(" denied request").then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_webhook_that_takes_no_dry_run_refuses_nothing() {
        let message = "admission webhook \"a.example.com\" does not support dry run";
        assert_eq!(refused(400, message, &[]).why, Why::NoDryRun);
    }

    fn refused(code: u16, message: &str, causes: &[(&str, &str, &str)]) -> Refused {
        Refused::of(&status(code, message, causes))
    }

    /// A refusal of an object with these values.
    fn refused_of(status: &Status, values: &Values) -> Refused {
        let mut it = Refused::of(status);
        it.hide(status, values);
        it
    }

    fn status(code: u16, message: &str, causes: &[(&str, &str, &str)]) -> Status {
        let causes = causes.iter().map(|(reason, message, field)| StatusCause {
            reason: (*reason).to_owned(),
            message: (*message).to_owned(),
            field: (*field).to_owned(),
        });
        let details = StatusDetails {
            causes: causes.collect(),
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            retry_after_seconds: 0,
        };
        Status::failure(message, "").with_code(code).with_details(details)
    }

    fn values(objects: &[Value]) -> Values {
        let mut values = Values::default();
        for object in objects {
            values.known.add(object);
        }
        values
    }

    fn unknown() -> Values {
        Values { is_unknown: true, ..Values::default() }
    }

    fn invalid(field: &str, cause: &str) -> Refused {
        let message = format!("ConfigMap \"web\" is invalid: {field}: {cause}");
        refused(422, &message, &[("FieldValueInvalid", cause, field)])
    }

    #[test]
    fn a_quota_is_named_and_no_role_is_advised() {
        let words = "exceeded quota: counts, requested: count/secrets=1, used: count/secrets=0, \
                     limited: count/secrets=0";
        let message = format!("secrets \"sh.helm.release.v1.a.v1\" is forbidden: {words}");
        let mut it = refused(403, &message, &[]);
        assert_eq!((&it.why, &*it.message), (&Why::Quota, words));
        assert!(it.remedy().unwrap().contains("kubectl describe resourcequota"));
        it.without_words();
        assert_eq!(it.message, words, "of a Secret, too");
        let it =
            refused(403, "pods \"a\" is forbidden: failed quota: cpu: must specify limits", &[]);
        assert_eq!((it.why, &*it.message), (Why::Quota, "failed quota: cpu: must specify limits"));
    }

    #[test]
    fn each_kind_of_refusal_is_known_by_its_phrase() {
        let going = "configmaps \"a\" is forbidden: unable to create new content in namespace prod \
                     because it is being terminated";
        let it = refused(403, going, &[("NamespaceTerminating", "namespace prod is going", "")]);
        assert_eq!(it.why, Why::Terminating);
        assert_eq!(it.message, "namespace prod is terminating, and nothing can be created there");

        let level = "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": \
                     allowPrivilegeEscalation != false (container \"m\" must set it)";
        let it = refused(403, level, &[]);
        assert_eq!(it.why, Why::PodSecurity);
        assert!(it.message.starts_with("it violates PodSecurity \"restricted:latest\": allow"));

        let account = "pods \"a\" is forbidden: error looking up service account prod/worker: \
                       serviceaccount \"worker\" not found";
        let it = refused(403, account, &[]);
        assert_eq!(it.message, "its ServiceAccount prod/worker does not exist");
        let remedy = it.remedy().unwrap();
        assert_eq!(remedy, "create it: `kubectl create serviceaccount worker -n prod`");

        let right = "secrets is forbidden: User \"system:serviceaccount:prod:shop\" cannot list \
                     resource \"secrets\" in API group \"\" in the namespace \"prod\"";
        let mut it = refused(403, right, &[]);
        assert_eq!(it.message, right);
        assert!(it.remedy().unwrap().contains("kubectl create rolebinding shop -n prod"));
        it.without_account("prod", "shop");
        assert_eq!(it.message, "ServiceAccount prod/shop does not exist");
        assert!(it.remedy().unwrap().contains("`kubectl create serviceaccount shop -n prod`"));

        let other = "pods \"a\" is forbidden: no PriorityClass with name high was found";
        let it = refused(403, other, &[]);
        assert_eq!((it.remedy(), &*it.message), (None, other));
    }

    #[test]
    fn rights_that_would_be_granted_are_told_to_their_end() {
        let message = "roles.rbac.authorization.k8s.io \"m7\" is forbidden: user \
                       \"system:serviceaccount:prod:shop\" (groups=[\"a\" \"b\"]) is attempting to \
                       grant RBAC permissions not currently held:\n{APIGroups:[\"\"], \
                       Resources:[\"endpoints\"], Verbs:[\"get\" \"list\"]}";
        let mut it = refused(403, message, &[]);
        it.within(Some("prod"));
        let end = "does not have itself (attempting to grant RBAC permissions not currently held): \
                   get, list on endpoints in namespace prod";
        assert!(it.message.ends_with(end), "{}", it.message);
        assert!(it.remedy().unwrap().contains("--verb=get,list --resource=endpoints"));
    }

    #[test]
    fn a_field_is_told_with_its_fault_and_without_its_value() {
        for (field, cause, told) in [
            (
                "metadata.labels",
                "Invalid value: \"hunter2 is the \\\"password\\\"!\": a valid label must be an empty \
                 string (e.g. 'MyValue', regex is '[a-z]')",
                "metadata.labels: Invalid value: a valid label must be an empty string (e.g. \
                 'MyValue', regex is '[a-z]')",
            ),
            (
                "spec.replicas",
                "Invalid value: -4711: must be greater than or equal to 0",
                "spec.replicas: Invalid value: must be greater than or equal to 0",
            ),
            ("data[hunter2]", "Invalid value: \"hunter2\"", "data[…]: Invalid value"),
            (
                "spec.containers[0].env[12].name",
                "Invalid value: \"hunter2=x: y\": a name",
                "spec.containers[0].env[12].name: Invalid value: a name",
            ),
            (
                "spec",
                "Invalid value: core.Spec{A:\"hunter2: x\", B:7}: field is immutable",
                "spec: Invalid value: field is immutable",
            ),
            ("spec", "Invalid value: {\"a\":\"x: hunter2\"}", "spec: Invalid value"),
            ("spec", "Invalid value: 4711", "spec: Invalid value"),
            ("spec", "Invalid value: it is wrong", "spec: Invalid value: it is wrong"),
            (
                "spec.type",
                "Unsupported value: \"hunter2\": supported values: \"A\", \"B\"",
                "spec.type: Unsupported value: supported values: \"A\", \"B\"",
            ),
            ("spec.name", "Required value: it has none", "spec.name: Required value: it has none"),
            ("spec.x", "Duplicate value: \"hunter2\"", "spec.x: Duplicate value"),
            ("spec.x", "Forbidden: not with \"hunter2\"", "spec.x: Forbidden: not with \"…\""),
        ] {
            let it = invalid(field, cause);
            assert_eq!(it.message, told);
        }
        let it = invalid("spec.clusterIP", "Invalid value: \"\": field is immutable");
        assert!(it.fields[0].immutable);
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_field() {
        for (message, told) in [
            (
                "failed to create typed patch object (prod/a; apps/v1, Kind=Deployment): \
                 .spec.replicas: expected numeric (int or float), got string",
                "failed to create typed patch object (prod/a; apps/v1, Kind=Deployment): \
                 .spec.replicas: expected numeric (int or float), got string",
            ),
            (
                "failed to create typed patch object: .data.a: expected string, got \
                 &value.valueUnstructured{Value:\"hunter2\"}\n.data.b: field not declared in schema",
                "failed to create typed patch object: .data.a: expected string .data.b: field not \
                 declared in schema",
            ),
            (
                "Job in version \"v1\" cannot be handled as a Job: strict decoding error: unknown field \
                 \"spec.backofLimit\"",
                "Job in version \"v1\" cannot be handled as a Job: strict decoding error: unknown field \
                 \"spec.backofLimit\"",
            ),
            (
                "conversion webhook for a.b/v1, Kind=C failed: hunter2",
                "conversion webhook for a.b/v1, Kind=C failed",
            ),
            (
                "conversion webhook for a.b/v1, Kind=C failed: Post \"https://c\": refused",
                "conversion webhook for a.b/v1, Kind=C failed: Post \"https://c\": refused",
            ),
            (
                "parsing time \"hunter2\" as \"2006-01-02\": cannot parse \"hunter2",
                "parsing time \"…\" as \"…\": cannot parse …",
            ),
        ] {
            assert_eq!(refused(400, message, &[]).message, told);
        }
    }

    #[test]
    fn whose_policy_it_was_is_told_and_the_objects_values_are_not() {
        let policy = "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'labels' with binding \
                      'all' denied request: label license is hunter2, use team-x";
        let policy = status(422, policy, &[("", "ValidatingAdmissionPolicy 'labels' …", "")]);
        let sent = json!({"kind": "ConfigMap", "metadata": {"name": "team-x",
                          "labels": {"license": "hunter2"}}});
        let it = refused_of(&policy, &values(&[sent]));
        assert_eq!(it.why, Why::Admission);
        assert_eq!(
            it.message,
            "ValidatingAdmissionPolicy 'labels' with binding 'all' denied request: label license is \
             …, use team-x"
        );
        let webhook = "admission webhook \"check.example.com\" denied the request: image 'hunter2' \
                       isn't \"good\"";
        let mut it = refused_of(&status(400, webhook, &[]), &unknown());
        assert_eq!(
            it.message,
            "admission webhook \"check.example.com\" denied the request: image '…' isn't \"…\""
        );
        it.without_words();
        let start = "admission webhook \"check.example.com\" denied the request (the API server's";
        assert!(it.message.starts_with(start), "{}", it.message);
        let silent = "admission webhook \"a.b\" denied the request without explanation";
        let it = refused_of(&status(403, silent, &[]), &unknown());
        assert_eq!(it.message, "admission webhook \"a.b\" denied the request");
    }

    #[test]
    fn a_value_is_hidden_in_whatever_words_the_api_server_has_for_it() {
        let sent = json!({"kind": "Job", "metadata": {"name": "shop", "labels": {"app": "shop"}},
            "spec": {"backoffLimit": 73_164_921_870_u64, "runtimeClass": "hunter2",
                     "file": "a: 1\n  b:   \"hunter2\"\n"}});
        for (message, told) in [
            (
                "json: cannot unmarshal number 73164921870 into Go struct field of shop",
                "json: cannot unmarshal number … into Go struct field of shop",
            ),
            (
                "pod rejected: RuntimeClass \"hunter2\" not found",
                "pod rejected: RuntimeClass \"…\" not found",
            ),
            (
                "no PriorityClass with name hunter2 was found",
                "no PriorityClass with name … was found",
            ),
            ("conversion of b: \"hunter2\" failed", "conversion of … failed"),
            (
                "violates PodSecurity \"restricted:latest\": type hunter2 (container \"a\")",
                "it violates PodSecurity \"restricted:latest\": type … (container \"a\")",
            ),
        ] {
            let it = refused_of(&status(403, message, &[]), &values(std::slice::from_ref(&sent)));
            assert_eq!(it.message, told);
        }
        for fault in
            ["\"object\": hunter2 is no \"word\"", "\"hunter2\": a: \"hunter2 is no \"word\""]
        {
            let fault = format!("Invalid value: {fault}");
            let it = refused_of(
                &status(422, "", &[("", &fault, "spec.x")]),
                &values(std::slice::from_ref(&sent)),
            );
            assert!(!it.message.contains("hunter2"), "{}", it.message);
            assert!(it.message.starts_with("spec.x: Invalid value: "), "{}", it.message);
        }
        let all: Vec<_> = (0..20_000).map(|it| json!(format!("value {it}"))).collect();
        let it = refused_of(&status(400, "hunter2", &[]), &values(&[json!({"a": all})]));
        assert!(it.message.starts_with("refused with 400 (the API"), "{}", it.message);
    }

    #[test]
    fn items_of_lists_are_named_by_their_names_alone() {
        for (message, told) in [
            (".a[name=\"x\"].env[name=\"y\"].value", ".a[name=\"x\"].env[name=\"y\"].value"),
            (
                ".spec.ports[port=80,protocol=\"TCP\"].nodePort",
                ".spec.ports[port=…,protocol=…].nodePort",
            ),
            (".f[=\"hunter2\"] and .g[=7]", ".f[=…] and .g[=…]"),
            ("conflicts with \"x\":\n- .a[0].b\n- .c", "conflicts with \"x\":\n- .a[0].b\n- .c"),
            (".a[", ".a["),
        ] {
            assert_eq!(super::super::values::without_items(message), told);
        }
        for (path, told) in [
            ("spec.a[12].b", "spec.a[12].b"),
            ("data[a [b] {c}]", "data[…]"),
            ("a[0].labels[x.y/z]", "a[0].labels[…]"),
        ] {
            assert_eq!(without_keys(path), told);
        }
    }

    #[test]
    fn of_a_secret_only_fixed_phrases_and_fields_are_told() {
        let mut it = invalid("data[a b]", "Invalid value: \"a b\": hunter2");
        it.without_words();
        assert!(it.message.starts_with("refused with 422 for data[…] (the API"), "{}", it.message);
        let mut it = refused(400, "hunter2", &[]);
        it.without_words();
        assert!(it.message.starts_with("refused with 400 (the API server's words"));
    }
}

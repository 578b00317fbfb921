//! Objects that stand in a Secret, of which something is wrong.

use anyhow::Result;
use e2e::{Namespace, kwok, manifests::job};
use serde_json::{Value, json};

use super::{Canaries, printed, refused, releases};

fn hook(name: &str) -> Value {
    let mut hook = job(name);
    hook["metadata"]["annotations"] = json!({"helm.sh/hook": "pre-install"});
    hook
}

fn object(kind: &str, name: &str, more: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
    object
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    use e2e::manifests::Manifest as _;
    object = object.set(pointer, value);
    object
}

#[tokio::test]
async fn of_objects_that_are_wrong_by_themselves() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-parse").await?;
    let controller = namespace.controller()?;
    let mut canaries = Canaries::new();
    let mut c = |place: &str| canaries.plain(place);
    let config = |more: Value| object("ConfigMap", "a", more).to_string();
    let annotated = |annotations: Value| {
        with(object("ConfigMap", "a", json!({})), "/metadata/annotations", annotations).to_string()
    };
    let deep = format!("{}\"{}\"{}", "{\"a\":".repeat(70), c("deep"), "}".repeat(70));
    let mut cases: Vec<(&str, String)> = vec![
        ("event", annotated(json!({"helm.sh/hook": format!("pre-install,{}", c("event"))}))),
        ("weight", annotated(json!({"helm.sh/hook": "test", "helm.sh/hook-weight": c("weight")}))),
        (
            "policy",
            annotated(json!({"helm.sh/hook": "test", "helm.sh/hook-delete-policy":
                             format!("hook-failed,{}", c("policy"))})),
        ),
        ("number", annotated(json!({"a": 7_316_492_187_i64, "b": [c("no text")]}))),
        ("list", annotated(json!({"a": {"b": c("no text 2")}}))),
        (
            "resource-policy",
            [
                annotated(json!({"helm.sh/resource-policy": c("resource-policy")})),
                object("Nonsense", "x", json!({})).to_string(),
            ]
            .join("\n---\n"),
        ),
        ("generate", config(json!({"metadata": {"generateName": c("generateName")}}))),
        ("version", config(json!({"apiVersion": format!("a/{}/c", c("apiVersion"))}))),
        ("no-name", config(json!({"metadata": {}, "data": {"a": c("no name")}}))),
        ("no-kind", config(json!({"kind": null, "data": {"a": c("no kind")}}))),
        ("twice", {
            let one = config(json!({"data": {"a": c("twice")}}));
            format!("{one}\n---\n{one}")
        }),
        ("deep", config(json!({"data": {"a": 1}})).replace("\"a\":1", &format!("\"a\":{deep}"))),
        (
            "nested",
            json!({"apiVersion": "v1", "kind": "List", "items": [
                {"apiVersion": "v1", "kind": "List", "items": [config(json!({}))],
                 "metadata": {"name": "b", "annotations": {"a": c("nested")}}}]})
            .to_string(),
        ),
        ("text", c("text")),
        ("text-2", format!("- {}", c("list"))),
    ];
    for (name, text) in [
        ("yaml-1", "data: {a: @"),
        ("yaml-2", "data: [a, @"),
        ("yaml-3", "data: \"@"),
        ("yaml-4", "a: b\n @: c\n\td: e"),
        ("yaml-5", "a: *@"),
        ("yaml-6", "a: !<@> b\n%@ 1"),
        ("yaml-7", "%TAG ! @\n---\na: !@!b c"),
        ("yaml-8", "a: !!binary @!"),
        ("yaml-9", "a: &@ [*@"),
        ("yaml-10", "<<: @"),
        ("yaml-11", "@: {? [@]: @}"),
        ("yaml-12", "a: |9@\n b"),
        ("yaml-13", "a: \"\\@\""),
        ("yaml-14", "a: !!int @"),
        ("yaml-15", "a: .inf\n@: b: c"),
    ] {
        cases.push((name, text.replace('@', &c(name))));
    }
    releases(&namespace, &cases).await?;
    let said = refused(&namespace, &controller, cases.iter().map(|case| case.0)).await?;
    // The fault is named all the same.
    for part in ["unknown hook event", "helm.sh/hook-weight", "apiVersion is", "generateName is"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    let printed = printed(&namespace, cases.iter().map(|case| case.0))?;
    canaries.check(&namespace, &controller, &printed)
}

#[tokio::test]
async fn of_pods_that_are_not_secure_and_of_quotas() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-security").await?;
    let label = "pod-security.kubernetes.io/enforce=restricted";
    namespace.kubectl(&["label", "namespace", &namespace.name, label])?;
    let controller = namespace.controller()?;
    let mut canaries = Canaries::new();
    let c = &mut canaries;
    let requested = c.number("quota");
    let options = json!({"type": c.plain("type"), "user": c.plain("user")});
    let security = json!({"seLinuxOptions": options,
                          "capabilities": {"add": [c.plain("capability")]}});
    let container = json!([{"name": "main", "image": "x", "securityContext": security,
                            "ports": [{"containerPort": 4711, "hostPort": 47110}]}]);
    let sysctls = json!([{"name": "kernel.x", "value": c.plain("sysctl")}]);
    let annotated = json!({"helm.sh/hook": "pre-install", "a": c.plain("annotation")});
    let pod = with(e2e::manifests::pod("pod"), "/metadata/annotations", annotated);
    let pod = with(pod, "/spec/containers", container);
    let pod = with(pod, "/spec/securityContext", json!({"sysctls": sysctls}));
    let claim = object(
        "PersistentVolumeClaim",
        "claim",
        json!({"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": requested}}}}),
    );
    namespace.kubectl(&["create", "quota", "none", "--hard=requests.storage=1"])?;
    let is_counted =
        |quota: Option<&Value>| quota.is_some_and(|quota| !quota["status"]["hard"].is_null());
    namespace.wait_object("ResourceQuota", "none", "counted", is_counted).await?;
    releases(&namespace, &[("pod", pod.to_string()), ("claim", claim.to_string())]).await?;
    let said = refused(&namespace, &controller, ["pod", "claim"]).await?;
    for part in ["it violates PodSecurity", "container \"main\"", "exceeded quota: none"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    canaries.check(&namespace, &controller, &[])
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
async fn of_objects_that_the_api_server_refuses() -> Result<()> {
    let namespace = Namespace::new(kwok(), "canary-refused").await?;
    let controller = namespace.controller()?;
    let mut canaries = Canaries::new();
    let pods = |object: Value, pointer: &str, value: Value| {
        with(object, &format!("/spec/template/spec{pointer}"), value)
    };
    let service = |spec: Value| object("Service", "s", json!({"spec": spec}));
    let container = |more: Value| {
        let mut container = json!({"name": "main", "image": "x"});
        for (key, value) in more.as_object().into_iter().flatten() {
            container[key] = value.clone();
        }
        json!([container])
    };
    let volume = |more: Value| container(json!({"volumeMounts": [more]}));
    let c = &mut canaries;
    let number = |c: &mut Canaries, place: &str| -> Value {
        serde_json::from_str(&c.number(place)).unwrap_or_default()
    };
    let tmp: Vec<(&str, Value)> = vec![
        (
            "selector",
            service(json!({"selector": {"app": c.odd("selector")},
                                    "ports": [{"port": 80}]})),
        ),
        (
            "label",
            with(
                object("ConfigMap", "l", json!({})),
                "/metadata/labels",
                json!({"a": c.odd("label"), "b": c.lines("label")}),
            ),
        ),
        (
            "label-key",
            with(
                object("ConfigMap", "k", json!({})),
                "/metadata/labels",
                json!({c.odd("label key"): "a"}),
            ),
        ),
        (
            "annotation-key",
            with(
                object("ConfigMap", "k2", json!({})),
                "/metadata/annotations",
                json!({c.odd("annotation key"): "a"}),
            ),
        ),
        (
            "annotation-long",
            with(
                object("ConfigMap", "k3", json!({})),
                "/metadata/annotations",
                json!({"a": c.plain("long").repeat(22_000)}),
            ),
        ),
        ("data-key", object("ConfigMap", "d", json!({"data": {c.odd("data key"): "a"}}))),
        ("data-type", object("ConfigMap", "t", json!({"data": {"a": {"b": c.odd("data type")}}}))),
        ("binary", object("ConfigMap", "b", json!({"binaryData": {"a": c.odd("no base64")}}))),
        (
            "env",
            pods(
                hook("env"),
                "/containers",
                container(json!({"env": [{"name": c.odd("env name") + "=", "value": "1"}]})),
            ),
        ),
        (
            "env-from",
            pods(
                hook("env-from"),
                "/containers",
                container(json!({"env": [
            {"name": "a", "value": c.odd("env"), "valueFrom": {"fieldRef": {"fieldPath": c.odd("fieldPath")}}}]})),
            ),
        ),
        (
            "pull",
            pods(
                hook("pull"),
                "/containers",
                container(json!({"imagePullPolicy": c.odd("pull policy")})),
            ),
        ),
        (
            "cpu",
            pods(
                hook("cpu"),
                "/containers",
                container(json!({"resources": {"requests": {"cpu": c.odd("quantity")}}})),
            ),
        ),
        (
            "limit",
            pods(
                hook("limit"),
                "/containers",
                container(json!({"resources":
            {"requests": {"cpu": c.number("request")}, "limits": {"cpu": c.number("limit").get(..9)}}})),
            ),
        ),
        ("restart", pods(hook("restart"), "/restartPolicy", json!(c.odd("restart policy")))),
        (
            "mount",
            pods(
                hook("mount"),
                "/containers",
                volume(json!({"name": c.plain("volume").to_lowercase(), "mountPath": "/a"})),
            ),
        ),
        (
            "mount-path",
            pods(
                hook("mount-path"),
                "/containers",
                volume(json!({"name": "a", "mountPath": c.odd("mount path")})),
            ),
        ),
        (
            "toleration",
            pods(
                hook("toleration"),
                "/tolerations",
                json!([{"key": c.odd("toleration"), "operator": c.odd("operator")}]),
            ),
        ),
        (
            "node-selector",
            pods(hook("node-selector"), "/nodeSelector", json!({"a": c.odd("node selector")})),
        ),
        (
            "host-alias",
            pods(
                hook("host-alias"),
                "/hostAliases",
                json!([{"ip": c.odd("ip"), "hostnames": ["a"]}]),
            ),
        ),
        ("backoff", with(hook("backoff"), "/spec/backoffLimit", number(c, "int32"))),
        (
            "backoff-text",
            with(hook("backoff-text"), "/spec/backoffLimit", json!(c.odd("int32 text"))),
        ),
        ("completions", with(hook("completions"), "/spec/completionMode", json!(c.odd("mode")))),
        ("unknown", with(hook("unknown"), "/spec/backofLimit", json!(c.odd("unknown field")))),
        (
            "unknown-2",
            with(object("Service", "u", json!({})), "/spec/prots", json!(c.odd("unknown field"))),
        ),
        ("port", service(json!({"ports": [{"port": number(c, "port")}]}))),
        ("port-text", service(json!({"ports": [{"port": c.odd("port text")}]}))),
        (
            "port-name",
            service(json!({"ports": [{"port": 80, "name": c.plain("port name").repeat(4)},
                                               {"port": 81, "name": "a"}]})),
        ),
        ("port-twice", {
            let name = c.plain("port name").to_lowercase();
            service(json!({"ports": [{"port": 80, "name": name}, {"port": 81, "name": name}]}))
        }),
        ("protocol", service(json!({"ports": [{"port": 80, "protocol": c.odd("protocol")}]}))),
        ("type", service(json!({"type": c.odd("type"), "ports": [{"port": 80}]}))),
        (
            "external",
            service(json!({"type": "ExternalName", "externalName": c.odd("external name")})),
        ),
        ("ip", service(json!({"clusterIP": c.odd("cluster IP"), "ports": [{"port": 80}]}))),
        ("ips", service(json!({"externalIPs": [c.short("external IP")], "ports": [{"port": 80}]}))),
        (
            "affinity",
            service(json!({"sessionAffinity": c.short("affinity"), "ports": [{"port": 80}]})),
        ),
        ("secret-data", object("Secret", "x1", json!({"data": {"a": c.odd("Secret's data")}}))),
        (
            "secret-tls",
            object(
                "Secret",
                "x2",
                json!({"type": "kubernetes.io/tls",
                              "stringData": {"tls.crt": c.odd("Secret's text"), "tls.key": c.lines("key")}}),
            ),
        ),
        (
            "secret-config",
            object(
                "Secret",
                "x3",
                json!({"type": "kubernetes.io/dockerconfigjson",
                                 "stringData": {".dockerconfigjson": c.odd("config")}}),
            ),
        ),
        (
            "secret-type",
            object(
                "Secret",
                "x4",
                json!({"type": "kubernetes.io/service-account-token",
                               "stringData": {"a": c.odd("token")}}),
            ),
        ),
        ("secret-field", object("Secret", "x5", json!({"stringDatas": {"a": c.odd("typo")}}))),
        ("secret-key", object("Secret", "x6", json!({"stringData": {c.odd("Secret's key"): "a"}}))),
        (
            "secret-label",
            with(
                object("Secret", "x7", json!({})),
                "/metadata/labels",
                json!({"a": c.odd("Secret's label")}),
            ),
        ),
        ("name", with(hook("name"), "/metadata/namespace", json!("default"))),
    ];
    let cases: Vec<_> = tmp.into_iter().map(|(name, it)| (name, it.to_string())).collect();
    releases(&namespace, &cases).await?;
    let said = refused(&namespace, &controller, cases.iter().map(|case| case.0)).await?;
    for part in [
        "metadata.labels: Invalid value: a valid label must be",
        "spec.ports[1].name: Duplicate value",
        "unknown field \"spec.backofLimit\"",
        "supported values: \"ClusterIP\"",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    canaries.check(&namespace, &controller, &[])
}

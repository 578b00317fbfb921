//! Services that the containers of a hook seem to use: by the values of their environment and by
//! their arguments.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::needs::{items, pod_specs};
use crate::object::ObjectRef;

/// The most values of one hook that are read.
const MOST_VALUES: usize = 500;
/// The longest value that is read.
const MOST_TEXT: usize = 4096;
/// The words in the name of a variable or of a flag that has the address of a server, also in the
/// plural.
const ADDRESSES: [&str; 11] = [
    "host", "hostname", "addr", "address", "url", "uri", "server", "endpoint", "dsn", "broker",
    "upstream",
];

/// The Services of a release, by their names.
#[derive(Default)]
pub(super) struct Services<'a>(BTreeMap<&'a str, Vec<&'a ObjectRef>>);

impl<'a> FromIterator<&'a ObjectRef> for Services<'a> {
    fn from_iter<T: IntoIterator<Item = &'a ObjectRef>>(objects: T) -> Self {
        let mut found = Self::default();
        let is_service = |it: &&ObjectRef| it.group().is_empty() && it.kind == "Service";
        for service in objects.into_iter().filter(is_service) {
            let same = found.0.entry(&service.name).or_default();
            if !same.contains(&service) {
                same.push(service);
            }
        }
        found
    }
}

impl<'a> Services<'a> {
    /// Returns the Services that the Pods of `object` seem to use.
    pub(super) fn used_by(&self, object: &ObjectRef, manifest: &Value) -> BTreeSet<&'a ObjectRef> {
        let mut used = BTreeSet::new();
        if self.0.is_empty() {
            return used;
        }
        let home = object.namespace.as_deref();
        for spec in pod_specs(manifest) {
            let containers = ["initContainers", "containers"];
            for container in containers.into_iter().flat_map(|key| items(spec, key)) {
                if !makes_certificates(container) {
                    self.of_container(container, home, &mut used);
                }
            }
        }
        used
    }

    fn of_container(
        &self,
        container: &Value,
        home: Option<&str>,
        used: &mut BTreeSet<&'a ObjectRef>,
    ) {
        for env in items(container, "env").take(MOST_VALUES) {
            let text = |key: &str| env.get(key).and_then(Value::as_str);
            if let (Some(name), Some(value)) = (text("name"), text("value")) {
                used.extend(self.named(value, is_address(name), home));
            }
        }
        let arguments = ["command", "args"].into_iter().flat_map(|key| items(container, key));
        let mut before = "";
        for argument in arguments.filter_map(Value::as_str).take(MOST_VALUES) {
            let flag = argument.split_once('=').filter(|(flag, _)| flag.starts_with('-'));
            let (flag, value) = flag.unwrap_or((before, argument));
            let is_flag = flag.starts_with('-') && (is_address(flag) || flag == "-h");
            used.extend(self.named(value, is_flag, home));
            before = argument;
        }
    }

    /// Returns the Services that `value` names: as one address or, if it has several words, as the
    /// hosts of URLs. `is_address`: a name alone is an address, too.
    fn named(&self, value: &str, is_address: bool, home: Option<&str>) -> Vec<&'a ObjectRef> {
        if value.len() > MOST_TEXT {
            return Vec::new();
        }
        let is_blank = |c: char| c.is_whitespace() || "\"'`,;|&()<>".contains(c);
        let words: Vec<_> = value.split(is_blank).filter(|word| !word.is_empty()).collect();
        match &*words {
            [word] => self.address(word, is_address, home).into_iter().collect(),
            // The meaning of a word in a script is unknown.
            words => words
                .iter()
                .filter(|word| word.contains("://"))
                .filter_map(|word| self.address(word, true, home))
                .collect(),
        }
    }

    fn address(&self, word: &str, is_address: bool, home: Option<&str>) -> Option<&'a ObjectRef> {
        let (is_url, rest) = match word.split_once("://") {
            Some((_, rest)) => (true, rest),
            None => (false, word),
        };
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        let host = match host.split_once(':') {
            // The number of a user, or the version of an image, may be larger.
            Some((host, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) => host,
            Some(_) => return None,
            None => host,
        };
        let (name, domain) = host.split_once('.').map_or((host, None), |(a, b)| (a, Some(b)));
        let same = self.0.get(name)?;
        match domain {
            // A path, such as `web/config`, is none.
            None if is_url || (rest == authority && is_address) => {
                same.iter().find(|service| service.namespace.as_deref() == home).copied()
            }
            None => None,
            Some(domain) => {
                let (namespace, cluster) =
                    domain.split_once('.').map_or((domain, ""), |(a, b)| (a, b));
                let is_cluster =
                    cluster.is_empty() || cluster == "svc" || cluster.starts_with("svc.");
                let is_it = |it: &&&ObjectRef| it.namespace.as_deref() == Some(namespace);
                same.iter().find(is_it).copied().filter(|_| is_cluster)
            }
        }
    }
}

/// Returns whether a word of the name says so: a part of a word is in other words, too.
fn is_address(name: &str) -> bool {
    let name = name.to_lowercase();
    name.split(['_', '-', '.']).any(|word| {
        let one = word.strip_suffix("es").filter(|one| *one == "address");
        let one = one.or_else(|| word.strip_suffix('s').filter(|one| ADDRESSES.contains(one)));
        ADDRESSES.contains(&one.unwrap_or(word))
    })
}

/// Returns whether the container seems to make certificates: it is given the names of Services for
/// that, and connects to none.
fn makes_certificates(container: &Value) -> bool {
    let arguments = ["command", "args"].into_iter().flat_map(|key| items(container, key));
    let mut texts = container.get("image").into_iter().chain(arguments).filter_map(Value::as_str);
    texts.any(|text| text.contains("cert"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use serde_json::json;

    fn seen(container: &Value) -> Vec<String> {
        let service = |namespace: &str, name: &str| ObjectRef {
            namespace: Some(namespace.to_owned()),
            ..testing::object("Service", name)
        };
        let all = [service("prod", "db"), service("data", "cache")];
        let services: Services<'_> = all.iter().collect();
        let job =
            ObjectRef { namespace: Some("prod".to_owned()), ..testing::object("Job", "migrate") };
        let manifest = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        services.used_by(&job, &manifest).iter().map(|it| it.name.clone()).collect()
    }

    #[test]
    fn a_service_is_seen_where_only_an_address_can_stand() {
        let env = |name: &str, value: &str| json!({"env": [{"name": name, "value": value}]});
        for (container, expected) in [
            (env("DB_HOST", "db"), &["db"][..]),
            (env("DB_ADDRESS", "db:5432"), &["db"]),
            (env("BACKEND_HOSTS", "db"), &["db"]),
            (json!({"args": ["--db.endpoint", "db:65535"]}), &["db"]),
            (env("DB", "db.prod"), &["db"]),
            (env("DB", "db.prod.svc.cluster.local:5432"), &["db"]),
            (env("X", "postgres://user:word@db:5432/shop?ssl=no"), &["db"]),
            (env("X", "redis://cache.data.svc/0"), &["cache"]),
            (env("BROKERS", "http://db http://cache.data"), &["cache", "db"]),
            (json!({"args": ["--host=db"]}), &["db"]),
            (json!({"args": ["psql", "-h", "db"]}), &["db"]),
            (
                json!({"command": ["sh", "-c", "until curl -s http://db:80/; do sleep 1; done"]}),
                &["db"],
            ),
            // Anything else may be the name of something else.
            (env("RELEASE", "db"), &[]),
            (env("DB_HOST", "database"), &[]),
            (env("DB_HOST", "db.other"), &[]),
            (env("DB_HOST", "db.prod.example.com"), &[]),
            (env("CACHE_HOST", "cache"), &[]),
            (env("PATH_URL", "db/config"), &[]),
            (env("PAIR", "db:name"), &[]),
            (env("SECURITY_REALM", "db"), &[]),
            (env("GHOST_APP", "db"), &[]),
            (env("IMAGE", "db:7"), &[]),
            (env("DB_HOST", "db:0"), &[]),
            (env("DB_HOST", "db:65536"), &[]),
            (json!({"args": ["--observer", "db"]}), &[]),
            (json!({"command": ["chown", "db:1000", "/data"]}), &[]),
            (json!({"command": ["db"], "args": ["db", "--name=db", "--", "db"]}), &[]),
            (json!({"command": ["sh", "-c", "echo db.prod"]}), &[]),
            (json!({"args": ["--host=db.prod.svc"], "image": "kube-webhook-certgen"}), &[]),
            (json!({"env": "none", "args": [7]}), &[]),
        ] {
            assert_eq!(seen(&container), expected, "{container}");
        }
    }
}

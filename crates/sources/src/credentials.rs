//! The credentials for a server, from the Secrets that the spec names. They are read as the tenant,
//! handed to the engine, and never shown: messages name keys, never their values.

use api::{ObjectsFromKind, SecretReference, Verification, VerificationProvider};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use engine::protocol::{Credentials, File, Verify};
use lifecycle::{object::ObjectRef, reason::Reason};
use manifests::json;
use serde_json::{Map, Value};

use crate::{
    holders::holder,
    problems::{Blocked, Error},
    reads::Reads,
};

/// The key of a Secret of type `kubernetes.io/dockerconfigjson`.
const DOCKER_CONFIG: &str = ".dockerconfigjson";

/// The fields of the spec that name Secrets, of one chart.
pub(super) struct Named<'a> {
    /// `spec.source.chart.oci`.
    pub(super) field: &'static str,
    pub(super) secret: Option<&'a SecretReference>,
    pub(super) certificates: Option<&'a SecretReference>,
    pub(super) verify: Option<&'a Verification>,
    /// The registry, for a Secret that has several: `registry.example/charts/shop`.
    pub(super) registry: Option<&'a str>,
}

/// Reads the credentials; `None` if none are named.
pub(super) async fn read<R: Reads>(
    reads: &R,
    namespace: &str,
    named: &Named<'_>,
) -> Result<Option<Credentials>, Error<R::Error>> {
    let mut credentials = Credentials::default();
    if let Some(secret) = named.secret {
        let place = format!("{}.secretRef (Secret/{})", named.field, secret.name);
        let held = Held::read(reads, namespace, &secret.name, place).await?;
        (credentials.username, credentials.password) = held.login(named.registry)?;
    }
    if let Some(secret) = named.certificates {
        let place = format!("{}.certSecretRef (Secret/{})", named.field, secret.name);
        let held = Held::read(reads, namespace, &secret.name, place).await?;
        held.certificates(&mut credentials)?;
    }
    Ok(Some(credentials).filter(|it| *it != Credentials::default()))
}

/// Reads the keys of those who may have signed the chart; `None` if nobody has to.
pub(super) async fn verification<R: Reads>(
    reads: &R,
    namespace: &str,
    named: &Named<'_>,
) -> Result<Option<Verify>, Error<R::Error>> {
    let Some(Verification { provider, secret_ref }) = named.verify else { return Ok(None) };
    let place = format!("{}.verify.secretRef (Secret/{})", named.field, secret_ref.name);
    let held = Held::read(reads, namespace, &secret_ref.name, place).await?;
    Ok(Some(Verify { provider: provider.as_str(), files: held.keys_of(*provider)? }))
}

/// Returns what a key of a Secret holds.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    STANDARD.decode(value.as_str()?).ok()
}

/// A Secret's data.
struct Held {
    place: String,
    object: ObjectRef,
    data: Map<String, Value>,
}

impl Held {
    async fn read<R: Reads>(
        reads: &R,
        namespace: &str,
        name: &str,
        place: String,
    ) -> Result<Self, Error<R::Error>> {
        let kind = ObjectsFromKind::Secret;
        let (object, mut live) = holder(reads, namespace, (kind, name), &place).await?;
        let data = match json::take(&mut live, "data") {
            Value::Object(data) => data,
            _ => Map::new(),
        };
        Ok(Self { place, object, data })
    }

    /// Returns the user name and the password.
    fn login(&self, registry: Option<&str>) -> Result<(String, String), Blocked> {
        if let Some(registry) = registry
            && let Some(config) = self.text(DOCKER_CONFIG)?
        {
            let entry = serde_json::from_str(&config).ok();
            let entry = entry.as_ref().and_then(|config| entry_of(config, registry));
            let host = registry.split('/').next().unwrap_or(registry);
            let entry = entry.ok_or_else(|| {
                self.wrong(&format!(
                    "key {DOCKER_CONFIG} has no entry for {host} under auths; add one, as `kubectl \
                     create secret docker-registry` makes it"
                ))
            })?;
            return login_of(entry).ok_or_else(|| {
                self.wrong(&format!(
                    "key {DOCKER_CONFIG}: the entry for {host} has neither a username and a \
                     password nor an auth that holds both"
                ))
            });
        }
        if let (Some(username), Some(password)) = (self.text("username")?, self.text("password")?) {
            return Ok((username, password));
        }
        let or = if registry.is_some() { format!(" or {DOCKER_CONFIG}") } else { String::new() };
        Err(self.lacks(&format!("username and password{or}")))
    }

    fn certificates(&self, credentials: &mut Credentials) -> Result<(), Blocked> {
        let of = |key| self.text(key).map(Option::unwrap_or_default);
        credentials.ca = of("ca.crt")?;
        credentials.cert = of("tls.crt")?;
        credentials.key = of("tls.key")?;
        if credentials.cert.is_empty() != credentials.key.is_empty() {
            return Err(self.lacks("tls.crt and tls.key, both or none"));
        }
        if credentials.ca.is_empty() && credentials.cert.is_empty() {
            return Err(self.lacks("ca.crt, or tls.crt and tls.key"));
        }
        Ok(())
    }

    /// Returns what this provider verifies with, and nothing else: a Secret that cosign has made
    /// holds the private key, too.
    fn keys_of(&self, provider: VerificationProvider) -> Result<Vec<File>, Blocked> {
        const POLICY: &str = "trustpolicy.json";
        let (endings, wanted): (&[_], _) = match provider {
            VerificationProvider::Cosign => (&[".pub"], "*.pub"),
            VerificationProvider::Notation => {
                (&[".crt", ".pem"], "trustpolicy.json and *.crt or *.pem")
            }
            VerificationProvider::Helm => (&[".gpg", ".asc"], "*.gpg or *.asc"),
        };
        let is_key = |name: &str| endings.iter().any(|ending| name.ends_with(ending));
        let is_notation = provider == VerificationProvider::Notation;
        let has_policy = self.data.contains_key(POLICY);
        if (is_notation && !has_policy) || !self.data.keys().any(|name| is_key(name)) {
            return Err(self.lacks(wanted));
        }
        let used =
            self.data.iter().filter(|(name, _)| is_key(name) || (is_notation && *name == POLICY));
        used.map(|(name, value)| {
            let data =
                bytes(value).ok_or_else(|| self.wrong(&format!("key {name} is not base64")))?;
            Ok(File { name: name.clone(), data })
        })
        .collect()
    }

    fn text(&self, key: &str) -> Result<Option<String>, Blocked> {
        let Some(value) = self.data.get(key) else { return Ok(None) };
        let text = bytes(value).and_then(|bytes| String::from_utf8(bytes).ok());
        text.map(Some).ok_or_else(|| self.wrong(&format!("key {key} is not text in UTF-8")))
    }

    fn lacks(&self, keys: &str) -> Blocked {
        let mut there: Vec<_> = self.data.keys().map(String::as_str).collect();
        there.truncate(10);
        let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
        let Self { place, object, .. } = self;
        let message = format!("{place}: {object} needs the keys {keys} (there: {there}); add them");
        Blocked::new(Reason::SourceNotFound, message)
    }

    fn wrong(&self, what: &str) -> Blocked {
        Blocked::new(Reason::InvalidSource, format!("{}: {}", self.place, what))
    }
}

/// Returns the entry of `auths` for this registry: the one that matches most of the path, as the
/// kubelet chooses.
fn entry_of<'a>(config: &'a Value, registry: &str) -> Option<&'a Value> {
    let named = |name: &str| {
        let name = name.strip_prefix("https://").or(name.strip_prefix("http://")).unwrap_or(name);
        let name = name.trim_end_matches('/');
        // The form that Docker itself writes.
        let name = name.strip_suffix("/v1").or(name.strip_suffix("/v2")).unwrap_or(name).to_owned();
        if name == "index.docker.io" { "docker.io".to_owned() } else { name }
    };
    // The name under which Docker Hub serves; those of other registries are their own.
    let hub = registry.strip_prefix("registry-1.docker.io");
    let hub = hub.filter(|path| path.is_empty() || path.starts_with('/'));
    let hub = hub.map(|path| format!("docker.io{path}"));
    let registry = hub.as_deref().unwrap_or(registry);
    let fits = |name: &str| {
        registry.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let auths = config.get("auths")?.as_object()?;
    let fitting = auths.iter().map(|(name, entry)| (named(name), entry));
    let best = fitting.filter(|(name, _)| fits(name)).max_by_key(|(name, _)| name.len());
    best.map(|(_, entry)| entry)
}

fn login_of(entry: &Value) -> Option<(String, String)> {
    let of = |key: &str| Some(entry.get(key)?.as_str()?.to_owned());
    if let (Some(username), Some(password)) = (of("username"), of("password")) {
        return Some((username, password));
    }
    let auth = String::from_utf8(STANDARD.decode(of("auth")?).ok()?).ok()?;
    let (username, password) = auth.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn held(data: &[(&str, &str)]) -> Held {
        let encoded =
            data.iter().map(|(key, text)| ((*key).to_owned(), Value::from(STANDARD.encode(text))));
        Held {
            place: "spec.source.chart.oci.secretRef (Secret/login)".to_owned(),
            object: ObjectRef {
                api_version: "v1".to_owned(),
                kind: "Secret".to_owned(),
                namespace: Some("shop".to_owned()),
                name: "login".to_owned(),
            },
            data: encoded.collect(),
        }
    }

    fn pair(username: &str, password: &str) -> (String, String) {
        (username.to_owned(), password.to_owned())
    }

    #[test]
    fn a_docker_config_gives_what_is_meant_for_the_registry() {
        let config = json!({"auths": {
            "registry.example": {"auth": STANDARD.encode("host:a:b")},
            "https://registry.example/charts/": {"username": "path", "password": "p"},
            "registry.example:5000": {"username": "port", "password": "p"},
            "https://index.docker.io/v1/": {"username": "hub", "password": "p"},
            "empty.example": {},
        }})
        .to_string();
        let held = held(&[(DOCKER_CONFIG, &config)]);
        let login = |registry| held.login(Some(registry)).ok();
        assert_eq!(login("registry.example/shop"), Some(pair("host", "a:b")));
        assert_eq!(login("registry.example/charts/shop"), Some(pair("path", "p")));
        assert_eq!(login("registry.example/chartsmore/shop"), Some(pair("host", "a:b")));
        assert_eq!(login("registry.example:5000/shop"), Some(pair("port", "p")));
        assert_eq!(login("registry-1.docker.io/charts/shop"), Some(pair("hub", "p")));
        for without in [
            "registry-1.registry.example/shop",
            "registry-1.docker.io.evil/a",
            "registry.example.evil/shop",
            "other/registry.example",
            "empty.example/a",
        ] {
            assert_eq!(login(without), None, "{without}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_of_what_is_there() {
        let cases = [
            held(&[("username", "u"), ("pass", "hidden")]).login(None),
            held(&[(DOCKER_CONFIG, "{\"auths\": \"hidden\"}")]).login(Some("a.example/b")),
            held(&[(DOCKER_CONFIG, "{hidden")]).login(Some("a.example/b")),
            // It is for registries only.
            held(&[(DOCKER_CONFIG, "{}")]).login(None),
            held(&[("tls.crt", "hidden")])
                .certificates(&mut Credentials::default())
                .map(|()| pair("", "")),
            held(&[]).certificates(&mut Credentials::default()).map(|()| pair("", "")),
        ];
        let texts = cases.map(|case| case.unwrap_err().to_string());
        for text in &texts {
            assert!(!text.contains("hidden") && text.contains("Secret/login"), "{text}");
        }
        assert!(texts[0].contains("username and password (there: pass, username)"), "{}", texts[0]);
        assert!(texts[1].contains("no entry for a.example"), "{}", texts[1]);
        assert!(texts[5].contains("ca.crt, or tls.crt and tls.key (there: none)"), "{}", texts[5]);
    }

    #[test]
    fn only_public_keys_are_used_to_verify() {
        use VerificationProvider::{Cosign, Helm, Notation};
        let held = held(&[
            ("cosign.key", "hidden"),
            ("cosign.password", "hidden"),
            ("cosign.pub", "key"),
            ("old.pub", "old"),
            ("ca.crt", "ca"),
            ("trustpolicy.json", "{}"),
        ]);
        let names = |provider| {
            let files = held.keys_of(provider).unwrap();
            files.into_iter().map(|file| file.name).collect::<Vec<_>>()
        };
        assert_eq!(names(Cosign), ["cosign.pub", "old.pub"]);
        assert_eq!(names(Notation), ["ca.crt", "trustpolicy.json"]);
        let lacks = |held: Held, provider| held.keys_of(provider).err().unwrap().to_string();
        let text = lacks(held, Helm);
        assert!(text.contains("needs the keys *.gpg or *.asc (there: ca.crt"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
        for only in ["ca.crt", "trustpolicy.json"] {
            let text = lacks(super::tests::held(&[(only, "x")]), Notation);
            assert!(text.contains("needs the keys trustpolicy.json and *.crt or *.pem"), "{text}");
        }
    }

    #[test]
    fn certificates_are_taken_as_they_are() {
        let mut credentials = Credentials::default();
        held(&[("ca.crt", "CA")]).certificates(&mut credentials).unwrap();
        assert_eq!((credentials.ca.as_str(), credentials.key.as_str()), ("CA", ""));
    }
}

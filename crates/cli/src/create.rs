//! `create`: a ReleaseLifecycle from manifests.

pub(crate) mod package;

use api::names::SOURCE_OF_LABEL;
use lifecycle::source::{Author, Desired};
use manifests::placed::Placed;
use serde_json::Value;

use self::package::{Options, Package, package};
use crate::{Outcome, args::Create, files, format, refuse, screen};

pub(crate) fn create(args: &Create) -> anyhow::Result<Outcome> {
    let files::Read { objects, mut problems } = files::read(&args.files)?;
    problems.extend(names(args));
    problems.extend(objects.iter().filter_map(|object| itself(object, &args.name)));
    // As the controller reads them; objects without a namespace are all in one.
    let namespace = args.namespace.as_deref().unwrap_or_default();
    let mut remarks = Vec::new();
    match Desired::parse(&objects, namespace, Author::User) {
        Ok(desired) => remarks.extend(desired.remarks.iter().map(|it| format!("warning: {it}"))),
        Err(errors) => problems.extend(errors.iter().map(ToString::to_string)),
    }
    if !problems.is_empty() {
        return refuse(&problems);
    }
    let options = Options {
        name: &args.name,
        namespace: args.namespace.as_deref(),
        source_name: args.source_name.clone().unwrap_or_else(|| format!("{}-source", args.name)),
        spec: package::spec(args),
        exact: false,
    };
    match package(&options, &objects) {
        Ok(Package { documents, notes }) => {
            let notes = remarks.iter().chain(&notes);
            screen::complain(&notes.map(|note| format!("{note}\n")).collect::<String>())?;
            screen::write(&format::stream(&documents))?;
            Ok(Outcome::Good)
        }
        Err(problems) => refuse(&problems),
    }
}

/// Returns the errors for given names that the API server would refuse.
fn names(args: &Create) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |what: &str, name: &str, most: usize| {
        if !is_name(name) {
            problems.push(format!(
                "{what} {name:?}: use lower-case letters, digits, '-' and '.', and begin and end \
                 with a letter or a digit"
            ));
        } else if name.len() > most {
            let length = name.len();
            problems.push(format!("{what} {name:?} has {length} characters, of at most {most}"));
        }
    };
    check("the name", &args.name, 63);
    match &args.release_name {
        Some(release) => check("--release-name", release, 53),
        None if args.name.len() > 53 => problems.push(format!(
            "the name {:?} has {} characters, and Helm takes release names of at most 53: shorten \
             it, or give --release-name",
            args.name,
            args.name.len()
        )),
        None => {}
    }
    let mut check = |what: &str, name: &Option<String>, most: usize| {
        if let Some(name) = name.as_ref().filter(|name| !is_name(name) || name.len() > most) {
            problems.push(format!("{what} {name:?} is no name of an object"));
        }
    };
    check("--namespace", &args.namespace, 63);
    check("--service-account", &args.service_account, 253);
    // A hash follows.
    check("--source-name", &args.source_name, 242);
    problems
}

/// Returns whether it is a DNS subdomain.
pub(crate) fn is_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    name.split('.').all(|part| {
        !part.is_empty()
            && part.chars().all(inner)
            && !part.starts_with('-')
            && !part.ends_with('-')
    })
}

/// Reports the output of an earlier `create` among its input.
fn itself(object: &Placed, name: &str) -> Option<String> {
    let Placed { place, manifest } = object;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, own) = (text(&manifest["kind"]), text(&manifest["metadata"]["name"]));
    if kind == "ReleaseLifecycle" && own == name {
        return Some(format!(
            "{place}: this is ReleaseLifecycle/{name} itself; keep it apart from its objects"
        ));
    }
    // The release would come to contain its own source, too.
    (text(&manifest["metadata"]["labels"][SOURCE_OF_LABEL]) == name).then(|| {
        format!(
            "{place}: {kind}/{own} holds the source of ReleaseLifecycle/{name}, by its label \
             {SOURCE_OF_LABEL}; keep it apart from the objects"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_create_wrote_is_not_taken_for_an_object_of_the_release() {
        let placed = |manifest| Placed { place: "a.yaml line 1".to_owned(), manifest };
        let release = json!({"kind": "ReleaseLifecycle", "metadata": {"name": "shop"}});
        let labels = json!({SOURCE_OF_LABEL: "shop"});
        let holder = json!({"kind": "Secret", "metadata": {"name": "s", "labels": labels}});
        for manifest in [release, holder] {
            let object = placed(manifest);
            let problem = itself(&object, "shop").unwrap();
            assert!(problem.contains("keep it apart from"), "{problem}");
            assert_eq!(itself(&object, "other"), None);
        }
        assert_eq!(itself(&placed(json!({"kind": "Secret"})), "shop"), None);
    }

    #[test]
    fn names_are_those_that_the_api_server_takes() {
        for name in ["shop", "shop-1", "a.b", "1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "Shop", "-a", "a-", "a..b", "a_b", "ä", "a."] {
            assert!(!is_name(name), "{name}");
        }
    }
}

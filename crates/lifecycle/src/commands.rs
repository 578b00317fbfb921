//! The commands by which a person decides how an operation continues, ready to be pasted into a
//! shell.

use std::collections::BTreeMap;

use crate::object::ObjectRef;

/// Returns the commands that delete `objects`, one for each namespace.
pub fn delete(objects: &[ObjectRef]) -> String {
    let mut names: BTreeMap<Option<&str>, Vec<String>> = BTreeMap::new();
    for object in objects {
        let group = match object.group() {
            "" => String::new(),
            group => format!(".{group}"),
        };
        let name = format!("{}{group}/{}", object.kind.to_lowercase(), object.name);
        names.entry(object.namespace.as_deref()).or_default().push(name);
    }
    let commands = names.into_iter().map(|(namespace, names)| {
        let place = namespace.map_or(String::new(), |namespace| format!(" -n {namespace}"));
        format!("`kubectl delete {}{place}`", names.join(" "))
    });
    commands.collect::<Vec<_>>().join(", ")
}

/// The commands for one custom resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Commands {
    /// The namespace of the custom resource.
    pub namespace: String,
    /// The name of the custom resource.
    pub name: String,
}

impl Commands {
    /// Resumes the operation where it failed, or is blocked.
    pub fn retry(&self) -> String {
        self.command("retry", "")
    }

    /// Starts again from the beginning, with every hook.
    pub fn restart(&self) -> String {
        self.command("retry", " --restart")
    }

    /// Shows the log of a hook.
    pub fn logs(&self, hook: &str) -> String {
        self.command("logs", &format!(" {hook}"))
    }

    /// Continues without the hooks that block it.
    pub fn skip(&self) -> String {
        self.command("skip", "")
    }

    /// Stops the running operation.
    pub fn cancel(&self) -> String {
        self.command("cancel", "")
    }

    /// Approves the plan whose digest begins so.
    pub fn approve(&self, digest: &str) -> String {
        self.command("approve", &format!(" {digest}"))
    }

    /// Shows the release.
    pub fn status(&self) -> String {
        self.command("status", "")
    }

    /// Runs the tests.
    pub fn test(&self) -> String {
        self.command("test", "")
    }

    fn command(&self, verb: &str, flags: &str) -> String {
        let Self { namespace, name } = self;
        format!("`kubectl lifecycle {verb} {name} -n {namespace}{flags}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_deleted_by_group_and_namespace() {
        let object =
            |api_version: &str, kind: &str, namespace: Option<&str>, name: &str| ObjectRef {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                namespace: namespace.map(str::to_owned),
                name: name.to_owned(),
            };
        let objects = [
            object("v1", "Secret", Some("prod"), "key"),
            object("rbac.authorization.k8s.io/v1", "ClusterRole", None, "all"),
            object("v1", "PersistentVolumeClaim", Some("prod"), "data"),
        ];
        assert_eq!(
            delete(&objects),
            "`kubectl delete clusterrole.rbac.authorization.k8s.io/all`, \
             `kubectl delete secret/key persistentvolumeclaim/data -n prod`"
        );
    }

    #[test]
    fn a_command_names_the_object_and_its_namespace() {
        let commands = Commands { namespace: "prod".to_owned(), name: "shop".to_owned() };
        assert_eq!(commands.retry(), "`kubectl lifecycle retry shop -n prod`");
        assert_eq!(commands.restart(), "`kubectl lifecycle retry shop -n prod --restart`");
        assert_eq!(commands.skip(), "`kubectl lifecycle skip shop -n prod`");
        assert_eq!(commands.cancel(), "`kubectl lifecycle cancel shop -n prod`");
    }
}

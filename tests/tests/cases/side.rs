//! One program that runs a script in a namespace of its own.

use anyhow::{Context, Result};
use e2e::{Namespace, kwok};
use serde_json::{Value, json};

use crate::{
    end,
    helm_side::Helm,
    log::{self, Log},
    operator_side::Operator,
    program::Program,
    script::{Act, Action, NAMESPACE, RELEASE, Script, Sight, Step},
};

/// How a command ended.
pub(crate) enum Ended {
    Ok,
    /// With all that was said about it.
    Failed(String),
    /// By a signal.
    Killed,
    /// The API server did not take what was asked for.
    Refused(String),
}

/// Either program.
enum Actor {
    Helm(Helm),
    Operator(Operator),
}

struct Side<'a> {
    namespace: Namespace,
    actor: Actor,
    log: &'a Log,
    lines: Vec<String>,
}

/// The transcript of `script` as `program` runs it.
pub(crate) async fn run(
    program: Program,
    script: Script,
    prefix: &str,
    log: &Log,
) -> Result<Vec<String>> {
    let namespace = Namespace::new(kwok(), &format!("{prefix}-{}", program.name())).await?;
    if script.admin {
        make_admin(&namespace)?;
    }
    let actor = match program {
        Program::Operator => Actor::Operator(Operator::new(&namespace, &script)?),
        _ => Actor::Helm(Helm::new(program, &script)),
    };
    let mut side = Side { namespace, actor, log, lines: Vec::new() };
    for step in &script.steps {
        let place = format!("{} in {}", program.name(), side.namespace.name);
        side.step(step).await.with_context(|| place)?;
    }
    side.end().await
}

/// What Helm's user may do, the tenant may as well.
fn make_admin(namespace: &Namespace) -> Result<()> {
    let name = &namespace.name;
    namespace.cluster().apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": name}],
    }).to_string())
}

impl Side<'_> {
    async fn step(&mut self, step: &Step) -> Result<()> {
        let Some(word) = step.action.word() else { return self.somebody(&step.action).await };
        let name = self.namespace.name.clone();
        let text = |objects: &Vec<Value>| -> Result<Vec<Value>> {
            let text = serde_json::to_string(objects)?.replace(NAMESPACE, &name);
            Ok(serde_json::from_str(&text)?)
        };
        let objects = match &step.action {
            Action::Install(objects) | Action::Upgrade(objects) => text(objects)?,
            _ => Vec::new(),
        };
        self.begin(step, &objects).await.with_context(|| format!("begin to {word}"))?;
        let mut other = None;
        if let Some(meanwhile) = &step.meanwhile {
            self.see(meanwhile.seen).await?;
            let (kind, name) = (meanwhile.seen.kind, meanwhile.seen.name);
            match &meanwhile.act {
                Act::Delete => {
                    self.namespace.kubectl(&["delete", kind, name, "--wait=false"])?;
                }
                Act::Signal(signal) => self.signal(signal)?,
                Act::Upgrade(objects) => {
                    let ended = self.also("upgrade", step.release, &text(objects)?).await?;
                    other = Some(line("  meanwhile upgrade", step.release, &step.says, &ended));
                }
                Act::Install(release, objects) => {
                    let ended = self.also("install", release, &text(objects)?).await?;
                    other = Some(line("  meanwhile install", release, &step.says, &ended));
                }
            }
        }
        let ended = self.ended(step).await.with_context(|| format!("{word}, to its end"))?;
        self.lines.push(line(word, step.release, &step.says, &ended));
        self.lines.extend(other);
        let did = self.log.take(&self.namespace.name)?;
        let did = did.iter().filter_map(|event| log::line(event, &self.namespace.name));
        self.lines.extend(did);
        Ok(())
    }

    async fn begin(&mut self, step: &Step, objects: &[Value]) -> Result<()> {
        match &mut self.actor {
            Actor::Helm(helm) => helm.begin(&self.namespace, step, objects),
            Actor::Operator(operator) => operator.begin(&self.namespace, step, objects).await,
        }
    }

    async fn ended(&mut self, step: &Step) -> Result<Ended> {
        match &mut self.actor {
            Actor::Helm(helm) => helm.ended().await,
            Actor::Operator(operator) => operator.ended(&self.namespace, step).await,
        }
    }

    fn signal(&mut self, signal: &str) -> Result<()> {
        match &mut self.actor {
            Actor::Helm(helm) => helm.signal(signal),
            Actor::Operator(operator) => operator.signal(&self.namespace, signal),
        }
    }

    /// Another command, while the one of a step goes on.
    async fn also(&mut self, word: &str, release: &str, objects: &[Value]) -> Result<Ended> {
        match &mut self.actor {
            Actor::Helm(helm) => helm.also(&self.namespace, word, release, objects).await,
            Actor::Operator(operator) => operator.also(&self.namespace, release, objects).await,
        }
    }

    async fn somebody(&self, action: &Action) -> Result<()> {
        let name = &self.namespace.name;
        match action {
            Action::Kubectl(args) => {
                let args: Vec<_> = args.iter().map(|arg| arg.replace(NAMESPACE, name)).collect();
                let args: Vec<_> = args.iter().map(String::as_str).collect();
                self.namespace.kubectl(&args).map(drop)
            }
            Action::Apply(object) => {
                let text = object.to_string().replace(NAMESPACE, name);
                self.namespace.cluster().apply(&text)
            }
            Action::Wait(sight) => self.see(*sight).await,
            _ => Ok(()),
        }
    }

    async fn see(&self, sight: Sight) -> Result<()> {
        let Sight { kind, name, what, is } = sight;
        self.namespace.wait_object(kind, name, what, is).await.map(drop)
    }

    async fn end(self) -> Result<Vec<String>> {
        let mut lines = self.lines;
        lines.extend(end::lines(&self.namespace).await?);
        Ok(lines.iter().map(|line| normal(line, &self.namespace.name)).collect())
    }
}

/// `upgrade: failed, says "already exists"`
fn line(word: &str, release: &str, says: &[&str], ended: &Ended) -> String {
    let release = if release == RELEASE { String::new() } else { format!(" {release}") };
    let (how, text) = match ended {
        Ended::Ok => ("ok", ""),
        Ended::Failed(text) => ("failed", text.as_str()),
        Ended::Killed => ("killed", ""),
        Ended::Refused(text) => ("refused", text.as_str()),
    };
    let said: Vec<_> =
        says.iter().filter(|it| text.contains(**it)).map(|it| format!("{it:?}")).collect();
    let said = if said.is_empty() { String::new() } else { format!(", says {}", said.join(", ")) };
    format!("{word}{release}: {how}{said}")
}

/// The same for every namespace, and for every name that the API server made up.
fn normal(line: &str, namespace: &str) -> String {
    let line = line.replace(namespace, NAMESPACE);
    let Some((head, tail)) = line.split_once("generated-") else { return line };
    let tail = tail.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
    format!("{head}generated-…{tail}")
}

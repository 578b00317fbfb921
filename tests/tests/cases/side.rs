//! One program that runs a script in a namespace of its own.

use anyhow::{Context, Result, ensure};
use e2e::{AuditLog, Namespace, kwok};
use serde_json::{Value, json};

use crate::{
    end,
    helm_side::Helm,
    log,
    operator_side::Operator,
    program::Program,
    script::{Act, Action, By, Meanwhile, NAMESPACE, RELEASE, Script, Sight, Step},
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
    /// Who does the present step, if not the actor.
    other: Option<Helm>,
    script: &'a Script,
    log: &'a AuditLog,
    lines: Vec<String>,
    said: Vec<String>,
}

/// The deeds and the output of a program.
pub(crate) struct Ran {
    pub(crate) program: Program,
    /// The transcript.
    pub(crate) lines: Vec<String>,
    /// The report on each failure, for people alone.
    pub(crate) said: Vec<String>,
}

/// Has `program` run `script`.
pub(crate) async fn run(
    program: Program,
    script: Script,
    prefix: &str,
    log: &AuditLog,
) -> Result<Ran> {
    let namespace = Namespace::new(kwok(), &format!("{prefix}-{}", program.name())).await?;
    if script.admin {
        make_admin(&namespace)?;
    }
    let actor = match program {
        Program::Operator => Actor::Operator(Operator::new(&namespace, &script)?),
        _ => Actor::Helm(Helm::new(program, &script)),
    };
    let mut side = Side {
        namespace,
        actor,
        other: None,
        script: &script,
        log,
        lines: Vec::new(),
        said: Vec::new(),
    };
    for step in &script.steps {
        let place = format!("{} in {}", program.name(), side.namespace.name);
        side.step(step).await.with_context(|| place)?;
    }
    let lines = side.end().await?;
    Ok(Ran { program, lines, said: side.said })
}

/// Returns what Helm's user may do, the tenant may as well.
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
        let objects = match &step.action {
            Action::Install(objects) | Action::Upgrade(objects) => self.placed(objects)?,
            _ => Vec::new(),
        };
        self.other = self.other(step.by);
        self.begin(step, &objects).await.with_context(|| format!("begin to {word}"))?;
        let other = match &step.meanwhile {
            Some(meanwhile) => self.meanwhile(step, meanwhile).await?,
            None => None,
        };
        let ended = self.ended(step).await.with_context(|| format!("{word}, to its end"))?;
        if let Ended::Failed(text) | Ended::Refused(text) = &ended {
            self.said.push(format!("{word}: {}", text.trim()));
        }
        self.lines.push(line(word, step.release, &step.says, &ended));
        self.lines.extend(other);
        let did = self.log.take(|event| log::concerns(event, &self.namespace.name))?;
        let did = did.iter().filter_map(|event| log::line(event, &self.namespace.name));
        let mut did: Vec<_> = did.collect();
        if step.unordered {
            did.sort();
        }
        self.lines.append(&mut did);
        Ok(())
    }

    /// Does what belongs into the step, and lets its hook end. The line for another command.
    async fn meanwhile(&mut self, step: &Step, meanwhile: &Meanwhile) -> Result<Option<String>> {
        self.see(meanwhile.seen).await?;
        let Sight { kind, name, .. } = meanwhile.seen;
        let (word, release, objects) = match &meanwhile.act {
            Act::Delete => {
                self.namespace.kubectl(&["delete", kind, name, "--wait=false"])?;
                return Ok(None);
            }
            Act::Signal(signal) => {
                self.signal(signal)?;
                self.namespace.let_end(name).await?;
                return Ok(None);
            }
            Act::Upgrade(objects) => ("upgrade", step.release, self.placed(objects)?),
            Act::Install(release, objects) => ("install", *release, self.placed(objects)?),
        };
        let ended = match &mut self.actor {
            Actor::Helm(helm) => {
                let ended = helm.also(&self.namespace, word, release, &objects).await?;
                self.namespace.let_end(name).await?;
                ended
            }
            // It may have to wait for its turn.
            Actor::Operator(operator) => {
                operator.apply(&self.namespace, release, &objects, &json!({})).await?;
                self.namespace.let_end(name).await?;
                operator.until_settled(&self.namespace, release).await?
            }
        };
        Ok(Some(line(&format!("  meanwhile {word}"), release, &step.says, &ended)))
    }

    /// With the side's own namespace.
    fn placed(&self, objects: &[Value]) -> Result<Vec<Value>> {
        let text = serde_json::to_string(objects)?.replace(NAMESPACE, &self.namespace.name);
        Ok(serde_json::from_str(&text)?)
    }

    fn other(&self, by: By) -> Option<Helm> {
        let program = match (by, &self.actor) {
            (By::Side, _) | (By::Helm, Actor::Helm(_)) => return None,
            (By::Helm, Actor::Operator(_)) => Program::Helm4,
            (By::Helm3, _) => Program::Helm3,
        };
        Some(Helm::new(program, self.script))
    }

    async fn begin(&mut self, step: &Step, objects: &[Value]) -> Result<()> {
        match (&mut self.other, &mut self.actor) {
            (Some(helm), _) | (None, Actor::Helm(helm)) => {
                helm.begin(&self.namespace, step, objects)
            }
            (None, Actor::Operator(operator)) => {
                operator.begin(&self.namespace, step, objects).await
            }
        }
    }

    async fn ended(&mut self, step: &Step) -> Result<Ended> {
        match (&mut self.other, &mut self.actor) {
            (Some(helm), _) | (None, Actor::Helm(helm)) => helm.ended().await,
            (None, Actor::Operator(operator)) => operator.ended(&self.namespace, step).await,
        }
    }

    fn signal(&mut self, signal: &str) -> Result<()> {
        match &mut self.actor {
            Actor::Helm(helm) => helm.signal(signal),
            Actor::Operator(operator) => operator.signal(&self.namespace, signal),
        }
    }

    async fn somebody(&mut self, action: &Action) -> Result<()> {
        let name = self.namespace.name.clone();
        let name = &name;
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
            Action::TakeOver(objects) => {
                let objects = self.placed(objects)?;
                let Actor::Operator(operator) = &mut self.actor else { return Ok(()) };
                operator.apply(&self.namespace, RELEASE, &objects, &json!({})).await?;
                let ended = operator.until_settled(&self.namespace, RELEASE).await?;
                ensure!(matches!(ended, Ended::Ok), "the release is not taken over");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn see(&self, sight: Sight) -> Result<()> {
        let Sight { kind, name, what, is } = sight;
        self.namespace.wait_object(kind, name, what, is).await.map(drop)
    }

    async fn end(&self) -> Result<Vec<String>> {
        let mut lines = self.lines.clone();
        lines.extend(end::lines(&self.namespace, self.script.methods).await?);
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

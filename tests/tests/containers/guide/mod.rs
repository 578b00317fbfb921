//! The guide's rows, as a reader applies them from `examples/guide`, each with the effect that it has
//! on the shop's small database.

mod failures;
mod life;
mod operations;
mod policies;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use e2e::{Controller, Logs, Namespace, containers, manifests::pod};
use serde_json::{Value, json};
use testkit::cluster::bin;

/// The orders as version 1 keeps them, and as version 2 does.
const OLD: &str = "id,item\n1,apples\n2,pears\n";
const NEW: &str = "id,item,state\n1,apples,new\n2,pears,new\n";

/// The example in a namespace of its own.
struct Guide {
    namespace: Namespace,
    controller: Controller,
}

impl Guide {
    /// With what an administrator gives to it, and a Pod that looks into its volume; `None` where no
    /// container can run.
    async fn new(prefix: &str) -> Result<Option<Self>> {
        let Some(cluster) = containers() else { return Ok(None) };
        let namespace = Namespace::new(cluster, prefix).await?;
        let controller = namespace.controller()?;
        let guide = Self { namespace, controller };
        for file in ["tenant.yaml", "secrets.yaml"] {
            guide.apply(file, &[])?;
        }
        let mut reader = pod("reader");
        reader["metadata"]["namespace"] = json!(guide.namespace.name);
        reader["spec"]["containers"][0]["command"] = json!(["sleep", "100000"]);
        reader["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "data", "mountPath": "/data"}]);
        reader["spec"]["volumes"] =
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "shop-data"}}]);
        cluster.apply(&reader.to_string())?;
        let runs = |pod: Option<&Value>| pod.is_some_and(|pod| pod["status"]["phase"] == "Running");
        guide.namespace.wait_object("Pod", "reader", "Running", runs).await?;
        Ok(Some(guide))
    }

    /// As [`Self::new`], with version 1 installed.
    async fn installed(prefix: &str) -> Result<Option<Self>> {
        let Some(guide) = Self::new(prefix).await? else { return Ok(None) };
        guide.apply("install.yaml", &[])?;
        guide.namespace.wait_ready("shop", &guide.controller).await?;
        Ok(Some(guide))
    }

    /// Applies a file as it stands, but for `changes`, each of which is found once.
    fn apply(&self, file: &str, changes: &[(&str, &str)]) -> Result<()> {
        let mut text = fs::read_to_string(examples().join(file))?;
        for (from, to) in changes {
            ensure!(text.matches(from).count() == 1, "{from:?} is not once in {file}");
            text = text.replace(from, to);
        }
        self.namespace.cluster().apply(&self.here(&text)).with_context(|| format!("apply {file}"))
    }

    /// The text for this namespace, and for a volume of its own.
    fn here(&self, text: &str) -> String {
        let name = &self.namespace.name;
        text.replace("namespace: guide", &format!("namespace: {name}"))
            .replace("name: guide\n", &format!("name: {name}\n"))
            .replace("guide-shop-data", &format!("{name}-shop-data"))
            .replace("/run/releaselifecycle-guide", &format!("/run/{name}"))
            .replace("kubectl -n guide ", &format!("kubectl -n {name} "))
    }

    /// Runs a paragraph of the commands in the README, word by word; what stands there as a comment
    /// is the first line that the command prints.
    fn follow_readme(&self, paragraph: usize) -> Result<()> {
        let folder = e2e::target().join("tmp/guide").join(&self.namespace.name);
        fs::create_dir_all(&folder)?;
        for file in ["tenant.yaml", "secrets.yaml", "install.yaml", "upgrade.yaml"] {
            let text = fs::read_to_string(examples().join(file))?;
            fs::write(folder.join(file), self.here(&text))?;
        }
        let readme = self.here(&fs::read_to_string(examples().join("README.md"))?);
        let block = readme.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
        let paragraph = block.context("a block of commands")?.split("\n\n").nth(paragraph);
        let kubectl = bin("kubectl")?;
        let path = std::env::var("PATH")?;
        let path = format!("{}:{path}", kubectl.parent().context("a folder")?.display());
        for line in paragraph.context("a paragraph")?.lines() {
            let (command, first) = line.split_once(" # ").unwrap_or((line, ""));
            let output = Command::new("sh")
                .args(["-c", command])
                .current_dir(&folder)
                .env("PATH", &path)
                .env("KUBECONFIG", self.namespace.cluster().kubeconfig())
                .output()?;
            let said = String::from_utf8_lossy(&output.stdout);
            let complaint = String::from_utf8_lossy(&output.stderr);
            let log = || self.controller.log_tail();
            ensure!(output.status.success(), "{command}: {said}{complaint}\n{}", log());
            let is_right = first.is_empty() || said.lines().next() == Some(first);
            ensure!(is_right, "{command}: {said} does not begin with {first}");
        }
        Ok(())
    }

    /// Returns what a shell says that sees the volume.
    fn shell(&self, script: &str) -> Result<String> {
        self.namespace.kubectl(&["exec", "reader", "--", "sh", "-c", script])
    }

    fn orders(&self) -> Result<String> {
        self.shell("cat /data/orders.csv")
    }

    /// The contents of all backups that were taken before upgrades, from the oldest on.
    fn backups(&self) -> Result<String> {
        self.shell("cat /data/backup/orders-*")
    }

    /// Returns what was posted to the webhook.
    fn notifications(&self) -> Result<String> {
        self.shell("cat /data/notifications")
    }

    /// The hooks that were made, in order; a name that was generated without what was added.
    fn made(&self) -> Result<Vec<String>> {
        let made = self.namespace.tenant_did("create")?;
        let generated = |name: &str| name.starts_with("jobs/shop-backup-");
        Ok(made
            .into_iter()
            .map(|name| if generated(&name) { "jobs/shop-backup-".to_owned() } else { name })
            .collect())
    }

    /// The version of the release's objects.
    async fn version(&self) -> Result<Value> {
        let deployment = self.namespace.object("Deployment", "shop").await?;
        let deployment = deployment.context("the shop is there")?;
        Ok(deployment["spec"]["template"]["metadata"]["labels"]["version"].clone())
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/guide")
}

fn notification(version: &str) -> String {
    format!("{{\"text\": \"shop is deployed (version {version})\"}}\n")
}

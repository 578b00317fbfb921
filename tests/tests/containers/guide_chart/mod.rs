//! The guide's chart, as a reader packages and applies it from `examples/guide-chart`, with the
//! effect that each hook has on the shop's small database.

mod failures;
mod life;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};
use e2e::{Controller, Logs, Namespace, containers, root, target};
use testkit::cluster::bin;

/// The orders as version 1 keeps them, and as version 2 does.
const OLD: &str = "id,item\n1,apples\n2,pears\n";
const NEW: &str = "id,item,state\n1,apples,new\n2,pears,new\n";

/// The example in a namespace of its own, and a folder with its files for that namespace.
struct Guide {
    namespace: Namespace,
    controller: Controller,
    folder: PathBuf,
}

impl Guide {
    /// With what an administrator gives to it; `None` where no container can run.
    async fn new(prefix: &str) -> Result<Option<Self>> {
        let Some(cluster) = containers() else { return Ok(None) };
        let namespace = Namespace::new(cluster, prefix).await?;
        let controller = namespace.controller()?;
        let folder = target().join("tmp/guide-chart").join(&namespace.name);
        fs::create_dir_all(&folder)?;
        let guide = Self { namespace, controller, folder };
        for file in ["tenant.yaml", "secrets.yaml", "install.yaml", "upgrade.yaml"] {
            let text = fs::read_to_string(examples().join(file))?;
            fs::write(guide.folder.join(file), guide.here(&text))?;
        }
        Ok(Some(guide))
    }

    /// As [`Self::new`], with version 1 installed.
    async fn installed(prefix: &str) -> Result<Option<Self>> {
        let Some(guide) = Self::new(prefix).await? else { return Ok(None) };
        guide.follow_readme(0)?;
        Ok(Some(guide))
    }

    /// The text for this namespace, and for a volume of its own.
    fn here(&self, text: &str) -> String {
        let name = &self.namespace.name;
        text.replace("namespace: guide-chart", &format!("namespace: {name}"))
            .replace("name: guide-chart\n", &format!("name: {name}\n"))
            .replace("guide-chart-backup", &format!("{name}-backup"))
            .replace("/run/releaselifecycle-guide-chart", &format!("/run/{name}"))
            .replace("-n guide-chart ", &format!("-n {name} "))
    }

    /// Applies a file as it stands, but for `changes`, each of which is found once.
    fn apply(&self, file: &str, changes: &[(&str, &str)]) -> Result<()> {
        let mut text = fs::read_to_string(self.folder.join(file))?;
        for (from, to) in changes {
            ensure!(text.matches(from).count() == 1, "{from:?} is not once in {file}");
            text = text.replace(from, to);
        }
        self.namespace.cluster().apply(&text).with_context(|| format!("apply {file}"))
    }

    /// Runs a paragraph of the commands in the README, line by line; what stands there as a comment
    /// is the first line that the command prints.
    fn follow_readme(&self, paragraph: usize) -> Result<()> {
        let readme = self.here(&fs::read_to_string(examples().join("README.md"))?);
        let block = readme.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
        let paragraph = block.context("a block of commands")?.split("\n\n").nth(paragraph);
        for line in paragraph.context("a paragraph")?.lines() {
            let (command, first) = line.split_once(" # ").unwrap_or((line, ""));
            let said = self.sh(command)?;
            let is_right = first.is_empty() || said.lines().next() == Some(first);
            ensure!(is_right, "{command}: {said} does not begin with {first}");
        }
        Ok(())
    }

    /// Returns what a command prints, in the folder of the example's files.
    fn sh(&self, command: &str) -> Result<String> {
        let (kubectl, helm) = (bin("kubectl")?, bin("helm")?);
        let folders = [&kubectl, &helm].map(|it| it.parent().map(|it| it.display().to_string()));
        let own = programs()?;
        let path = std::env::var("PATH")?;
        let [Some(kubectl), Some(helm)] = folders else { anyhow::bail!("the programs' folders") };
        // The chart stands where the README's reader has it.
        let chart = self.folder.join("shop");
        if !chart.exists() {
            std::os::unix::fs::symlink(fs::canonicalize(examples())?.join("shop"), &chart)?;
        }
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{kubectl}:{helm}:{path}", own.display()))
            .env("KUBECONFIG", self.namespace.cluster().kubeconfig())
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        let log = || self.controller.log_tail();
        ensure!(output.status.success(), "{command}: {said}{complaint}\n{}", log());
        Ok(said)
    }

    /// Returns what a shell says that stands in for the database.
    fn database(&self, script: &str) -> Result<String> {
        self.namespace.kubectl(&["exec", "deploy/shop-database", "--", "sh", "-c", script])
    }

    fn orders(&self) -> Result<String> {
        self.database("cat /data/orders")
    }

    /// The hooks that were made, in order; a name with the time in it without the time.
    fn made(&self) -> Result<Vec<String>> {
        let made = self.namespace.tenant_did("create")?.into_iter();
        let hooks = made.filter(|it| it.starts_with("jobs/") || it.starts_with("pods/"));
        let untimed = |name: String| match name.strip_prefix("jobs/shop-backup-") {
            Some(time) if time.parse::<u64>().is_ok() => "jobs/shop-backup-…".to_owned(),
            _ => name,
        };
        Ok(hooks.map(untimed).collect())
    }
}

/// The folder of this project's programs.
fn programs() -> Result<&'static Path> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if BUILT.get().is_none() {
        let built = testkit::programs::build("dev")?;
        BUILT.get_or_init(|| built);
    }
    BUILT.get().map(PathBuf::as_path).context("they were just built")
}

fn examples() -> PathBuf {
    root().join("examples/guide-chart")
}

/// Returns what the notification posts.
fn notification(version: &str) -> String {
    format!("{{\"text\":\"🚀 shop 배포 완료! (버전: {version})\"}}\n")
}

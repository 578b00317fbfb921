//! The pinned Helm: a process for each release, and so many at once.

use std::{
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use e2e::{Namespace, helm};

use crate::{
    measure::{Watched, cpu_of_ended},
    requests::Tool,
    stage::{Figures, Stage},
};

/// A command of Helm, for each release.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) namespace: &'a Namespace,
    pub(crate) chart: &'a Path,
    pub(crate) hooks: bool,
}

impl Run<'_> {
    pub(crate) fn install(self, stage: &mut Stage, names: &[String]) -> Result<Figures> {
        self.measure(stage, names, &["install"], Some("1"))
    }

    pub(crate) fn upgrade(self, stage: &mut Stage, names: &[String]) -> Result<Figures> {
        self.measure(stage, names, &["upgrade"], Some("2"))
    }

    pub(crate) fn delete(self, stage: &mut Stage, names: &[String]) -> Result<Figures> {
        self.measure(stage, names, &["uninstall"], None)
    }

    fn measure(
        self,
        stage: &mut Stage,
        names: &[String],
        verb: &[&str],
        value: Option<&str>,
    ) -> Result<Figures> {
        let watched = Watched::default();
        let at_once =
            if self.hooks { stage.knobs.helm_with_hooks } else { stage.knobs.helm_without };
        stage.measure(Tool::Helm, names, &watched, cpu_of_ended, |_| {
            let next = AtomicUsize::new(0);
            let one = |name: &String| self.run(&watched, name, verb, value);
            let worker = || {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(name)?;
                }
                anyhow::Ok(())
            };
            thread::scope(|scope| {
                let workers = (0..at_once.min(names.len())).map(|_| scope.spawn(worker));
                let workers: Vec<_> = workers.collect();
                workers.into_iter().try_for_each(|it| it.join().ok().context("a thread")?)
            })
        })
    }

    fn run(self, watched: &Watched, name: &str, verb: &[&str], value: Option<&str>) -> Result<()> {
        let mut command = helm::command(self.namespace, "helm", verb)?;
        command.arg(name);
        if let Some(value) = value {
            let values = format!("hooks={},value={value}", self.hooks);
            command.arg(self.chart).args(["--set", &values]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = child.spawn().context("start helm")?;
        let pid = child.id();
        watched.add(pid);
        let output = child.wait_with_output();
        watched.remove(pid);
        let output = output.context("wait for helm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "helm {} {name}: {said}", verb.join(" "));
        Ok(())
    }
}

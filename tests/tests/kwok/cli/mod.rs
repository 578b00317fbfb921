//! `kubectl lifecycle`, the program itself, against the real controller.

mod adopt;
mod cancel;
mod charts;
mod diff;
mod doctor;
mod events;
mod files;
mod lint;
mod planned;
mod requests;
mod rights;
mod several;
mod story;
mod ui;
mod warnings;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};
use e2e::Namespace;
use kube::config::Kubeconfig;
use serde_json::Value;
use tempfile::TempDir;
use testkit::programs;

/// The program as a user of a namespace runs it, with a folder for files.
pub(crate) struct Cli<'a> {
    namespace: &'a Namespace,
    folder: TempDir,
    kubeconfig: PathBuf,
}

/// The end of a command.
#[derive(Debug)]
pub(crate) struct End {
    code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl End {
    fn of(program: Child) -> Result<Self> {
        let output = program.wait_with_output()?;
        Ok(Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }
}

impl<'a> Cli<'a> {
    /// As the cluster's administrator.
    pub(crate) fn new(namespace: &'a Namespace) -> Result<Self> {
        let kubeconfig = namespace.cluster().kubeconfig().to_owned();
        Ok(Self { namespace, folder: tempfile::tempdir()?, kubeconfig })
    }

    /// As a user who has the verbs `verbs` of ReleaseLifecycles, and no other right.
    fn of_user(namespace: &'a Namespace, user: &str, verbs: &str) -> Result<Self> {
        let mut cli = Self::new(namespace)?;
        let mut kubeconfig = Kubeconfig::read_from(&cli.kubeconfig)?;
        for named in &mut kubeconfig.auth_infos {
            let auth = named.auth_info.as_mut().context("a way to log in")?;
            auth.impersonate = Some(user.to_owned());
        }
        cli.kubeconfig = cli.write("kubeconfig", &serde_json::to_string(&kubeconfig)?)?;
        if !verbs.is_empty() {
            let first = verbs.split(',').next().unwrap_or_default();
            let (verbs, of) = (format!("--verb={verbs}"), format!("--user={user}"));
            let releases = "releaselifecycles.releaselifecycle.dev";
            let resource = format!("--resource={releases}");
            namespace.kubectl(&["create", "role", "reader", &verbs, &resource])?;
            namespace.kubectl(&["create", "rolebinding", "reader", "--role=reader", &of])?;
            // The API server notices a binding a moment later.
            let may = || namespace.kubectl(&["auth", "can-i", first, releases, "--as", user]);
            ensure!((0..100).any(|_| may().is_ok()), "{user} may not {first} {releases}");
        }
        Ok(cli)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// A folder of manifests, a file for each.
    fn manifests(&self, folder: &str, objects: &[Value]) -> Result<String> {
        for (index, object) in objects.iter().enumerate() {
            self.write(&format!("{folder}/{index}.json"), &object.to_string())?;
        }
        Ok(self.folder.path().join(folder).to_string_lossy().into_owned())
    }

    pub(crate) fn run(&self, args: &[&str]) -> Result<End> {
        End::of(self.start(args)?)
    }

    fn start(&self, args: &[&str]) -> Result<Child> {
        static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
        if PROGRAM.get().is_none() {
            let built = programs::build("dev")?.join("kubectl-lifecycle");
            PROGRAM.get_or_init(|| built);
        }
        let place = ["--namespace", &self.namespace.name];
        // kubectl hands on the words that are typed, and nothing else.
        let place = if args.first() == Some(&"__complete") { &[][..] } else { &place[..] };
        Command::new(PROGRAM.get().context("it was just built")?)
            .args(args)
            .args(place)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start kubectl-lifecycle")
    }

    /// Returns what it prints where all is good.
    fn good(&self, args: &[&str]) -> Result<String> {
        let end = self.run(args)?;
        ensure!(end.code == Some(0), "{args:?}: {end:?}");
        Ok(end.out)
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.good(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("{args:?}: {text}"))
    }

    /// Returns what it says where it ends with `code`.
    fn bad(&self, code: i32, args: &[&str]) -> Result<String> {
        let end = self.run(args)?;
        ensure!(end.code == Some(code), "{args:?}: {end:?}");
        Ok(end.err)
    }

    /// `create NAME -f FOLDER … | kubectl apply -f -`.
    fn create(&self, name: &str, folder: &str, more: &[&str]) -> Result<()> {
        let args = [&["create", name, "-f", folder, "--service-account", "deployer"], more];
        let text = self.good(&args.concat())?;
        let mut file = tempfile::NamedTempFile::with_suffix(".yaml")?;
        file.write_all(text.as_bytes())?;
        self.namespace.kubectl(&["apply", "-f", &file.path().to_string_lossy()])?;
        Ok(())
    }
}

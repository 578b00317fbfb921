use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};

use super::{Certificates, USERNAME, read};
use crate::cluster::{
    bin,
    process::{Life, Program, wait_for},
};

/// The hash of [`super::PASSWORD`]; the registry takes nothing but bcrypt.
const HASH: &str = "$2a$04$JhtxGZALYKhkqGblYOVxxOaNYxEIaq2ZbBna/Nrwiqscvq2xPrTiq";

/// The CNCF's own registry (distribution), as a process. Dropping it ends it.
pub struct Registry {
    dir: tempfile::TempDir,
    program: Program,
    address: String,
}

impl Registry {
    /// Starts one that requires [`USERNAME`] and [`super::PASSWORD`]; over HTTPS if there are
    /// `certificates`.
    ///
    /// # Errors
    /// If it cannot be built or started.
    pub fn start(certificates: Option<&Certificates>) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("make a folder for the registry")?;
        let users = dir.path().join("htpasswd");
        fs::write(&users, format!("{USERNAME}:{HASH}\n")).context("write the registry's users")?;
        let (program, address) = Self::launch(&dir, "127.0.0.1:0", certificates)?;
        Ok(Self { dir, program, address })
    }

    fn launch(
        dir: &tempfile::TempDir,
        address: &str,
        certificates: Option<&Certificates>,
    ) -> anyhow::Result<(Program, String)> {
        let config = dir.path().join("config.yml");
        let tls = certificates.map_or_else(String::new, |certificates| {
            let (certificate, key) =
                (certificates.path("server.pem"), certificates.path("server.key"));
            let (certificate, key) = (certificate.display(), key.display());
            format!("\n  tls:\n    certificate: {certificate}\n    key: {key}")
        });
        let text = format!(
            "version: 0.1
storage:
  filesystem:
    rootdirectory: {root}
  delete:
    enabled: true
auth:
  htpasswd:
    realm: charts
    path: {root}/htpasswd
http:
  addr: {address}{tls}
",
            root = dir.path().display()
        );
        fs::write(&config, text).context("write the registry's configuration")?;
        let args = [
            // It sends traces to a collector by default.
            "OTEL_TRACES_EXPORTER=none".into(),
            bin("registry")?,
            "serve".into(),
            config,
        ];
        let env = PathBuf::from("env");
        let mut program = Program::spawn("registry", &env, args, dir.path(), Life::Tied)?;
        let log = dir.path().join("registry.log");
        let mut found = None;
        wait_for("the registry to listen", Duration::from_secs(20), || {
            program.check()?;
            let text = read(&log)?;
            let said = text.split_once("listening on ").map(|(_, rest)| rest);
            found = said
                .and_then(|rest| rest.split([',', '"', ' ', '\n']).next())
                .map(|address| address.trim_end_matches('\\').to_owned());
            Ok(found.as_ref().map(drop).ok_or_else(|| text.chars().take(200).collect()))
        })?;
        let address = found.context("the registry says where it listens")?;
        if !address.starts_with("127.0.0.1:") {
            bail!("the registry listens on {address}");
        }
        Ok((program, address))
    }

    /// Returns host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns its requests so far, one a line, as it logs them.
    ///
    /// # Errors
    /// If its log cannot be read.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        let text = read(&self.dir.path().join("registry.log"))?;
        let answered = text.lines().filter(|line| line.contains(" HTTP/1.1\" "));
        Ok(answered.map(str::to_owned).collect())
    }

    /// Ends it; pushed charts stay.
    pub fn stop(&mut self) {
        self.program.kill();
    }

    /// Starts it again after [`Self::stop`], with the same address and the pushed charts.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn resume(&mut self, certificates: Option<&Certificates>) -> anyhow::Result<()> {
        (self.program, self.address) = Self::launch(&self.dir, &self.address, certificates)?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.program.kill();
    }
}

//! The servers from which tests fetch charts, on loopback: a real registry, and a site that serves
//! files as a test sets them, over HTTP or HTTPS.

mod registry;
mod signer;
mod site;

use std::path::Path;

use anyhow::Context as _;

use crate::cluster::certs::Authority;

pub use registry::Registry;
pub use signer::Signer;
pub use site::{Answer, Site, Takes};

/// The user of every server that requires one.
pub const USERNAME: &str = "tester";
/// The user's password.
pub const PASSWORD: &str = "correct-horse";

/// An authority that no client trusts by default, and its certificates: a server's certificate for
/// 127.0.0.1 and `localhost`, and a client's. Each is a file, `<name>.pem` and `<name>.key`.
pub struct Certificates {
    dir: tempfile::TempDir,
    /// The authority's own certificate.
    pub ca: String,
}

impl Certificates {
    /// Makes new ones.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("make a folder for certificates")?;
        let authority = Authority::new()?;
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        authority.server(dir.path(), "server", &["localhost"], &[address])?;
        authority.client(dir.path(), "client", "testers")?;
        let ca = authority.pem();
        std::fs::write(dir.path().join("ca.pem"), &ca).context("write the authority")?;
        Ok(Self { dir, ca })
    }

    /// Returns the path of `ca.pem`, `server.pem`, `server.key`, `client.pem` or `client.key`.
    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the text of one of them.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn text(&self, name: &str) -> anyhow::Result<String> {
        read(&self.path(name))
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

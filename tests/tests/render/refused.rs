//! Charts that Helm refuses: the engine refuses them too, with Helm's words where these are about
//! templates.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use e2e::{Namespace, kwok, target};
use serde_json::json;
use testkit::cluster::bin;

use crate::{
    Tally,
    charts::{self, name_of},
    cluster,
    engine::{Access, Engine, Refused},
    package,
};

/// Each chart of `tests/charts/refused`, whose `.helmignore` says what kind of refusal it is.
pub(crate) async fn check(tally: &mut Tally) -> Result<()> {
    let namespace = Namespace::new(kwok(), "refused").await?;
    let capabilities = cluster::capabilities(&namespace.client).await?;
    for folder in charts::folders(&charts::folder().join("refused"))? {
        let name = name_of(&folder);
        let dir = target().join("tmp/packages/refused");
        std::fs::create_dir_all(&dir)?;
        let said = {
            let mut command = Command::new(bin("helm")?);
            let args = ["install", "shop", &folder.to_string_lossy(), "--dry-run=server"];
            command.args(args).args(["--namespace", &namespace.name]);
            command.env("KUBECONFIG", namespace.cluster().kubeconfig());
            let output = command.output().context("run helm install")?;
            ensure!(!output.status.success(), "Helm does not refuse {name}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let request = json!({
            "chart": BASE64_STANDARD.encode(package::archive(&folder, &dir)?),
            "path": format!("./{name}"), "values": [], "cluster": true, "addCRDs": false,
            "release": {"name": "shop", "namespace": namespace.name, "revision": 1, "upgrade": false},
            "capabilities": capabilities,
        });
        let answer = Engine::start(Access::Nothing)?.render(request, Some(&namespace.client)).await;
        let differences = match answer {
            Ok(_) => vec![format!("rendered; Helm says {said}")],
            Err(error) => match error.downcast_ref::<Refused>() {
                Some(refused) => differences(&name, refused, &said),
                None => vec![format!("{error:#}")],
            },
        };
        tally.note(&format!("refused/{name}"), "refused", differences);
    }
    Ok(())
}

/// The folder's name begins with the kind of refusal.
fn differences(name: &str, refused: &Refused, said: &str) -> Vec<String> {
    let Refused { kind, message } = refused;
    let mut all = Vec::new();
    if name.split('-').next() != Some(&kind.to_lowercase()) {
        all.push(format!("refused as {kind}: {message}"));
    }
    // Of what Helm only passes on, every word; a long message lacks its middle.
    let parts = || message.trim().split(" … ");
    let verbatim = ["TemplateError", "NotYaml"].contains(&kind.as_str());
    if verbatim && !parts().all(|part| said.contains(part)) {
        all.push(format!("says {message:?}; Helm says {said:?}"));
    }
    all
}

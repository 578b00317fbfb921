//! `report`: a page about one release that needs nothing else.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{page, view};
use crate::{Outcome, args::Report, cluster::Cluster, history, records, screen};

pub(crate) async fn report(args: &Report) -> anyhow::Result<Outcome> {
    let cluster = Cluster::find(&args.place).await?;
    let object = cluster.get(&args.name).await?;
    let found = records::read(&cluster, &object.release_name()).await?;
    if found.is_none() {
        screen::complain(
            "The revisions are left out: they are in Secrets, which you may not list.\n",
        )?;
    }
    let revisions = found.map(|found| found.records.iter().map(history::row).collect::<Value>());
    let data = json!({
        "madeAt": Timestamp::now(),
        "by": concat!("kubectl-lifecycle ", env!("CARGO_PKG_VERSION")),
        "detail": view::detail(&object),
        "revisions": revisions,
    });
    screen::write(&page::alone(&data))?;
    Ok(Outcome::Good)
}

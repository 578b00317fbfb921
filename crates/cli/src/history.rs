//! `history`: the revisions of a release.

use anyhow::bail;
use api::ReleaseLifecycle;
use jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::{
    Outcome,
    args::{Format, History},
    cluster::Cluster,
    format,
    records::{self, Record},
    screen,
    state::State,
    words::{Look, aligned, clock, printable},
};

pub(crate) async fn history(args: &History) -> anyhow::Result<Outcome> {
    let cluster = Cluster::find(&args.place).await?;
    let object = cluster.get(&args.name).await?;
    let Some(found) = records::read(&cluster, &object.release_name()).await? else {
        bail!("{}", without_rights(&cluster, &object));
    };
    for problem in &found.problems {
        screen::complain(&format!("left out: {problem}\n"))?;
    }
    let rows = || found.records.iter().map(row).collect::<Value>();
    let text = match args.output {
        Format::Json => format::json(&rows()),
        Format::Yaml => format::yaml(&rows()),
        Format::Table if found.records.is_empty() => {
            let title = State::new(&object).title();
            screen::complain(&format!("{title} has no revision yet.\n"))?;
            String::new()
        }
        Format::Table => render(&found.records, Timestamp::now(), screen::look()),
    };
    screen::write(&text)?;
    Ok(Outcome::Good)
}

/// Answers without the records: they are Secrets; status has the part that everybody may read.
fn without_rights(cluster: &Cluster, object: &ReleaseLifecycle) -> String {
    let state = State::new(object);
    let revision = object.status.as_ref().and_then(|status| status.revision);
    let deployed = revision
        .map_or("no revision is deployed".to_owned(), |it| format!("revision {it} is deployed"));
    let last = state.operation().map_or(String::new(), |last| {
        format!(", the last operation is the {} of revision {}", last.event, last.revision)
    });
    format!(
        "you may not list Secrets in {}, and the history of {} is in Helm's: ask for a role with \
         the verb list of secrets. What its status says: {deployed}{last}, {}; see `kubectl \
         lifecycle status {}`",
        cluster.scope(),
        state.title(),
        state.ready_words(),
        object.name_any(),
    )
}

/// Returns a revision for programs.
pub(crate) fn row(record: &Record) -> Value {
    json!({
        "revision": record.revision,
        "updated": record.updated,
        "status": record.status.as_str(),
        "event": record.event.map(|event| event.to_string()),
        "target": record.target,
        "description": record.description,
    })
}

fn render(records: &[Record], now: Timestamp, look: Look) -> String {
    let columns = ["REVISION", "UPDATED", "STATUS", "EVENT", "DESCRIPTION"];
    let mut rows: Vec<Vec<String>> = vec![columns.map(str::to_owned).to_vec()];
    let dash = || "-".to_owned();
    rows.extend(records.iter().map(|record| {
        vec![
            record.revision.to_string(),
            record.updated.map_or_else(dash, |updated| clock(updated, now)),
            record.status.to_string(),
            record.event.map_or_else(dash, |event| event.to_string()),
            printable(&record.description.replace('\n', " ")),
        ]
    }));
    aligned(rows, look)
}

#[cfg(test)]
mod tests {
    use helm::record::Status;
    use lifecycle::event::Event;

    use super::*;

    #[test]
    fn each_revision_is_a_line() {
        let record = |revision, status, event, description: &str| Record {
            revision,
            updated: Some("2026-11-22T11:02:10Z".parse().unwrap()),
            status,
            event,
            target: None,
            description: description.to_owned(),
        };
        let records = [
            record(1, Status::Superseded, None, "Install complete"),
            record(2, Status::Deployed, Some(Event::Upgrade), "Upgrade complete"),
        ];
        let now = "2026-11-22T12:00:00Z".parse().unwrap();
        let expected = "\
REVISION  UPDATED    STATUS      EVENT    DESCRIPTION
1         11:02:10Z  superseded  -        Install complete
2         11:02:10Z  deployed    upgrade  Upgrade complete
";
        assert_eq!(render(&records, now, Look::PLAIN), expected);
        let expected = json!({"revision": 2, "updated": "2026-11-22T11:02:10Z",
            "status": "deployed", "event": "upgrade", "target": null,
            "description": "Upgrade complete"});
        assert_eq!(row(&records[1]), expected);
    }
}

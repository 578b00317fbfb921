//! Changes by a plan, for the person who approves it: each object is compared with the answer of the
//! API server to a dry run.

use lifecycle::{
    approval::{Action, Change},
    drift,
    object::PlannedObject,
    plan::Plan,
};
use manifests::json;

use crate::{
    cluster::{call::ApiError, error::Error},
    release::Release,
    support::blocking,
};

/// The maximum number of objects that are compared; each takes two requests.
const MOST_COMPARED: usize = 100;

/// The changes of a plan.
pub(crate) struct Changes {
    /// In the order in which they are made.
    pub(crate) changes: Vec<Change>,
    /// The number of objects that stay as they are.
    pub(crate) unchanged: usize,
}

/// Returns what `plan` changes now. What cannot be compared counts as an update of unknown fields.
pub(crate) async fn of(release: &Release<'_>, plan: &Plan) -> Result<Changes, Error> {
    let (mut changes, mut unchanged) = (Vec::new(), 0);
    for (index, planned) in plan.objects.iter().enumerate() {
        let object = &planned.object;
        // Others wait for the slot.
        let change = if index < MOST_COMPARED && !release.slot.is_due() {
            change(release, planned).await?
        } else {
            Some(Change::of(Action::Update, object, Vec::new()))
        };
        match change {
            Some(change) => changes.push(change),
            None => unchanged += 1,
        }
    }
    let deleted = plan.prune.iter().map(|object| Change::of(Action::Delete, object, Vec::new()));
    changes.extend(deleted);
    Ok(Changes { changes, unchanged })
}

/// Returns the change of one object; `None` if there is none.
async fn change(release: &Release<'_>, planned: &PlannedObject) -> Result<Option<Change>, Error> {
    let object = &planned.object;
    let unknown = || Some(Change::of(Action::Update, object, Vec::new()));
    let live = match release.tenant.get(object).await {
        Ok(Some(live)) => live,
        Ok(None) => return Ok(Some(Change::of(Action::Create, object, Vec::new()))),
        // Of a kind that a hook installs.
        Err(error) if error.is_not_found() => {
            return Ok(Some(Change::of(Action::Create, object, Vec::new())));
        }
        Err(error) => return unless_refused(error).map(|()| unknown()),
    };
    let mut body = release.body(planned);
    for field in ["uid", "resourceVersion"] {
        json::set(&mut body, &["metadata", field], live["metadata"][field].clone());
    }
    match release.tenant.try_apply(object, &body).await {
        Ok(wanted) => {
            let compared = blocking::run(&release.namespace, move || {
                let paths = drift::differences(&live, &wanted);
                paths.iter().map(|path| path.pointer(&live, &wanted)).collect::<Vec<_>>()
            });
            let fields = compared.await;
            Ok((!fields.is_empty()).then(|| Change::of(Action::Update, object, fields)))
        }
        Err(error) => unless_refused(error).map(|()| unknown()),
    }
}

/// Passes on the errors after which another attempt may succeed: the operation itself reports the
/// others.
fn unless_refused(error: ApiError) -> Result<(), Error> {
    match Error::from(error) {
        Error::Blocked(_) => Ok(()),
        error => Err(error),
    }
}

//! Reports what stays when a release is deleted.

use lifecycle::reason::Reason;
use sources::planned::Selected;

use crate::release::Release;

/// Reports the objects that stay, and those whose annotation was meant to keep them and does not.
pub(super) fn report(release: &Release<'_>, selected: &Selected) {
    for object in &selected.kept {
        let text = format!("{object} stays, as its annotation helm.sh/resource-policy says: keep");
        release.tell(Reason::ObjectKept, text);
    }
    for (object, word) in &selected.unknown {
        let text = format!(
            "{object} is deleted: its annotation helm.sh/resource-policy is {word:?}, which means \
             nothing; only keep does"
        );
        release.warn(Reason::UnknownPolicy, text);
    }
}

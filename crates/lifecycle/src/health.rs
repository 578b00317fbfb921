//! Health checks: for objects of a kind, when they are ready, in the words of the release's owner. They
//! are frozen with the plan; checks that are edited during an operation count from the next one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::{ObjectRef, group_of};

/// CEL expressions that decide whether an object of a kind is ready, in place of what its status says
/// by the conventions of Kubernetes. Variables are the top-level fields of the object, such as
/// `metadata`, `spec` and `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// API version of the objects, such as apps/v1. Only its group counts.
    #[schemars(length(min = 1, max = 317))]
    pub api_version: String,
    /// Kind of the objects.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Expression that is true if the object is ready.
    #[schemars(length(min = 1, max = 2048))]
    pub current: String,
    /// Expression that is true while the object is not ready yet. It is evaluated before the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub in_progress: Option<String>,
    /// Expression that is true if the object has failed. It is evaluated before `current`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub failed: Option<String>,
}

impl HealthCheck {
    fn is_for(&self, group: &str, kind: &str) -> bool {
        self.kind == kind && group_of(&self.api_version) == group
    }
}

/// Returns the place of the check for the object's kind, whatever its version.
pub fn check_of(checks: &[HealthCheck], object: &ObjectRef) -> Option<usize> {
    checks.iter().position(|check| check.is_for(object.group(), &object.kind))
}

/// Returns the checks for a kind that an earlier one is for, each as its place and that of the earlier.
pub fn repeated(checks: &[HealthCheck]) -> Vec<(usize, usize)> {
    let first = |check: &HealthCheck| {
        checks.iter().position(|it| it.is_for(group_of(&check.api_version), &check.kind))
    };
    let places = checks.iter().enumerate();
    places
        .filter_map(|(place, check)| Some((place, first(check)?)))
        .filter(|(place, first)| place != first)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn check(api_version: &str, kind: &str) -> HealthCheck {
        HealthCheck {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            ..HealthCheck::default()
        }
    }

    #[test]
    fn a_check_is_for_its_group_and_kind_in_every_version() {
        let checks = [check("a.example/v1", "Widget"), check("v1", "ConfigMap")];
        let object = |api_version: &str, kind: &str| ObjectRef {
            api_version: api_version.to_owned(),
            ..testing::object(kind, "x")
        };
        assert_eq!(check_of(&checks, &object("a.example/v2", "Widget")), Some(0));
        assert_eq!(check_of(&checks, &object("b.example/v1", "Widget")), None);
        assert_eq!(check_of(&checks, &object("v1", "ConfigMap")), Some(1));
        assert_eq!(check_of(&checks, &object("v1", "Secret")), None);
        assert!(repeated(&checks).is_empty());
        let [one, other] = checks;
        let checks = [one.clone(), other, check("a.example/v2", "Widget"), one];
        assert_eq!(repeated(&checks), [(2, 0), (3, 0)]);
    }
}

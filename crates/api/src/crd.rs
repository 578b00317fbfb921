use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps,
};
use kube::CustomResourceExt;
use serde_json::json;

use crate::ReleaseLifecycle;

/// Returns the definition of the custom resource, as in `crds/`.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = ReleaseLifecycle::crd();
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        let Some(schema) = schema else { continue };
        drop_unsigned_formats(schema);
        let status = schema.properties.as_mut().and_then(|properties| properties.get_mut("status"));
        if let Some(status) = status {
            // So that a new object, whose generation is 1, never counts as observed.
            status.default = Some(JSON(json!({"observedGeneration": -1})));
        }
    }
    crd
}

/// Removes formats that the API server does not know and warns of, such as `uint`.
fn drop_unsigned_formats(schema: &mut JSONSchemaProps) {
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        drop_unsigned_formats(property);
    }
    if let Some(items) = &mut schema.items {
        use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray;
        match items {
            JSONSchemaPropsOrArray::Schema(schema) => drop_unsigned_formats(schema),
            JSONSchemaPropsOrArray::Schemas(schemas) => {
                schemas.iter_mut().for_each(drop_unsigned_formats);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `kubectl get rl -A` fits a terminal: no column but those of `-o wide` holds a sentence.
    #[test]
    fn the_columns_that_are_shown_first_are_narrow() {
        let crd = crd();
        let columns = crd.spec.versions[0].additional_printer_columns.iter().flatten();
        let (wide, narrow): (Vec<_>, Vec<_>) =
            columns.partition(|column| column.priority.unwrap_or_default() > 0);
        assert!(wide.iter().any(|column| column.json_path.ends_with(".message")));
        assert!(narrow.iter().all(|column| !column.json_path.ends_with(".message")));
        let names: Vec<_> = narrow.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["Ready", "Event", "Revision", "Status", "Age"]);
    }
}

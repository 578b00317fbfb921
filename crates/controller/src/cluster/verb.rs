//! The verb of a request, as the API server's audit log and RBAC name it. Pure.

use http::{Method, Uri};

/// Returns the verb of a request to the API server.
pub(super) fn verb(method: &Method, uri: &Uri) -> &'static str {
    match *method {
        Method::GET if !is_list(uri.path()) => "get",
        Method::GET => {
            let mut pairs = uri.query().unwrap_or_default().split('&');
            if pairs.any(|pair| pair == "watch=true") { "watch" } else { "list" }
        }
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// Returns whether a path is that of all objects of a kind: `/api/v1/pods`,
/// `/apis/batch/v1/namespaces/shop/jobs`. Those of discovery are shorter.
fn is_list(path: &str) -> bool {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let rest: Vec<_> = match parts.next() {
        Some("api") => parts.skip(1).collect(),
        Some("apis") => parts.skip(2).collect(),
        _ => return false,
    };
    matches!(*rest, ["namespaces", _, _] | [_])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_verb_of_the_audit_log() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/namespaces/shop/secrets/a", "get"),
            (Method::GET, "/api/v1/namespaces/shop/secrets?labelSelector=a", "list"),
            (Method::GET, "/api/v1/namespaces/shop/pods/a/log", "get"),
            (Method::GET, "/apis/batch/v1/namespaces/shop/jobs", "list"),
            (Method::GET, "/apis/batch/v1/jobs?watch=true&limit=1", "watch"),
            (Method::GET, "/apis/batch/v1/jobs?x=watch=true", "list"),
            (Method::GET, "/api/v1/namespaces/shop", "get"),
            (Method::GET, "/api/v1/namespaces", "list"),
            (Method::GET, "/api/v1/nodes/a", "get"),
            (Method::GET, "/api/v1", "get"),
            (Method::GET, "/apis/batch/v1", "get"),
            (Method::GET, "/apis", "get"),
            (Method::GET, "/version", "get"),
            (Method::POST, "/api/v1/namespaces/shop/secrets", "create"),
            (Method::PUT, "/apis/a/v1/namespaces/shop/b/c/status", "update"),
            (Method::PATCH, "/apis/a/v1/namespaces/shop/b/c", "patch"),
            (Method::DELETE, "/apis/a/v1/namespaces/shop/b/c", "delete"),
            (Method::OPTIONS, "/", "other"),
        ] {
            assert_eq!(verb(&method, &uri.parse().unwrap()), expected, "{method} {uri}");
        }
    }
}

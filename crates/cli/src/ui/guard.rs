//! Who may ask: only who knows the token, and no page of another site, not even one whose name leads to
//! this machine.

use http::{
    HeaderMap, Method, StatusCode,
    header::{AUTHORIZATION, HOST, ORIGIN},
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The policy of each answer: nothing is loaded from elsewhere, and no text becomes a script.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                                 connect-src 'self'; img-src data:; base-uri 'none'; \
                                 form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
pub(super) struct Guard {
    token: String,
    /// The values of `Host` by which the page is reached.
    hosts: [String; 2],
}

impl Guard {
    pub(super) fn new(port: u16) -> Self {
        let token = Uuid::new_v4().simple().to_string();
        Self { token, hosts: ["127.0.0.1", "localhost"].map(|host| format!("{host}:{port}")) }
    }

    /// Returns the address of the page, with the token.
    pub(super) fn url(&self) -> String {
        let [host, _] = &self.hosts;
        format!("http://{host}/?token={}", self.token)
    }

    /// Checks a request.
    ///
    /// # Errors
    /// With the status of the answer to it.
    pub(super) fn check(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<(), StatusCode> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        // A name of somebody else that leads here is that of another site (DNS rebinding).
        let host = text(HOST).unwrap_or_default();
        if !self.hosts.iter().any(|known| known == host) {
            return Err(StatusCode::MISDIRECTED_REQUEST);
        }
        let is_own = |origin: &str| origin.strip_prefix("http://") == Some(host);
        let origin = text(ORIGIN);
        if origin.is_some_and(|origin| !is_own(origin))
            || (method != Method::GET && origin.is_none())
        {
            return Err(StatusCode::FORBIDDEN);
        }
        let given = match path {
            // They are the same for everybody.
            "/app.js" | "/style.css" => return Ok(()),
            "/" => query.split('&').find_map(|pair| pair.strip_prefix("token=")),
            _ => text(AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")),
        };
        if given.is_some_and(|given| self.is_token(given)) {
            Ok(())
        } else {
            Err(StatusCode::UNAUTHORIZED)
        }
    }

    /// Compares digests, so that the time it takes says nothing of the token.
    fn is_token(&self, given: &str) -> bool {
        Sha256::digest(given) == Sha256::digest(&self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(guard: &Guard, method: Method, uri: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        guard.check(&method, path, query, &headers.collect()).err().map(|status| status.as_u16())
    }

    #[test]
    fn only_the_page_itself_with_its_token_is_answered() {
        let guard = Guard::new(8080);
        let host = ("host", "127.0.0.1:8080");
        let bearer = format!("Bearer {}", guard.token);
        let token = ("authorization", &*bearer);
        let page = format!("/?token={}", guard.token);
        let get = |uri: &str, headers: &[(&str, &str)]| asked(&guard, Method::GET, uri, headers);
        assert_eq!(get(&page, &[host]), None);
        assert_eq!(get(&page, &[("host", "localhost:8080")]), None);
        assert_eq!(get("/app.js", &[host]), None);
        assert_eq!(get("/api/releases", &[host, token]), None);
        assert_eq!(get("/", &[host]), Some(401));
        assert_eq!(get("/?token=", &[host]), Some(401));
        assert_eq!(get("/api/releases", &[host]), Some(401));
        assert_eq!(get("/api/releases", &[host, ("authorization", "Bearer x")]), Some(401));
        let in_query = format!("/api/releases?token={}", guard.token);
        assert_eq!(get(&in_query, &[host]), Some(401), "it would stay in histories");
        for other in ["evil.example:8080", "127.0.0.1", "127.0.0.1:80", ""] {
            assert_eq!(get("/api/releases", &[("host", other), token]), Some(421), "{other}");
        }
        assert_eq!(get("/api/releases", &[token]), Some(421));
        for other in
            ["http://evil.example", "http://127.0.0.1:8081", "null", "https://127.0.0.1:8080"]
        {
            assert_eq!(
                get("/api/releases", &[host, token, ("origin", other)]),
                Some(403),
                "{other}"
            );
        }
        let post = |headers: &[(&str, &str)]| asked(&guard, Method::POST, "/api/act", headers);
        assert_eq!(post(&[host, token, ("origin", "http://127.0.0.1:8080")]), None);
        assert_eq!(post(&[host, token]), Some(403), "a browser names the origin");
        assert_eq!(post(&[host, ("origin", "http://127.0.0.1:8080")]), Some(401));
    }
}

//! The page: HTML, CSS and JavaScript, built in. Pure.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub(super) const SCRIPT: &str = include_str!("page/app.js");
pub(super) const STYLE: &str = include_str!("page/style.css");
const FRAME: &str = include_str!("page/frame.html");

/// Returns the page that is served.
pub(super) fn served() -> String {
    let head = "<link rel=\"stylesheet\" href=\"/style.css\">\n\
                <script src=\"/app.js\" defer></script>";
    FRAME.replace("<!-- head -->", head).replace("<!-- data -->\n", "")
}

/// Returns a page that needs nothing else, about `data`.
pub(super) fn alone(data: &Value) -> String {
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; script-src 'sha256-{}'; \
         base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digest(SCRIPT)
    );
    let head = format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n<style>{STYLE}</style>"
    );
    let data = format!(
        "<script type=\"application/json\" id=\"data\">{}</script>\n<script>{SCRIPT}</script>\n",
        inert(data)
    );
    FRAME.replace("<!-- head -->", &head).replacen("<!-- data -->\n", &data, 1)
}

fn digest(text: &str) -> String {
    BASE64_STANDARD.encode(Sha256::digest(text))
}

/// Returns JSON that cannot end the element that it is in, nor be anything else than text in it.
fn inert(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_in_the_data_is_markup() {
        let hostile = json!({"log": "</script><script>alert(1)</script><!-- & <!-- data -->"});
        let page = alone(&hostile);
        assert!(!page.contains("alert(1)</script>"), "{page}");
        let data = inert(&hostile);
        assert!(!data.contains(['<', '>', '&']), "{data}");
        assert_eq!(serde_json::from_str::<Value>(&data).unwrap(), hostile);
    }

    #[test]
    fn the_parts_of_the_page_can_be_built_in() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</script"));
        assert_eq!(FRAME.matches("<!-- head -->").count(), 1);
        assert_eq!(FRAME.matches("<!-- data -->\n").count(), 1);
        assert!(!served().contains("<!--"));
    }
}

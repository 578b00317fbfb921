//! A name as a part of a URL.

use std::{borrow::Cow, fmt::Write as _};

/// Encodes a segment of the path of a URL, for any name that a chart looks up. Valid names of
/// objects are not changed; the caller must refuse `/`, `.` and `..`.
pub(super) fn segment(name: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    if name.bytes().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            // A `String` accepts everything that is written to it.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    Cow::Owned(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_in_a_url_as_one_segment_of_its_path() {
        for name in ["shop", "system:reader.x", "a-b_c~1"] {
            assert_eq!(segment(name), name);
        }
        assert_eq!(segment("{{ no name }}"), "%7B%7B%20no%20name%20%7D%7D");
        assert_eq!(segment("a?b#c%d/e\n"), "a%3Fb%23c%25d%2Fe%0A");
        assert_eq!(segment("ä"), "%C3%A4");
    }
}

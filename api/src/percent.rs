//! Percent-encoding.

/// Percent-encodes a path segment or query value.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// Percent-encodes the segments of a path, such as the key of a session. Periods stay, because no
/// segment is `.` or `..`.
pub(crate) fn encode_path(path: &str) -> String {
    let segments: Vec<String> = path.split('/').map(encode).collect();
    segments.join("/").replace("%2E", ".")
}

#[cfg(test)]
mod tests {
    use super::{encode, encode_path};

    #[test]
    fn only_unreserved_characters_and_the_slashes_of_a_path_stay() {
        assert_eq!(encode("a/b c.d&é"), "a%2Fb%20c%2Ed%26%C3%A9");
        assert_eq!(
            encode_path("ada/a b&c=?#\"é.jsonl"),
            "ada/a%20b%26c%3D%3F%23%22%C3%A9.jsonl"
        );
        assert_eq!(encode_path("a/%2E"), "a/%252E");
    }
}

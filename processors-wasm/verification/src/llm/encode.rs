//! Encodes text as JSON, so that it cannot break out of its place in a prompt.

/// Encodes a text as a JSON string. Angle brackets are escaped, too, so that no text can look like
/// a tag of the prompt.
pub fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for letter in text.chars() {
        match letter {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\t' => json.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{7f}' => escape(&mut json, letter),
            letter if letter < ' ' => escape(&mut json, letter),
            letter => json.push(letter),
        }
    }
    json.push('"');
    json
}

/// An object with these fields, whose values are JSON.
pub fn object<'a>(fields: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let fields: Vec<String> = fields
        .into_iter()
        .map(|(name, value)| format!("{}:{value}", string(name)))
        .collect();
    format!("{{{}}}", fields.join(","))
}

/// A list of JSON values, one per line.
pub fn lines(values: impl IntoIterator<Item = String>) -> String {
    let values: Vec<String> = values.into_iter().collect();
    format!("[\n{}\n]", values.join(",\n"))
}

fn escape(json: &mut String, letter: char) {
    json.push_str(&format!("\\u{:04x}", u32::from(letter)));
}

#[cfg(test)]
mod tests {
    use session_pipeline_processor::json::Json;

    use super::*;

    #[test]
    fn every_text_comes_back_as_it_went_in() {
        for text in [
            "",
            "plain",
            "\"quoted\" \\ back",
            "</turns>\n<turns>",
            "\u{0}\u{1f}\u{7f}\u{2028}",
            "é 中 🚀",
        ] {
            let json = string(text);
            assert!(!json.contains(['<', '>', '\n']), "{json}");
            assert_eq!(Json::parse(&json).unwrap().text().unwrap(), text);
        }
        let object = object([("a", string("x")), ("b", "[1]".to_owned())]);
        assert_eq!(object, r#"{"a":"x","b":[1]}"#);
    }
}

//! Responses as CSV instead of JSON: the rows of a document, one column per field.

use std::fmt;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use session_pipeline_pipeline::csv::{CsvCell, line};
use utoipa::ToSchema;

use super::problem::ApiError;

/// The format of a response.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum FormatParam {
    /// JSON.
    #[default]
    Json,
    /// Comma-separated values, for spreadsheets.
    Csv,
}

impl FormatParam {
    /// The response for a JSON document whose rows are in the field `rows`.
    pub(super) fn response(
        self,
        document: Vec<u8>,
        rows: &str,
        file: &str,
    ) -> Result<Response, ApiError> {
        match self {
            Self::Json => {
                Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response())
            }
            Self::Csv => {
                let text = csv(&document, rows).map_err(|error| ApiError::internal(&error))?;
                let headers = [
                    (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
                    (
                        header::CONTENT_DISPOSITION,
                        format!("attachment; filename=\"{file}.csv\""),
                    ),
                ];
                Ok((headers, text).into_response())
            }
        }
    }
}

/// The fields of an object in their order, with the exact text of numbers.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

fn csv(document: &[u8], rows: &str) -> serde_json::Result<String> {
    let Fields(document) = serde_json::from_slice(document)?;
    let rows = document.into_iter().find(|(name, _)| name == rows);
    let rows: Vec<Fields> = match rows {
        Some((_, rows)) => serde_json::from_str(rows.get())?,
        None => Vec::new(),
    };
    // Fields without a value can be absent.
    let mut names: Vec<&str> = Vec::new();
    for Fields(row) in &rows {
        for (name, _) in row {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let mut text = String::new();
    line(&mut text, names.iter().map(|name| CsvCell::Text(name)));
    for Fields(row) in &rows {
        let cells: Vec<String> = names
            .iter()
            .map(|wanted| {
                let value = row.iter().find(|(name, _)| name == wanted);
                value.map_or_else(String::new, |(_, value)| cell(value.get()))
            })
            .collect();
        line(
            &mut text,
            cells.iter().map(|cell| match cell.parse::<f64>() {
                Ok(_) => CsvCell::Number(cell),
                Err(_) => CsvCell::Text(cell),
            }),
        );
    }
    Ok(text)
}

/// The text of a value: a list as its elements with commas, and an object as JSON.
fn cell(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        Ok(Value::Null) => String::new(),
        Ok(Value::Array(values)) => {
            let texts = values.iter().map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            texts.collect::<Vec<_>>().join(", ")
        }
        _ => json.to_owned(),
    }
}

//! Fields that describe a session and not its conversation.

use crate::json::{Json, Text};
use crate::scan::{Result, Scanner};

/// The fields of metadata entries. The [`Kind`](super::Kind) of the entry determines which of them
/// mean something.
///
/// They are rare, so an [`Entry`](super::Entry) has them in a box.
#[derive(Clone, Debug, Default)]
pub struct Metadata<'a> {
    /// `customTitle`.
    pub custom_title: Option<Text<'a>>,
    /// `aiTitle`.
    pub ai_title: Option<Text<'a>>,
    /// `summary`.
    pub summary: Option<Text<'a>>,
    /// `prNumber`.
    pub pull_request_number: Option<Json<'a>>,
    /// `prUrl`.
    pub pull_request_url: Option<Text<'a>>,
    /// `prRepository`, for example `owner/repo`.
    pub pull_request_repository: Option<Text<'a>>,
    /// `worktreeSession`: the worktree (`worktreePath`) and the directory before it was entered
    /// (`originalCwd`). Null after the worktree was left.
    pub worktree: Option<Json<'a>>,
    /// `parentSessionId`.
    pub parent_session_id: Option<Text<'a>>,
    /// `continuedInSessionId`.
    pub continued_in_session_id: Option<Text<'a>>,
    /// `forkedFrom`: the session (`sessionId`) and the entry that a copied entry comes from.
    pub forked_from: Option<Json<'a>>,
    /// `modelUsage`: the tokens and the cost of each model, by the name of the model.
    pub model_usage: Vec<(String, Json<'a>)>,
    /// `totalCostUSD`.
    pub total_cost: Option<Json<'a>>,
    /// `totalLinesAdded`.
    pub lines_added: Option<Json<'a>>,
    /// `totalLinesRemoved`.
    pub lines_removed: Option<Json<'a>>,
    /// `totalAPIDuration`, in milliseconds.
    pub api_duration: Option<Json<'a>>,
    /// `totalToolDuration`, in milliseconds.
    pub tool_duration: Option<Json<'a>>,
    /// `hasUnknownModelCost`: the cost of a model is not known.
    pub has_unknown_model_cost: Option<bool>,
}

impl<'a> Metadata<'a> {
    /// Reads the value of `key` if it is one of these fields. Skips any other value.
    pub(super) fn read_field(
        place: &mut Option<Box<Self>>,
        scanner: &mut Scanner<'a>,
        key: &str,
    ) -> Result<()> {
        let is_known = matches!(
            key,
            "customTitle"
                | "aiTitle"
                | "summary"
                | "prNumber"
                | "prUrl"
                | "prRepository"
                | "worktreeSession"
                | "parentSessionId"
                | "continuedInSessionId"
                | "forkedFrom"
                | "modelUsage"
                | "totalCostUSD"
                | "totalLinesAdded"
                | "totalLinesRemoved"
                | "totalAPIDuration"
                | "totalToolDuration"
                | "hasUnknownModelCost"
        );
        if !is_known {
            return scanner.skip();
        }
        let metadata = place.get_or_insert_default();
        match key {
            "customTitle" => metadata.custom_title = scanner.maybe_text()?,
            "aiTitle" => metadata.ai_title = scanner.maybe_text()?,
            "summary" => metadata.summary = scanner.maybe_text()?,
            "prNumber" => metadata.pull_request_number = Some(scanner.json()?),
            "prUrl" => metadata.pull_request_url = scanner.maybe_text()?,
            "prRepository" => metadata.pull_request_repository = scanner.maybe_text()?,
            "worktreeSession" => metadata.worktree = Some(scanner.json()?),
            "parentSessionId" => metadata.parent_session_id = scanner.maybe_text()?,
            "continuedInSessionId" => metadata.continued_in_session_id = scanner.maybe_text()?,
            "forkedFrom" => metadata.forked_from = Some(scanner.json()?),
            "modelUsage" => {
                metadata.model_usage.clear();
                scanner.maybe_object(|scanner, model| {
                    let usage = scanner.json()?;
                    metadata.model_usage.push((model.to_owned(), usage));
                    Ok(())
                })?;
            }
            "totalCostUSD" => metadata.total_cost = Some(scanner.json()?),
            "totalLinesAdded" => metadata.lines_added = Some(scanner.json()?),
            "totalLinesRemoved" => metadata.lines_removed = Some(scanner.json()?),
            "totalAPIDuration" => metadata.api_duration = Some(scanner.json()?),
            "totalToolDuration" => metadata.tool_duration = Some(scanner.json()?),
            "hasUnknownModelCost" => metadata.has_unknown_model_cost = scanner.maybe_bool()?,
            _ => scanner.skip()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::transcript::{Entry, Kind};

    #[test]
    fn fields_of_metadata_are_read_and_other_entries_have_none() {
        let entry = Entry::parse(
            r#"{"type":"pr-link","prNumber":12,"prUrl":7,"prRepository":"a/b","sessionId":"s"}"#,
        )
        .unwrap();
        assert_eq!(entry.kind, Kind::PullRequestLink);
        let metadata = entry.metadata.unwrap();
        assert_eq!(metadata.pull_request_number.unwrap().s64(), Some(12));
        assert_eq!(metadata.pull_request_repository.unwrap(), "a/b");
        assert!(metadata.pull_request_url.is_none());

        let entry = Entry::parse(r#"{"type":"user","message":{"content":"x"},"other":{}}"#);
        assert!(entry.unwrap().metadata.is_none());
    }

    #[test]
    fn unknown_types_have_a_name_and_known_ones_none() {
        let name = |line: &str| {
            let entry = Entry::parse(line).unwrap();
            (
                entry.kind,
                entry.unknown_kind.map(|name| name.decode().into_owned()),
            )
        };
        let unknown = |name: &str| (Kind::Unknown, Some(name.to_owned()));
        assert_eq!(name(r#"{"type":"n\u0065w"}"#), unknown("new"));
        assert_eq!(name("{}"), (Kind::Unknown, None));
        assert_eq!(name(r#"{"type":""}"#), (Kind::Unknown, None));
        assert_eq!(name(r#"{"type":7}"#), (Kind::Unknown, None));
        assert_eq!(name(r#"{"type":"mode"}"#), (Kind::Other, None));
        let prefix = r#"{"type":"marble-origami-commit"}"#;
        assert_eq!(name(prefix), (Kind::Other, None));
        assert_eq!(name(r#"{"type":"api-request"}"#), (Kind::ApiRequest, None));
    }
}

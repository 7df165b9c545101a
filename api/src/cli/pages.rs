//! Reads paged lists from a router.

use serde::de::DeserializeOwned;

use super::CommandFailure;
use super::client::{Client, RouteCall};
use crate::body::admin::ProcessorsBody;
use crate::body::quarantine::QuarantineBody;
use crate::body::session::SessionsBody;
use crate::body::token::TokensBody;

/// The maximum page size of a router.
const PAGE_ROWS: &str = "1000";

/// One page of a list.
pub(super) trait Page: DeserializeOwned {
    /// The cursor of the next page. `None` on the last page.
    fn next(&mut self) -> &mut Option<String>;

    /// Appends the rows of a later page.
    fn append(&mut self, later: Self);
}

/// Reads the page at `cursor`, or the first page.
///
/// # Errors
/// The router does not return it.
pub(super) fn page<T: Page>(
    client: &Client,
    path: &str,
    query: &[(&str, &str)],
    cursor: Option<&str>,
) -> Result<T, CommandFailure> {
    let call = RouteCall::get(path).query(query.iter().copied());
    let call = call
        .query([("limit", PAGE_ROWS)])
        .optional("cursor", cursor);
    let mut page: T = client.call(&call)?;
    // A server that returns the same cursor again would cause an endless loop.
    if page
        .next()
        .as_deref()
        .is_some_and(|next| cursor == Some(next))
    {
        *page.next() = None;
    }
    Ok(page)
}

/// Reads all pages of a list into one.
///
/// # Errors
/// The router does not return one of them.
pub(super) fn all<T: Page>(
    client: &Client,
    path: &str,
    query: &[(&str, &str)],
) -> Result<T, CommandFailure> {
    let mut all: T = page(client, path, query, None)?;
    while let Some(cursor) = all.next().take() {
        let mut later: T = page(client, path, query, Some(&cursor))?;
        *all.next() = later.next().take();
        all.append(later);
    }
    Ok(all)
}

impl Page for TokensBody {
    fn next(&mut self) -> &mut Option<String> {
        &mut self.next
    }

    fn append(&mut self, later: Self) {
        self.tokens.extend(later.tokens);
    }
}

impl Page for ProcessorsBody {
    fn next(&mut self) -> &mut Option<String> {
        &mut self.next
    }

    fn append(&mut self, later: Self) {
        self.processors.extend(later.processors);
    }
}

impl Page for QuarantineBody {
    fn next(&mut self) -> &mut Option<String> {
        &mut self.next
    }

    fn append(&mut self, later: Self) {
        self.count += later.count;
        self.sessions.extend(later.sessions);
    }
}

impl Page for SessionsBody {
    fn next(&mut self) -> &mut Option<String> {
        &mut self.next
    }

    fn append(&mut self, later: Self) {
        self.count += later.count;
        self.states.add(&later.sessions);
        self.sessions.extend(later.sessions);
    }
}

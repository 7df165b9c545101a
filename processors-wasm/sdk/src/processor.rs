//! What an author writes, and how it becomes a component.

pub use crate::bindings::session_pipeline::processor::types::Order;

use crate::session::{Session, Settings};
use crate::table::{Row, Table};

/// A processor: what it is, and what it does with a session.
///
/// Both functions are called on a fresh instance each time, so there is no `self` and nothing to
/// remember.
pub trait Processor {
    /// Says what the processor is under these settings, the same each time.
    fn manifest(settings: &Settings) -> Result<Manifest, String>;

    /// Processes one session. An error is a failed attempt with its reason; nothing is kept
    /// then, and the host tries again later.
    fn process(session: &Session<'_>) -> Result<Summary, String>;
}

/// What a processor is.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// `[a-z][a-z0-9-]{0,62}`; it names the processor's schema in the database.
    pub name: String,
    /// A rising number: a raise means "process every session again".
    pub version: u32,
    /// One sentence for people.
    pub description: String,
    /// How often the processor wants to run. The operator may override it.
    pub cadence_seconds: u32,
    /// Whether sessions may be processed side by side.
    pub order: Order,
    /// Whether a language model is needed.
    pub uses_llm: bool,
    /// The tables that it writes.
    pub tables: Vec<Table>,
    /// What later versions of the contract added.
    pub extra: Vec<(String, String)>,
}

/// What became of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many items were extracted.
    pub items: u64,
}

impl Manifest {
    /// A processor without tables that runs every ten minutes, over many sessions side by side.
    pub fn new(name: &str, version: u32, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            version,
            description: description.to_owned(),
            cadence_seconds: 600,
            order: Order::Independent,
            uses_llm: false,
            tables: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// The same with a table more.
    #[must_use]
    pub fn table<R: Row>(mut self) -> Self {
        self.tables.push(R::table());
        self
    }

    /// The same, and rows of a table that are lost when a transcript is rewritten are kept.
    ///
    /// Agents shorten transcripts (compaction), and people edit them; what was billed stays billed.
    /// The first of the `identity` columns that is not null tells which row is which. Where a
    /// transcript no longer contains the beginning that it had, rows that its new content does not
    /// yield again stay, with `is_superseded` set; so the table needs a column `is_superseded` of
    /// type `bool`. A column `first_run` of type `Option<i64>` is optional: the host writes the
    /// number of the run that recorded the row first in this session.
    #[must_use]
    pub fn keep_superseded<R: Row>(mut self, identity: &[&str]) -> Self {
        let key = format!("keep-superseded:{}", R::TABLE);
        self.extra.push((key, identity.join(",")));
        self
    }

    /// Asks the host to remove secrets from all texts before they are stored.
    ///
    /// For processors whose rows repeat what people wrote. Ids, references (`…_id`, `…_ref`,
    /// `…_uuid`, `…_user`, `…_by`) and keys of shared tables stay as they are.
    #[must_use]
    pub fn redact_secrets(mut self) -> Self {
        self.extra
            .push(("redact-secrets".to_owned(), "true".to_owned()));
        self
    }

    /// The same, one session after the other, each committed before the next: what shared tables
    /// need.
    #[must_use]
    pub fn serial(mut self) -> Self {
        self.order = Order::Serial;
        self
    }

    /// The same, which can't do without a language model.
    #[must_use]
    pub fn uses_llm(mut self) -> Self {
        self.uses_llm = true;
        self
    }

    /// The same with another cadence.
    #[must_use]
    pub fn every_seconds(mut self, seconds: u32) -> Self {
        self.cadence_seconds = seconds;
        self
    }
}

impl Summary {
    /// So many items were extracted.
    pub fn items(items: u64) -> Self {
        Self { items }
    }
}

/// Makes the component out of a [`Processor`]. Once, in the crate that is the `cdylib`.
///
/// Outside WebAssembly it exports nothing, so that the same crate can be a library for tests.
#[macro_export]
macro_rules! export {
    ($processor:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            // A name that hides no name of the author's: items know no hygiene.
            type __ExportedProcessor = $crate::processor::Exported<$processor>;
            $crate::bindings::export_guest! { __ExportedProcessor with_types_in $crate::bindings }
        };

        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            // Named, so that what is only exported is no dead code here.
            let _ = <$processor as $crate::Processor>::manifest;
            let _ = <$processor as $crate::Processor>::process;
        };
    };
}

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use exported::Exported;

#[cfg(target_family = "wasm")]
mod exported {
    use std::marker::PhantomData;

    use super::Processor;
    use crate::bindings::exports::session_pipeline::processor::guest;
    use crate::host::Imports;
    use crate::session::{Session, SessionInfo, Settings};

    /// A processor as the component exports it.
    pub struct Exported<P>(PhantomData<P>);

    impl<P: Processor> guest::Guest for Exported<P> {
        fn describe(settings: guest::Pairs) -> Result<guest::Manifest, String> {
            let manifest = P::manifest(&Settings { pairs: settings })?;
            Ok(guest::Manifest {
                name: manifest.name,
                version: manifest.version,
                description: manifest.description,
                cadence_seconds: manifest.cadence_seconds,
                order: manifest.order,
                uses_llm: manifest.uses_llm,
                tables: manifest.tables,
                extra: manifest.extra,
            })
        }

        fn process(session: guest::SessionInfo) -> Result<guest::Summary, String> {
            let info = SessionInfo {
                key: session.key,
                directory: session.directory,
                username: session.username,
                user_id: session.user_id,
                size: session.size,
                settings: Settings {
                    pairs: session.settings,
                },
            };
            let summary = P::process(&Session::new(&Imports, &info))?;
            Ok(guest::Summary {
                items: summary.items,
                extra: Vec::new(),
            })
        }
    }
}

//! The trait that authors implement, and the macro that makes a component of it.

pub use crate::bindings::session_pipeline::processor::types::Order;

use crate::session::{Session, Settings};
use crate::table::{Row, Table};

/// A processor.
///
/// Both functions are called on a fresh instance each time. Therefore, they have no `self`, and
/// state does not persist.
pub trait Processor {
    /// Describes the processor with these settings. Must return the same manifest each time.
    fn manifest(settings: &Settings) -> Result<Manifest, String>;

    /// Processes one session. An error is a failed attempt with its reason. The rows are then
    /// dropped, and the host retries later.
    fn process(session: &Session<'_>) -> Result<Summary, String>;
}

/// The description of a processor.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The name: `[a-z][a-z0-9-]{0,62}`. It is also the processor's schema in the database.
    pub name: String,
    /// The version. Raising it means "process every session again".
    pub version: u32,
    /// One sentence for people.
    pub description: String,
    /// The interval between runs. The operator can override it.
    pub cadence_seconds: u32,
    /// Whether sessions can be processed in parallel.
    pub order: Order,
    /// Whether the processor needs a language model.
    pub uses_llm: bool,
    /// The tables of the processor.
    pub tables: Vec<Table>,
    /// Options that later versions of the contract added.
    pub extra: Vec<(String, String)>,
}

/// The result of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of extracted items.
    pub items: u64,
}

impl Manifest {
    /// Creates a processor without tables. It runs every ten minutes and can process sessions in
    /// parallel.
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

    /// Adds a table.
    #[must_use]
    pub fn table<R: Row>(mut self) -> Self {
        self.tables.push(R::table());
        self
    }

    /// Adds a table whose rows are kept when a rewritten transcript no longer produces them.
    ///
    /// Agents truncate transcripts (compaction), and people edit them, but billed usage stays
    /// billed. The first `identity` column that is not null identifies a row. If a transcript no
    /// longer begins with its previous content, rows that the new content does not produce are
    /// kept, with `is_superseded` set. Therefore, the table needs a column `is_superseded` of type
    /// `bool`. A column `first_run` of type `Option<i64>` is optional: the host stores the number
    /// of the run that first recorded the row in this session.
    #[must_use]
    pub fn keep_superseded<R: Row>(mut self, identity: &[&str]) -> Self {
        let key = format!("keep-superseded:{}", R::TABLE);
        self.extra.push((key, identity.join(",")));
        self
    }

    /// Asks the host to remove secrets from all texts before it stores them.
    ///
    /// Use it for processors whose rows repeat text written by people. Ids, references (`…_id`,
    /// `…_ref`, `…_uuid`, `…_user`, `…_by`) and keys of shared tables are not changed.
    #[must_use]
    pub fn redact_secrets(mut self) -> Self {
        self.extra
            .push(("redact-secrets".to_owned(), "true".to_owned()));
        self
    }

    /// Processes sessions one after the other, each committed before the next. Shared tables need
    /// this.
    #[must_use]
    pub fn serial(mut self) -> Self {
        self.order = Order::Serial;
        self
    }

    /// Declares that the processor needs a language model.
    #[must_use]
    pub fn uses_llm(mut self) -> Self {
        self.uses_llm = true;
        self
    }

    /// Sets the interval between runs.
    #[must_use]
    pub fn every_seconds(mut self, seconds: u32) -> Self {
        self.cadence_seconds = seconds;
        self
    }
}

impl Summary {
    /// Creates a summary with this number of extracted items.
    pub fn items(items: u64) -> Self {
        Self { items }
    }
}

/// Exports a [`Processor`] as a component. Use it once, in the crate of type `cdylib`.
///
/// `export!(resumable MyProcessor)` also exports its [`Resumable`](crate::Resumable).
///
/// On other targets than WebAssembly, it exports nothing, so that the same crate can be a library
/// for tests.
#[macro_export]
macro_rules! export {
    (resumable $processor:ty) => {
        $crate::export!($processor);

        #[cfg(target_family = "wasm")]
        const _: () = {
            type __ExportedResumable = $crate::processor::Exported<$processor>;
            $crate::resumable_bindings::export_resumable! {
                __ExportedResumable with_types_in $crate::resumable_bindings
            }
        };

        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            let _ = <$processor as $crate::Resumable>::resume;
        };
    };
    ($processor:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            // A unique name, because macro items are not hygienic.
            type __ExportedProcessor = $crate::processor::Exported<$processor>;
            $crate::bindings::export_guest! { __ExportedProcessor with_types_in $crate::bindings }
        };

        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            // Uses the type, so that it does not count as dead code.
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

    use super::{Processor, Summary};
    use crate::bindings::exports::session_pipeline::processor::guest;
    use crate::host::Imports;
    use crate::resumable_bindings::exports::session_pipeline::processor::resumable;
    use crate::resumption::Resumable;
    use crate::session::{Session, SessionInfo, Settings};

    /// Adapts a processor to the exports of a component.
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
            let info = info(session);
            let summary = P::process(&Session::new(&Imports, &info))?;
            Ok(exported(summary))
        }
    }

    impl<P: Resumable> resumable::Guest for Exported<P> {
        fn resume(
            session: guest::SessionInfo,
            state: Vec<u8>,
        ) -> Result<Option<guest::Summary>, String> {
            let info = info(session);
            let summary = P::resume(&Session::new(&Imports, &info), &state)?;
            Ok(summary.map(exported))
        }
    }

    fn info(session: guest::SessionInfo) -> SessionInfo {
        SessionInfo {
            key: session.key,
            directory: session.directory,
            username: session.username,
            user_id: session.user_id,
            size: session.size,
            settings: Settings {
                pairs: session.settings,
            },
        }
    }

    fn exported(summary: Summary) -> guest::Summary {
        guest::Summary {
            items: summary.items,
            extra: Vec::new(),
        }
    }
}

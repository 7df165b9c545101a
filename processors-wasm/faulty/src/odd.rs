//! Guests that break a law of the contract: they keep one row a line as the others do, but take all
//! lines at once, and do something to them that they had better not.

use session_pipeline_processor::json::Json;
use session_pipeline_processor::{Session, Summary, rows};

use crate::LineRow;

rows! {
    /// A number that outlives its session.
    pub struct Known in shared "known" by name {
        /// Of what.
        name: String,
        /// The number.
        number: i64,
    }
}

/// All lines of a session, on their way to the table.
pub struct AllLines<'s, 'h> {
    /// The session.
    pub session: &'s Session<'h>,
    /// A row for each line.
    pub rows: Vec<LineRow>,
}

impl AllLines<'_, '_> {
    /// The id of the session, as the first line says that has one.
    pub fn session_id(&self) -> Option<String> {
        let id_of = |text: &str| {
            let id = Json::parse(text)?.field("sessionId")?.text()?;
            Some(id.decode().into_owned())
        };
        self.rows.iter().find_map(|line| id_of(&line.text))
    }

    /// Keeps a number for good.
    pub fn remember(&self, name: &str, number: i64) {
        let name = name.to_owned();
        self.session.upsert(Known { name, number });
    }
}

/// Reads all lines, does what is odd, and keeps what is left.
pub fn process<'h>(
    session: &Session<'h>,
    odd: impl FnOnce(&mut AllLines<'_, 'h>) -> Result<(), String>,
) -> Result<Summary, String> {
    let mut lines = session.lines();
    let mut all = AllLines {
        session,
        rows: Vec::new(),
    };
    while let Some(line) = lines.next_line() {
        let text = String::from_utf8_lossy(line.bytes).into_owned();
        let line = line.number;
        all.rows.push(LineRow { line, text });
    }
    let count = all.rows.len() as u64;
    odd(&mut all)?;
    let mut table = session.table();
    for row in all.rows {
        table.insert(row);
    }
    Ok(Summary::items(count))
}

/// Makes a guest out of what it does to its lines.
#[macro_export]
macro_rules! odd_guest {
    ($way:literal, |$lines:ident| $odd:expr) => {
        $crate::guest_of!($crate::manifest($way), |session| $crate::odd::process(
            session,
            |$lines| $odd
        ));
    };
}

/// The same of a guest that remembers numbers: the second argument looks one up.
#[macro_export]
macro_rules! remembering_guest {
    ($way:literal, |$lines:ident, $known:ident| $odd:expr) => {
        $crate::guest_of!(
            $crate::manifest($way)
                .serial()
                .table::<$crate::odd::Known>(),
            |session| $crate::odd::process(session, |$lines| {
                let $known = |name: &str| {
                    let by_name = session.lookup::<$crate::odd::Known>().equal("name", name);
                    by_name.first().ok().flatten()
                };
                $odd
            })
        );
    };
}

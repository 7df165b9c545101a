//! Expected fault: none, or what the misuse that a line asks for is answered with.
//!
//! Keeps words over all sessions, as the lines of a transcript tell it: `{"do":"put","word":…}`
//! upserts, `{"do":"find",…}` looks up and keeps what it found among its own rows, and the other
//! deeds are misuse. What is well used is what tests of shared tables run.

use session_pipeline_faulty::LineRow;
use session_pipeline_processor::json::{Json, JsonText};
use session_pipeline_processor::shared::Comparison;
use session_pipeline_processor::table::{Row, Value};
use session_pipeline_processor::{
    Manifest, Processor, Session, Settings, Summary, Timestamp, export, rows,
};

rows! {
    /// A word, and what was last said of it.
    struct Word in shared "words" by word {
        word: String,
        number: Option<i64>,
        share: Option<f64>,
        flag: Option<bool>,
        note: Option<String>,
        said_at: Option<Timestamp>,
        tags: Option<JsonText>,
    }
}

rows! {
    /// What a look-up found.
    struct Found in "found" {
        line: u64,
        words: String,
        numbers: String,
    }
}

struct Remembers;

impl Processor for Remembers {
    fn manifest(_: &Settings) -> Result<Manifest, String> {
        let manifest = session_pipeline_faulty::manifest("remembers").serial();
        Ok(manifest.table::<Word>().table::<Found>())
    }

    fn process(session: &Session<'_>) -> Result<Summary, String> {
        let mut table = session.table();
        let mut lines = session.lines();
        let mut count = 0;
        while let Some(line) = lines.next_line() {
            let text = std::str::from_utf8(line.bytes).map_err(|error| error.to_string())?;
            table.insert(LineRow {
                line: line.number,
                text: text.to_owned(),
            });
            obey(
                session,
                line.number,
                Json::parse(text).ok_or("a line is no JSON")?,
            )?;
            count += 1;
        }
        Ok(Summary::items(count))
    }
}

fn text(deed: Json<'_>, field: &str) -> Option<String> {
    Some(deed.field(field)?.text()?.decode().into_owned())
}

fn obey(session: &Session<'_>, line: u64, deed: Json<'_>) -> Result<(), String> {
    match text(deed, "do").unwrap_or_default().as_str() {
        "put" => session.upsert(word_of(deed)),
        "put_many" => {
            let words = deed.field("words").into_iter();
            let words = words.flat_map(|words| words.elements().collect::<Vec<_>>());
            session.upsert_all(words.map(word_of));
        }
        "find" => find(session, line, deed)?,
        "find_endlessly" => loop {
            session.lookup::<Word>().equal("word", "a").rows()?;
        },
        "" => {}
        "fail" => return Err("told to fail".to_owned()),
        "put_without_key" => {
            let nothing = vec![Value::Null; 7];
            session.upsert_values(Word::TABLE, &[nothing]);
        }
        "put_in_found" => {
            let row = vec![Value::S64(1), Value::Text("a"), Value::Text("1")];
            session.upsert_values("found", &[row]);
        }
        "put_in_nothing" => session.upsert_values("nothing", &[vec![Value::Text("a")]]),
        "put_wrong_type" => {
            let mut row = vec![Value::Null; 7];
            row[0] = Value::Text("a");
            row[1] = Value::Text("no number");
            session.upsert_values(Word::TABLE, &[row]);
        }
        "insert_words" => session.insert(Word::TABLE, &[vec![Value::Null; 7]]),
        "find_in_found" => {
            session.lookup_values("found", &[], None, false, 1);
        }
        "find_in_nothing" => {
            session.lookup_values("nothing", &[], None, false, 1);
        }
        "find_by_unknown_column" => {
            session.lookup::<Word>().equal("\u{1b}[2J", 1_i64).rows()?;
        }
        "find_by_wrong_type" => {
            session.lookup::<Word>().equal("number", "one").rows()?;
        }
        "find_by_time" => {
            session.lookup::<Word>().equal("updated_at", 1_i64).rows()?;
        }
        "find_in_unknown_order" => {
            session.lookup::<Word>().order_by("words; --").rows()?;
        }
        "find_by_many_filters" => {
            let question = session.lookup::<Word>();
            (0..33_i64)
                .fold(question, |question, number| {
                    question.not_equal("number", number)
                })
                .rows()?;
        }
        deed => return Err(format!("`{deed}` is no deed")),
    }
    Ok(())
}

fn word_of(deed: Json<'_>) -> Word {
    Word {
        // A long one by its length: lines need not be as long.
        word: match deed.field("length").and_then(|length| length.s64()) {
            Some(length) => "w".repeat(usize::try_from(length).unwrap_or_default()),
            None => text(deed, "word").unwrap_or_default(),
        },
        number: deed.field("number").and_then(|number| number.s64()),
        share: deed.field("share").and_then(|share| share.f64()),
        flag: deed.field("flag").and_then(|flag| flag.bool()),
        note: text(deed, "note"),
        said_at: text(deed, "said_at").and_then(|at| Timestamp::parse(&at)),
        tags: deed
            .field("tags")
            .and_then(|tags| JsonText::new(tags.raw())),
    }
}

fn find(session: &Session<'_>, line: u64, deed: Json<'_>) -> Result<(), String> {
    let mut question = session.lookup::<Word>();
    for filter in deed
        .field("where")
        .into_iter()
        .flat_map(|all| all.elements().collect::<Vec<_>>())
    {
        let parts: Vec<Json<'_>> = filter.elements().collect();
        let [column, comparison, value] = parts[..] else {
            return Err("a filter has three parts".to_owned());
        };
        let column = column
            .text()
            .ok_or("a column is a string")?
            .decode()
            .into_owned();
        let comparison = match comparison.text().ok_or("a comparison is a string")?.raw() {
            "=" => Comparison::Equal,
            "!=" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            other => return Err(format!("`{other}` is no comparison")),
        };
        question = match column.as_str() {
            "number" => question.filter(&column, comparison, value.s64()),
            "share" => question.filter(&column, comparison, value.f64()),
            "flag" => question.filter(&column, comparison, value.bool()),
            "said_at" => {
                let at = value.text().and_then(|at| Timestamp::parse(&at.decode()));
                question.filter(&column, comparison, at)
            }
            "tags" => {
                let tags = (!value.is_null())
                    .then(|| JsonText::new(value.raw()))
                    .flatten();
                question.filter(&column, comparison, tags)
            }
            _ => {
                let text = value.text().map(|text| text.decode().into_owned());
                question.filter(&column, comparison, text)
            }
        };
    }
    if let Some(column) = text(deed, "by") {
        question = question.order_by(&column);
    }
    if deed.field("down").and_then(|down| down.bool()) == Some(true) {
        question = question.descending();
    }
    if let Some(limit) = deed.field("limit").and_then(|limit| limit.s64()) {
        question = question.limit(u32::try_from(limit).unwrap_or(u32::MAX));
    }
    let found = question.rows()?;
    let number = |word: &Word| {
        word.number
            .map_or_else(|| "-".to_owned(), |n| n.to_string())
    };
    let words: Vec<String> = found.iter().map(|word| word.word.clone()).collect();
    let numbers: Vec<String> = found.iter().map(number).collect();
    session.table::<Found>().insert(Found {
        line,
        words: words.join(" "),
        numbers: numbers.join(" "),
    });
    Ok(())
}

export!(Remembers);

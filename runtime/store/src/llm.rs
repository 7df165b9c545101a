//! The tables `llm_responses` and `llm_calls`: what language models answered, and what was asked.
//!
//! Both are written at once, by themselves: an answer that was paid for outlives its session's
//! failure, and what may be spent is reserved before anything is sent.

use duckdb::{Connection, OptionalExt, Row, params};
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;

use crate::counters::raise_counter;
use crate::error::StoreError;
use crate::money::Usd;
use crate::sql::{bigint, timestamp};
use crate::store::Store;
use crate::transaction::in_transaction;

/// What may be spent; each is reserved before a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// For one session in one run.
    pub session: Budget,
    /// For one run.
    pub run: Budget,
    /// For one day of UTC, over restarts.
    pub day: Budget,
}

/// An amount of requests and tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests, repeated ones included.
    pub calls_max: u64,
    /// Tokens, of requests and answers together.
    pub tokens_max: u64,
}

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// A request that is about to be sent, with what it may come to at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmCall {
    /// The run it is sent in.
    pub run_id: String,
    /// For which processor.
    pub processor_name: String,
    /// For which session.
    pub session_file: String,
    /// To which model.
    pub model: String,
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmOutcome {
    /// `answered`, or the class of the error.
    pub outcome: &'static str,
    /// Tokens of request and answer; `None`: nobody knows, so that what was reserved stays.
    pub tokens: Option<(u64, u64)>,
    /// What it cost; `None`: nobody knows.
    pub cost: Option<Usd>,
}

/// Which budget has no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverBudget {
    /// The session's in this run.
    Session,
    /// The run's.
    Run,
    /// The day's.
    Day,
}

impl OverBudget {
    /// The word for it, as in the names of the keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Run => "run",
            Self::Day => "day",
        }
    }
}

/// What a run asked of language models. What came out of the cache is not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = RunLlm))]
pub struct LlmUse {
    /// Requests sent, repeated ones included.
    pub calls: u64,
    /// Tokens of the requests.
    pub input_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
    /// Cost in US dollars of the requests whose model has a price.
    #[serde(rename = "cost_usd")]
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub cost: Usd,
    /// Requests whose cost nobody knows.
    pub unpriced_calls: u64,
}

/// What each run asked: `run_id` and the columns that [`llm_use_at`] reads.
pub(crate) const USES: &str = "SELECT run_id, count(*) AS calls, CAST(sum(input_tokens) AS BIGINT) AS input_tokens, \
     CAST(sum(output_tokens) AS BIGINT) AS output_tokens, CAST(coalesce(sum(cost_pico_dollars), 0) AS HUGEINT) AS cost, \
     count(*) FILTER (cost_pico_dollars IS NULL) AS unpriced_calls FROM main.llm_calls GROUP BY run_id";

/// What stands from this column on; `None` where the run asked nothing.
pub(crate) fn llm_use_at(row: &Row<'_>, column: usize) -> duckdb::Result<Option<LlmUse>> {
    let Some(calls) = row.get(column)? else {
        return Ok(None);
    };
    Ok(Some(LlmUse {
        calls,
        input_tokens: row.get(column + 1)?,
        output_tokens: row.get(column + 2)?,
        cost: Usd {
            pico_dollars: row.get(column + 3)?,
        },
        unpriced_calls: row.get(column + 4)?,
    }))
}

impl Store {
    /// Reserves what a request may come to, if every budget has room for it; gives its id.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn reserve_llm_call(
        &self,
        call: LlmCall,
        budgets: Budgets,
        now: UtcMicros,
    ) -> Result<Result<i64, OverBudget>, StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                if let Some(over) = over_budget(connection, &call, budgets, now)? {
                    return Ok(Err(over));
                }
                let id = raise_counter(connection, "llm_call", 1)?;
                connection
                    .prepare_cached(
                        "INSERT INTO main.llm_calls (id, run_id, processor_name, session_file, model, sent_at, input_tokens, output_tokens)
                        VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![
                            id,
                            call.run_id,
                            call.processor_name,
                            call.session_file,
                            call.model,
                            timestamp(now),
                            bigint(call.input_tokens),
                            bigint(call.output_tokens),
                        ])
                    })
                    .map_err(StoreError::database("a call of a language model"))?;
                Ok(Ok(id))
            })
        })
    }

    /// Says what a request came to.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn settle_llm_call(&self, id: i64, outcome: LlmOutcome) -> Result<(), StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let tokens = outcome.tokens;
                connection
                    .prepare_cached(
                        "UPDATE main.llm_calls SET outcome = ?, input_tokens = coalesce(?, input_tokens),
                            output_tokens = coalesce(?, output_tokens), cost_pico_dollars = ?
                        WHERE id = ?",
                    )
                    .and_then(|mut statement| {
                        statement.execute(params![
                            outcome.outcome,
                            tokens.map(|(input, _)| bigint(input)),
                            tokens.map(|(_, output)| bigint(output)),
                            outcome.cost.map(|cost| cost.pico_dollars),
                            id,
                        ])
                    })
                    .map_err(StoreError::database("what a language model's call came to"))?;
                Ok(())
            })
        })
    }

    /// What a run asked of language models.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn llm_use(&self, run_id: &str) -> Result<LlmUse, StoreError> {
        let connection = self.reader()?;
        let found = connection
            .prepare(&format!("FROM ({USES}) WHERE run_id = ?"))
            .and_then(|mut statement| {
                statement
                    .query_row([run_id], |row| llm_use_at(row, 1))
                    .optional()
            })
            .map_err(StoreError::database(
                "to read a run's calls of language models",
            ))?;
        Ok(found.flatten().unwrap_or_default())
    }

    /// An answer that was kept, by the hash of its request.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn llm_response(&self, request_hash: &str) -> Result<Option<String>, StoreError> {
        let connection = self.reader()?;
        connection
            .prepare("SELECT response FROM main.llm_responses WHERE request_hash = ?")
            .and_then(|mut statement| {
                statement
                    .query_row([request_hash], |row| row.get(0))
                    .optional()
            })
            .map_err(StoreError::database(
                "to read an answer of a language model",
            ))
    }

    /// Keeps an answer, at once and by itself.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn keep_llm_response(
        &self,
        request_hash: String,
        response: String,
        tokens: u64,
        now: UtcMicros,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            in_transaction(connection, |connection| {
                let values = params![response, bigint(tokens), timestamp(now), request_hash];
                for sql in [
                    "UPDATE main.llm_responses SET response = ?, tokens = ?, created_at = ? WHERE request_hash = ?",
                    "INSERT INTO main.llm_responses (response, tokens, created_at, request_hash) VALUES (?, ?, ?, ?)",
                ] {
                    let changed = connection
                        .prepare_cached(sql)
                        .and_then(|mut statement| statement.execute(values))
                        .map_err(StoreError::database("an answer of a language model"))?;
                    if changed > 0 {
                        break;
                    }
                }
                Ok(())
            })
        })
    }
}

/// The first budget that has no room for a call.
fn over_budget(
    connection: &Connection,
    call: &LlmCall,
    budgets: Budgets,
    now: UtcMicros,
) -> Result<Option<OverBudget>, StoreError> {
    let spent = |filter: &str, values: &[&dyn duckdb::ToSql]| -> Result<(u64, u64), StoreError> {
        connection
            .prepare_cached(&format!(
                "SELECT count(*), CAST(coalesce(sum(input_tokens + output_tokens), 0) AS BIGINT) FROM main.llm_calls WHERE {filter}"
            ))
            .and_then(|mut statement| statement.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))))
            .map_err(StoreError::database("to add up a budget"))
    };
    let wanted = call.input_tokens.saturating_add(call.output_tokens);
    let has_room = |(calls, tokens): (u64, u64), budget: Budget| {
        calls < budget.calls_max && tokens.saturating_add(wanted) <= budget.tokens_max
    };
    let session = spent(
        "run_id = ? AND session_file = ?",
        &[&call.run_id, &call.session_file],
    )?;
    if !has_room(session, budgets.session) {
        return Ok(Some(OverBudget::Session));
    }
    if !has_room(spent("run_id = ?", &[&call.run_id])?, budgets.run) {
        return Ok(Some(OverBudget::Run));
    }
    let midnight = timestamp(UtcMicros(now.0 - now.0.rem_euclid(DAY_MICROS)));
    let day = spent("sent_at >= ?", &[&midnight])?;
    Ok((!has_room(day, budgets.day)).then_some(OverBudget::Day))
}

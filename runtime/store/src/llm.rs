//! The tables `llm_responses` and `llm_calls`: responses of language models, and the requests to
//! them.
//!
//! Both are written immediately, in separate transactions. A response that was paid for survives
//! the failure of its session. The budget is reserved before a request is sent.

use duckdb::{Connection, OptionalExt, Row, params};
use serde::{Deserialize, Serialize};
use session_pipeline_host::clock::UtcMicros;

use crate::activity::ModelWork;
use crate::counters::raise_counter;
use crate::error::StoreError;
use crate::money::Usd;
use crate::sql::{bigint, timestamp};
use crate::store::Store;
use crate::transaction::in_transaction;

/// Budgets for language models. All of them are reserved before a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// The budget of one session in one run.
    pub session: Budget,
    /// The budget of one run.
    pub run: Budget,
    /// The budget of one UTC day, across restarts.
    pub day: Budget,
}

/// A number of requests and tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Requests, including retries.
    pub calls_max: u64,
    /// Tokens of requests and responses together.
    pub tokens_max: u64,
}

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// A request that is about to be sent, with its maximum number of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmCall {
    /// The id of the run.
    pub run_id: String,
    /// The name of the processor.
    pub processor_name: String,
    /// The session key.
    pub session_file: String,
    /// The name of the model.
    pub model: String,
    /// Tokens in the request.
    pub input_tokens: u64,
    /// Maximum number of tokens in the response.
    pub output_tokens: u64,
}

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmOutcome {
    /// `answered`, or the class of the error.
    pub outcome: &'static str,
    /// Tokens in the request and the response. `None` if unknown. The reservation then remains.
    pub tokens: Option<(u64, u64)>,
    /// The cost. `None` if unknown.
    pub cost: Option<Usd>,
}

/// The budget that a request would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExceededBudget {
    /// The budget of the session in this run.
    Session,
    /// The budget of the run.
    Run,
    /// The budget of the day.
    Day,
}

impl ExceededBudget {
    /// The name, as in the config keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Run => "run",
            Self::Day => "day",
        }
    }
}

/// The language model usage of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = RunLlm))]
pub struct LlmUsage {
    /// Requests sent, including retries.
    pub calls: u64,
    /// Tokens in the requests.
    pub input_tokens: u64,
    /// Tokens in the responses.
    pub output_tokens: u64,
    /// Cost of the requests to models with a price.
    #[serde(rename = "cost_usd")]
    #[cfg_attr(feature = "schema", schema(value_type = f64))]
    pub cost: Usd,
    /// Requests with an unknown cost.
    pub unpriced_calls: u64,
}

/// The usage of each run: `run_id` and the columns that [`llm_use_at`] reads.
pub(crate) const USES: &str = "SELECT run_id, count(*) AS calls, CAST(sum(input_tokens) AS BIGINT) AS input_tokens, \
     CAST(sum(output_tokens) AS BIGINT) AS output_tokens, CAST(coalesce(sum(cost_pico_dollars), 0) AS HUGEINT) AS cost, \
     count(*) FILTER (cost_pico_dollars IS NULL) AS unpriced_calls FROM main.llm_calls GROUP BY run_id";

/// Reads the usage from this column on. `None` if the run sent no requests.
pub(crate) fn llm_use_at(row: &Row<'_>, column: usize) -> duckdb::Result<Option<LlmUsage>> {
    let Some(calls) = row.get(column)? else {
        return Ok(None);
    };
    Ok(Some(LlmUsage {
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
    /// Reserves the maximum cost of a request if it fits into every budget. Returns the id of the
    /// call.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn reserve_llm_call(
        &self,
        call: LlmCall,
        budgets: Budgets,
        now: UtcMicros,
    ) -> Result<Result<i64, ExceededBudget>, StoreError> {
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
                    .map_err(StoreError::database("reserve a language model call"))?;
                Ok(Ok(id))
            })
        })
    }

    /// Records the outcome of a request.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn settle_llm_call(&self, id: i64, outcome: LlmOutcome) -> Result<(), StoreError> {
        let name = outcome.outcome;
        let settled = self.write(move |connection| {
            in_transaction(connection, |connection| {
                let tokens = outcome.tokens;
                let cost = outcome.cost.unwrap_or_default();
                connection
                    .prepare_cached(
                        "UPDATE main.llm_calls SET outcome = ?, input_tokens = coalesce(?, input_tokens),
                            output_tokens = coalesce(?, output_tokens), cost_pico_dollars = ?
                        WHERE id = ? RETURNING processor_name, model, input_tokens, output_tokens",
                    )
                    .and_then(|mut statement| {
                        let values = params![
                            outcome.outcome,
                            tokens.map(|(input, _)| bigint(input)),
                            tokens.map(|(_, output)| bigint(output)),
                            outcome.cost.map(|cost| cost.pico_dollars),
                            id,
                        ];
                        let read = |row: &Row<'_>| {
                            let call = ModelWork {
                                calls: 1,
                                input_tokens: row.get(2)?,
                                output_tokens: row.get(3)?,
                                cost,
                            };
                            Ok((row.get(0)?, row.get(1)?, call))
                        };
                        statement.query_row(values, read).optional()
                    })
                    .map_err(StoreError::database("record the result of a language model call"))
            })
        })?;
        if let Some((processor, model, call)) = settled {
            self.activity().model_called(processor, model, name, call);
        }
        Ok(())
    }

    /// The language model usage of a run.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn llm_use(&self, run_id: &str) -> Result<LlmUsage, StoreError> {
        let connection = self.reader()?;
        let found = connection
            .prepare(&format!("FROM ({USES}) WHERE run_id = ?"))
            .and_then(|mut statement| {
                statement
                    .query_row([run_id], |row| llm_use_at(row, 1))
                    .optional()
            })
            .map_err(StoreError::database(
                "read the language model calls of a run",
            ))?;
        Ok(found.flatten().unwrap_or_default())
    }

    /// Looks up a stored response by the hash of its request.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn llm_response(&self, request_hash: &str) -> Result<Option<String>, StoreError> {
        let connection = self.reader()?;
        connection
            .prepare("SELECT response FROM main.llm_responses WHERE request_hash = ?")
            .and_then(|mut statement| {
                statement
                    .query_row([request_hash], |row| row.get(0))
                    .optional()
            })
            .map_err(StoreError::database("read a language model response"))
    }

    /// Stores a response immediately, in its own transaction.
    ///
    /// # Errors
    /// The database cannot be written.
    pub fn store_llm_response(
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
                        .map_err(StoreError::database("store a language model response"))?;
                    if changed > 0 {
                        break;
                    }
                }
                Ok(())
            })
        })
    }
}

/// The first budget that the request would exceed.
fn over_budget(
    connection: &Connection,
    call: &LlmCall,
    budgets: Budgets,
    now: UtcMicros,
) -> Result<Option<ExceededBudget>, StoreError> {
    let spent = |filter: &str, values: &[&dyn duckdb::ToSql]| -> Result<(u64, u64), StoreError> {
        connection
            .prepare_cached(&format!(
                "SELECT count(*), CAST(coalesce(sum(input_tokens + output_tokens), 0) AS BIGINT) FROM main.llm_calls WHERE {filter}"
            ))
            .and_then(|mut statement| statement.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))))
            .map_err(StoreError::database("compute the used budget"))
    };
    let wanted = call.input_tokens.saturating_add(call.output_tokens);
    let fits = |(calls, tokens): (u64, u64), budget: Budget| {
        calls < budget.calls_max && tokens.saturating_add(wanted) <= budget.tokens_max
    };
    let session = spent(
        "run_id = ? AND session_file = ?",
        &[&call.run_id, &call.session_file],
    )?;
    if !fits(session, budgets.session) {
        return Ok(Some(ExceededBudget::Session));
    }
    if !fits(spent("run_id = ?", &[&call.run_id])?, budgets.run) {
        return Ok(Some(ExceededBudget::Run));
    }
    let midnight = timestamp(UtcMicros(now.0 - now.0.rem_euclid(DAY_MICROS)));
    let day = spent("sent_at >= ?", &[&midnight])?;
    Ok((!fits(day, budgets.day)).then_some(ExceededBudget::Day))
}

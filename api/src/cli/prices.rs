//! `prices`: lists prices of models, and updates them from LiteLLM's table.

use clap::{Args, Subcommand};
use session_pipeline_host::day::Day;
use session_pipeline_host::fault::printable;
use session_pipeline_pipeline::csv::{self, CsvCell};
use session_pipeline_pipeline::report::{
    Decimal, ListedPrice, LongContextPrice, ModelPrice, PriceList, PriceMatch, PriceOrigin,
    PriceSource, PriceTable, PriceUpdateReport, fetch_prices,
};

use super::client::{OpenMode, RouteCall};
use super::table::{count_of, number, plural, table};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json};

const LIST_PATH: &str = "/api/usage/prices";
const UPDATE_PATH: &str = "/api/admin/prices/update";
/// Maximum number of models that a hint names.
const MODELS_NAMED_MAX: usize = 10;

#[derive(Debug, Subcommand)]
pub(super) enum PricesCommand {
    /// List the prices of the models in use, and the models without a price
    List(ListArgs),
    /// Update your price file from LiteLLM's public table; entries that you wrote stay unchanged
    #[command(after_help = UPDATE_HELP)]
    Update(UpdateArgs),
}

const UPDATE_HELP: &str = "This is the only command that fetches prices. By default, it sends one request to raw.githubusercontent.com, \
    which contains no data of yours. docs/prices.md explains which prices it takes.";

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The day of the prices, in UTC [default: today]
    #[arg(long, value_name = "YYYY-MM-DD")]
    day: Option<Day>,
    /// List all prices, and not only those of models in the database
    #[arg(long)]
    all: bool,
    /// Print CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Debug, Args)]
pub(super) struct UpdateArgs {
    /// Another copy of the table: a file, or an http or https address [default: LiteLLM's repository]
    #[arg(long, value_name = "FILE|URL")]
    from: Option<PriceSource>,
    /// Add all chat models of the table, and not only those in the database
    #[arg(long)]
    all: bool,
    /// Show the changes without writing them
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn prices(global: &GlobalArgs, command: &PricesCommand) -> Result<Exit, CommandFailure> {
    match command {
        PricesCommand::List(arguments) => list(global, arguments),
        PricesCommand::Update(arguments) => update(global, arguments),
    }
}

fn list(global: &GlobalArgs, arguments: &ListArgs) -> Result<Exit, CommandFailure> {
    let day = arguments.day.map(|day| day.to_string());
    let call = RouteCall::get(LIST_PATH)
        .query([("all", if arguments.all { "true" } else { "false" })])
        .optional("day", day.as_deref());
    let listed: PriceList = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&listed)?;
    } else if arguments.csv {
        super::print_exact(&comma_separated(&listed))?;
    } else {
        print(&people(&listed))?;
        remarks(&listed, &PriceTable::file_of(&global.config()?));
    }
    Ok(Exit::Done)
}

const COLUMNS: [&str; 20] = [
    "model",
    "price of",
    "input",
    "output",
    "cache read",
    "5m write",
    "1h write",
    "long context",
    "fast",
    "regional",
    "US",
    "batch",
    "1000 searches",
    "from",
    "until",
    "checked",
    "origin",
    "tokens",
    "unpriced",
    "source",
];

fn people(listed: &PriceList) -> String {
    let count = count_of(listed.models.len() as u64, "model", "models");
    let caption = format!(
        "{count} on {}, in US dollars per million tokens",
        listed.day
    );
    if listed.models.is_empty() {
        return caption;
    }
    let texts = ["price of", "long context", "origin", "source"];
    let mut table = table(&COLUMNS).with_texts(&texts);
    for model in &listed.models {
        let mut cells = vec![printable(&model.model)];
        match &model.price {
            Some(price) => cells.extend(price_cells(price)),
            None => {
                cells.push("no price".to_owned());
                cells.extend(std::iter::repeat_n("?".to_owned(), 5));
                cells.extend(std::iter::repeat_n("-".to_owned(), 10));
            }
        }
        let count = |count: Option<i64>| count.map_or_else(|| "-".to_owned(), number);
        cells.push(count(model.tokens));
        cells.push(count(model.unpriced_messages));
        let source = model
            .price
            .as_ref()
            .and_then(|price| price.source.as_deref());
        cells.push(source.map_or_else(|| "-".to_owned(), printable));
        table.add_row(cells);
    }
    format!("{}\n{caption}", table.render())
}

/// The cells from `price of` to `origin`.
fn price_cells(price: &ListedPrice) -> Vec<String> {
    let factor = |factor: Decimal, is_usual: bool| match is_usual {
        true => "-".to_owned(),
        false => format!("× {factor}"),
    };
    let one = |decimal: Decimal| decimal.to_string() == "1";
    let found = match price.matched_by {
        PriceMatch::Id => printable(&price.id),
        PriceMatch::Alias => format!("{} (alias)", printable(&price.id)),
        PriceMatch::Family => format!("{} (family)", printable(&price.id)),
        PriceMatch::Spelling => format!("{} (spelling)", printable(&price.id)),
    };
    let or_none = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
    vec![
        found,
        price.input.to_string(),
        price.output.to_string(),
        price.cache_read.to_string(),
        price.cache_write_5m.to_string(),
        price.cache_write_1h.to_string(),
        price
            .long_context
            .as_ref()
            .map_or_else(|| "-".to_owned(), long_context),
        factor(price.fast, one(price.fast)),
        factor(price.regional, one(price.regional)),
        factor(price.us_inference, one(price.us_inference)),
        factor(price.batch, false),
        price.web_search.to_string(),
        printable(&price.from),
        or_none(&price.until),
        or_none(&price.checked),
        origin(price.origin).to_owned(),
    ]
}

/// `above 200 000: 6 / 22.5 / 0.6 / 7.5 / 12`, in the order of the columns.
fn long_context(long: &LongContextPrice) -> String {
    let LongContextPrice {
        above,
        input,
        output,
        cache_read,
        cache_write_5m,
        cache_write_1h,
    } = long;
    format!(
        "above {}: {input} / {output} / {cache_read} / {cache_write_5m} / {cache_write_1h}",
        number(*above)
    )
}

fn origin(origin: PriceOrigin) -> &'static str {
    match origin {
        PriceOrigin::Shipped => "shipped",
        PriceOrigin::Operator => "operator",
        PriceOrigin::Update => "update",
    }
}

fn matched_by(matched_by: PriceMatch) -> &'static str {
    match matched_by {
        PriceMatch::Id => "id",
        PriceMatch::Alias => "alias",
        PriceMatch::Family => "family",
        PriceMatch::Spelling => "spelling",
    }
}

/// The columns of the CSV, with whether each is a number.
const FIELDS: [(&str, bool); 30] = [
    ("model", false),
    ("id", false),
    ("matched_by", false),
    ("origin", false),
    ("input", true),
    ("output", true),
    ("cache_read", true),
    ("cache_write_5m", true),
    ("cache_write_1h", true),
    ("long_context_above", true),
    ("long_context_input", true),
    ("long_context_output", true),
    ("long_context_cache_read", true),
    ("long_context_cache_write_5m", true),
    ("long_context_cache_write_1h", true),
    ("fast", true),
    ("regional", true),
    ("is_regional", false),
    ("us_inference", true),
    ("batch", true),
    ("web_search", true),
    ("from", false),
    ("until", false),
    ("checked", false),
    ("source", false),
    ("tokens", true),
    ("unpriced_messages", true),
    ("day", false),
    ("has_price", false),
    ("provider", false),
];

fn comma_separated(listed: &PriceList) -> String {
    let mut out = String::new();
    csv::line(&mut out, FIELDS.iter().map(|(name, _)| CsvCell::Text(name)));
    for model in &listed.models {
        let values = fields(model, &listed.day);
        let cells = FIELDS
            .iter()
            .zip(&values)
            .map(|((_, is_number), value)| match is_number {
                true => CsvCell::Number(value),
                false => CsvCell::Text(value),
            });
        csv::line(&mut out, cells);
    }
    out
}

/// The values of [`FIELDS`]. A value that does not exist is empty.
fn fields(model: &ModelPrice, day: &str) -> Vec<String> {
    let price = model.price.as_ref();
    let text =
        |value: fn(&ListedPrice) -> Option<String>| price.and_then(value).unwrap_or_default();
    let amount = |value: fn(&ListedPrice) -> Decimal| {
        price
            .map(|price| value(price).to_string())
            .unwrap_or_default()
    };
    let long = |value: fn(&LongContextPrice) -> String| {
        let long = price.and_then(|price| price.long_context.as_ref());
        long.map(value).unwrap_or_default()
    };
    let count = |count: Option<i64>| count.map(|count| count.to_string()).unwrap_or_default();
    vec![
        model.model.clone(),
        text(|price| Some(price.id.clone())),
        text(|price| Some(matched_by(price.matched_by).to_owned())),
        text(|price| Some(origin(price.origin).to_owned())),
        amount(|price| price.input),
        amount(|price| price.output),
        amount(|price| price.cache_read),
        amount(|price| price.cache_write_5m),
        amount(|price| price.cache_write_1h),
        long(|long| long.above.to_string()),
        long(|long| long.input.to_string()),
        long(|long| long.output.to_string()),
        long(|long| long.cache_read.to_string()),
        long(|long| long.cache_write_5m.to_string()),
        long(|long| long.cache_write_1h.to_string()),
        amount(|price| price.fast),
        amount(|price| price.regional),
        text(|price| Some(price.is_regional.to_string())),
        amount(|price| price.us_inference),
        amount(|price| price.batch),
        amount(|price| price.web_search),
        text(|price| Some(price.from.clone())),
        text(|price| price.until.clone()),
        text(|price| price.checked.clone()),
        text(|price| price.source.clone()),
        count(model.tokens),
        count(model.unpriced_messages),
        day.to_owned(),
        price.is_some().to_string(),
        text(|price| price.provider.clone()),
    ]
}

/// Names at most [`MODELS_NAMED_MAX`] models.
fn named(models: &[&str]) -> String {
    let named = models.iter().take(MODELS_NAMED_MAX);
    let mut named: Vec<String> = named.map(|model| printable(model)).collect();
    if named.len() < models.len() {
        named.push(format!("{} more", models.len() - named.len()));
    }
    named.join(", ")
}

/// What has no price, and what to do about it.
fn remarks(listed: &PriceList, file: &std::path::Path) {
    if listed.models.is_empty() {
        hint("no model is in use yet; --all lists all prices");
    }
    let unpriced = listed.models.iter().filter(|model| model.price.is_none());
    let models: Vec<&str> = unpriced.clone().map(|model| model.model.as_str()).collect();
    if models.is_empty() {
        return;
    }
    let tokens = unpriced.filter_map(|model| model.tokens);
    let tokens = tokens.fold(0, i64::saturating_add);
    hint(&format!(
        "no price on {} for {}, with {} {}; run `session-pipeline prices update`, or add the prices to `{}` (docs/prices.md)",
        listed.day,
        named(&models),
        number(tokens),
        plural(tokens, "token", "tokens"),
        file.display()
    ));
}

fn update(global: &GlobalArgs, arguments: &UpdateArgs) -> Result<Exit, CommandFailure> {
    let source = arguments.from.clone().unwrap_or_default();
    let table = fetch_prices(&source, &global.config()?.llm)?;
    let source = source.shown();
    let flag = |is_set| if is_set { "true" } else { "false" };
    let call = RouteCall::post(UPDATE_PATH)
        .query([
            ("source", source.as_str()),
            ("all", flag(arguments.all)),
            ("dry_run", flag(arguments.dry_run)),
        ])
        .body(table);
    let report: PriceUpdateReport = global.connect(OpenMode::Existing)?.call(&call)?;
    if global.json {
        print_json(&report)?;
        return Ok(Exit::Done);
    }
    print(&changes(&report))?;
    let file = printable(&report.file);
    hint(&match (report.is_written, arguments.dry_run) {
        (true, _) => format!("`{file}` is updated"),
        (false, true) => format!("`{file}` is unchanged: this was a dry run"),
        (false, false) => format!("`{file}` is already up to date"),
    });
    if !report.kept.is_empty() {
        let kept: Vec<&str> = report.kept.iter().map(String::as_str).collect();
        hint(&format!(
            "your own entries stay, although the table has other prices: {}",
            named(&kept)
        ));
    }
    if !report.unknown.is_empty() {
        let unknown: Vec<&str> = report.unknown.iter().map(String::as_str).collect();
        hint(&format!(
            "still without a price, because the table does not contain them: {}; add them to `{file}` (docs/prices.md)",
            named(&unknown)
        ));
    }
    Ok(Exit::Done)
}

fn changes(report: &PriceUpdateReport) -> String {
    let count = count_of(report.changes.len() as u64, "change", "changes");
    if report.changes.is_empty() {
        return count;
    }
    let mut table = table(&["model", "field", "old", "new"]).with_texts(&["field"]);
    let amount = |amount: Option<Decimal>| {
        amount.map_or_else(|| "-".to_owned(), |amount| amount.to_string())
    };
    for change in &report.changes {
        table.add_row([
            printable(&change.model),
            printable(&change.field),
            amount(change.old),
            amount(change.new),
        ]);
    }
    format!("{}\n{count}", table.render())
}

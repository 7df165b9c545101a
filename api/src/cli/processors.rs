//! `processors`: lists processors, and inspects and verifies components.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use session_pipeline_host::inspect::{self, ImportKind, Inspection};
use session_pipeline_host::manifest::{Manifest, Order, TableSpec};
use session_pipeline_pipeline::registry::listing::ListedProcessor;
use session_pipeline_pipeline::registry::plan::RejectedFile;

use super::client::OpenMode;
use super::component::{self, LoadedComponent};
use super::progress::Spinner;
use super::table::{bytes, field_list, number, table};
use super::{CommandFailure, Exit, GlobalArgs, hint, print, print_json, verify};
use crate::body::admin::{ProcessorsBody, RejectedFileBody};

/// The route that lists processors.
pub(super) const PATH: &str = "/api/admin/processors";

#[derive(Debug, Subcommand)]
pub(super) enum ProcessorsCommand {
    /// List processors and whether each can run
    List,
    /// Show the imports, tables, size and fuel of a component without installing it
    Inspect(InspectArgs),
    /// Check a component against the laws of the contract
    #[command(after_help = verify::AFTER_HELP)]
    Verify(verify::VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// Component file, or name of a processor
    #[arg(value_name = "FILE|NAME", value_parser = super::non_empty)]
    component: String,
}

pub(super) fn processors(
    global: &GlobalArgs,
    command: &ProcessorsCommand,
) -> Result<Exit, CommandFailure> {
    match command {
        ProcessorsCommand::List => list(global),
        ProcessorsCommand::Inspect(arguments) => inspect(global, &arguments.component),
        ProcessorsCommand::Verify(arguments) => verify::verify(global, arguments),
    }
}

fn list(global: &GlobalArgs) -> Result<Exit, CommandFailure> {
    let config = &global.config()?;
    let client = global.connect(OpenMode::Processors)?;
    // Components that no run has compiled yet are compiled now, which can take a while.
    let spinner = Spinner::new();
    spinner.set_message("loading the components in `processors/`");
    let body: Result<ProcessorsBody, CommandFailure> = super::pages::all(&client, PATH, &[]);
    spinner.clear();
    let body = body?;
    if global.json {
        print_json(&body)?;
    } else {
        print(&render(&body.processors))?;
    }
    let processors = &body.processors;
    for processor in processors {
        if let Some(reason) = &processor.unavailable {
            hint(&format!("`{}` cannot run: {reason}", processor.name));
        }
    }
    for file in &body.refused_files {
        hint(&rejection(file));
    }
    let known = super::registry().names();
    for name in config.processors.keys() {
        let is_listed = || processors.iter().any(|processor| processor.name == *name);
        let is_known = known.contains(name) || is_listed();
        if !is_known {
            hint(&format!(
                "the config file has a section for `{name}`, but there is no processor with this name"
            ));
        }
    }
    Ok(Exit::Done)
}

/// The message for a rejected component file.
pub(super) fn rejection(file: &RejectedFileBody) -> String {
    RejectedFile::from(file.clone()).to_string()
}

fn render(processors: &[ListedProcessor]) -> String {
    let mut table = table(&[
        "processor",
        "version",
        "origin",
        "runs",
        "order",
        "capabilities",
        "available",
        "last run",
        "result",
    ])
    .with_shortened(&["runs", "order", "capabilities"]);
    let none = || "-".to_owned();
    for processor in processors {
        let runs = processor
            .schedule
            .clone()
            .or_else(|| processor.cadence_seconds.map(cadence));
        let capabilities = processor.capabilities.as_ref();
        let available = match processor.unavailable {
            None => "yes",
            Some(_) => "no",
        };
        table.add_row([
            processor.name.clone(),
            processor
                .version
                .map_or_else(none, |version| version.to_string()),
            processor.origin.as_str().to_owned(),
            runs.unwrap_or_else(none),
            processor
                .order
                .map_or_else(none, |order| self::order(order).to_owned()),
            capabilities.map_or_else(none, |names| names.join(", ")),
            available.to_owned(),
            processor
                .last_run_at
                .clone()
                .unwrap_or_else(|| "never".to_owned()),
            processor.last_run.clone().unwrap_or_else(none),
        ]);
    }
    table.render()
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Independent => "independent",
        Order::Serial => "serial",
    }
}

/// A cadence in its largest whole unit: `every 10 min`.
pub(super) fn cadence(seconds: u32) -> String {
    match seconds {
        seconds if seconds.is_multiple_of(3600) => format!("every {} h", seconds / 3600),
        seconds if seconds.is_multiple_of(60) => format!("every {} min", seconds / 60),
        seconds => format!("every {seconds} s"),
    }
}

fn inspect(global: &GlobalArgs, argument: &str) -> Result<Exit, CommandFailure> {
    let config = &global.config()?;
    let scratch = std::env::temp_dir();
    let LoadedComponent {
        bytes,
        limits,
        settings,
        ..
    } = component::find(global, argument)?;
    let inspection = inspect::inspect(&config.compiler, &limits, settings, &bytes, &scratch);
    if global.json {
        print_json(&document(&inspection))?;
    } else {
        print(&render_inspection(&inspection))?;
    }
    match &inspection.description {
        Ok(_) => Ok(Exit::Done),
        Err(fault) => {
            hint(&format!("rejected: {fault}"));
            Ok(Exit::Findings)
        }
    }
}

fn document(inspection: &Inspection) -> Value {
    let described = inspection.description.as_ref().ok();
    json!({
        "digest": inspection.digest,
        "bytes": inspection.bytes,
        "imports": inspection.imports,
        "exports": inspection.exports,
        "manifest": described.map(|described| &described.manifest),
        "describe_fuel": described.map(|described| described.fuel),
        "refused": inspection.description.as_ref().err().map(ToString::to_string),
    })
}

fn render_inspection(inspection: &Inspection) -> String {
    let described = inspection.description.as_ref().ok();
    let manifest = described.map(|described| &described.manifest);
    let mut text = field_list(
        "",
        &[
            ("name", manifest.map(|manifest| manifest.name.clone())),
            (
                "version",
                manifest.map(|manifest| manifest.version.to_string()),
            ),
            (
                "description",
                manifest.map(|manifest| manifest.description.clone()),
            ),
            (
                "runs",
                manifest.map(|manifest| cadence(manifest.cadence_seconds)),
            ),
            (
                "order",
                manifest.map(|manifest| order(manifest.order).to_owned()),
            ),
            ("language model", manifest.map(model)),
            (
                "fuel",
                described.map(|described| {
                    let fuel = number(i64::try_from(described.fuel).unwrap_or(i64::MAX));
                    format!("{fuel} for `describe`")
                }),
            ),
            ("digest", Some(format!("SHA-256 {}", inspection.digest))),
            ("size", Some(bytes(inspection.bytes))),
        ],
    );
    for kind in [
        ImportKind::Contract,
        ImportKind::Forbidden,
        ImportKind::Inert,
    ] {
        let imports = inspection.imports.iter();
        let names: Vec<&str> = imports
            .filter(|import| import.kind == kind)
            .map(|import| import.name.as_str())
            .collect();
        let title = match kind {
            ImportKind::Contract => "contract imports",
            ImportKind::Forbidden => "forbidden imports",
            ImportKind::Inert => "inert imports",
        };
        section(&mut text, title, &names);
    }
    let exports: Vec<&str> = inspection.exports.iter().map(String::as_str).collect();
    section(&mut text, "exports", &exports);
    for spec in manifest.map_or(&[][..], |manifest| manifest.tables.as_slice()) {
        text.push_str(&format!("\n\n{}", table_text(spec)));
    }
    text
}

fn model(manifest: &Manifest) -> String {
    if manifest.uses_llm {
        "required".to_owned()
    } else {
        "not used".to_owned()
    }
}

fn section(text: &mut String, title: &str, lines: &[&str]) {
    if !lines.is_empty() {
        text.push_str(&format!("\n\n{title}"));
        for line in lines {
            text.push_str(&format!("\n  {line}"));
        }
    }
}

fn table_text(spec: &TableSpec) -> String {
    let owner = match &spec.shared_key {
        None => "per session".to_owned(),
        Some(key) => format!("shared, key `{key}`"),
    };
    let mut text = format!("table {} ({owner})", spec.name);
    let columns: Vec<(&str, Option<String>)> = spec
        .columns
        .iter()
        .map(|column| {
            let kind = serde_json::to_value(column.kind).unwrap_or_default();
            (column.name.as_str(), kind.as_str().map(str::to_owned))
        })
        .collect();
    text.push('\n');
    text.push_str(&field_list("  ", &columns));
    text
}

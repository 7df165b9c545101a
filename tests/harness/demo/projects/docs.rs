//! The handbook of the company, in Markdown.

use super::{Check, Project, task};

pub(super) const DOCS: Project = Project {
    name: "handbook",
    repository: "northwind/handbook",
    weight: 5,
    tickets: "DOC",
    language: "markdown",
    components: &[
        "onboarding guide",
        "incident process",
        "style guide",
        "glossary",
        "release notes",
    ],
    entities: &["page", "policy", "checklist", "template"],
    files: &[
        "guides/onboarding.md",
        "guides/incidents.md",
        "guides/style.md",
        "glossary.md",
        "policies/travel.md",
        "releases/2026-11.md",
        "scripts/check_links.py",
    ],
    symbols: &["check_links", "build_index", "render_page"],
    tasks: &[
        task(
            "Rewrite the {component}",
            "docs/rewrite",
            "Rewrite the {component}. It should be half as long. Keep every rule, drop the stories.",
        ),
        task(
            "Write the release notes of November",
            "docs/release-notes",
            "Write the release notes of November from the merged pull requests. Group them by product, one line each.",
        ),
        task(
            "Check the {component} for broken links",
            "fix/links",
            "Check the {component} for broken links and fix those that moved.",
        ),
        task(
            "Summarize the changes to our policies",
            "main",
            "Summarize what changed in our policies since September, as a table with the {entity}, the change and who must do something.",
        ),
        task(
            "Add a glossary entry for each metric",
            "docs/glossary",
            "Add a glossary entry for each metric of the weekly report. Ask me if two teams use a word differently.",
        ),
    ],
    code: &[
        "# {component}",
        "",
        "This {entity} applies to all employees.",
        "",
        "## Before the first day",
        "",
        "- The manager orders a laptop two weeks before.",
        "- Accounts are created by the identity team.",
        "",
        "## Incidents",
        "",
        "| Severity | Response | Channel |",
        "|---|---|---|",
        "| SEV1 | 5 minutes | phone |",
        "| SEV2 | 30 minutes | chat |",
    ],
    edits: &[
        (
            "- The manager orders a laptop two weeks before.",
            "- The manager orders a laptop three weeks before the first day.",
        ),
        (
            "This {entity} applies to all employees.",
            "This {entity} applies to all employees and contractors.",
        ),
        (
            "| SEV2 | 30 minutes | chat |",
            "| SEV2 | 30 minutes | chat |\n| SEV3 | next working day | ticket |",
        ),
    ],
    test: Check {
        command: "python scripts/check_links.py {file}",
        passed: "{count} links checked, 0 broken",
        failed: "{file}:{line}: 404 https://wiki.northwind.example/hr/laptops\n{count} links checked, 1 broken",
    },
    lint: Check {
        command: "npx markdownlint-cli2 '**/*.md'",
        passed: "Summary: 0 error(s)",
        failed: "{file}:{line} MD040/fenced-code-language Fenced code blocks should have a language specified\nSummary: 1 error(s)",
    },
    rules: &[
        "No, contractors are approved by the head of the department and not by the manager.",
        "Write dates as 2026-11-30 instead of 30.11.2026.",
        "An incident means an event that customers notice or could have noticed.",
        "Headings should be in sentence case, not in title case.",
        "We call it the handbook, not the wiki.",
    ],
};

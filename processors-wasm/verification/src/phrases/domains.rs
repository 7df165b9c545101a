//! Determines the domain of a statement by its words.

use super::words;
use crate::verification::DOMAINS;

/// The default if no word matches: the usual subject of sessions with coding agents.
pub const OTHERWISE: &str = "engineering";

const FINANCE: &str = "\
    accounting arr billing booking bookings budget churn cost costs currency discount expense \
    expenses finance fiscal forecast invoice invoices ltv margin mrr nrr payment payments \
    payroll price prices pricing profit quarter refund refunds revenue subscription \
    subscriptions tax vat";
const PRODUCT: &str = "\
    activation adoption audience backlog campaign copy customer customers design engagement \
    experiment feature features feedback launch market marketing nps onboarding persona product \
    retention roadmap sales screen segment survey user users ux wording";
const DATA: &str = "\
    aggregate analytics column columns csv dashboard dashboards dataset datasets dimension \
    duckdb etl event events metric metrics parquet pipeline query queries record records report \
    reports row rows schema snowflake sql table tables timestamp warehouse";
const OPERATIONS: &str = "\
    approval approvals audit compliance contract escalation handover hiring incident incidents \
    legal meeting office oncall on-call policy process procurement runbook shift sla supplier \
    support ticket tickets vendor vendors";
const INFRASTRUCTURE: &str = "\
    aws azure bucket ci cloud cluster container containers cron deploy deployment dns docker \
    firewall gcp host hosts kubernetes k8s network nginx prod production proxy s3 server servers \
    staging terraform vault vm vpn";
const ENGINEERING: &str = "\
    api bool boolean branch bug build class cli code command commit compile compiler component \
    config crate dependency file files flag function git gitignore hook hooks implementation \
    import interface json library lint linter merge method module package parser pr refactor \
    repo repository rust python javascript typescript script struct syntax test tests type types \
    unit variable";

/// The domain with the most words in the statement, or else in the surrounding text. If several are
/// equal, the first in [`DOMAINS`].
pub fn of(statement: &str, text: &str) -> &'static str {
    most(statement).or_else(|| most(text)).unwrap_or(OTHERWISE)
}

fn most(text: &str) -> Option<&'static str> {
    let words = words::of(text);
    let counted = DOMAINS.into_iter().map(|domain| {
        let known = words_of(domain);
        let count = words
            .iter()
            .filter(|word| words::is_one_of(&word.text, known));
        (domain, count.count())
    });
    let mut best: Option<(&'static str, usize)> = None;
    for (domain, count) in counted {
        if count > best.map_or(0, |(_, most)| most) {
            best = Some((domain, count));
        }
    }
    best.map(|(domain, _)| domain)
}

fn words_of(domain: &str) -> &'static str {
    match domain {
        "finance" => FINANCE,
        "product" => PRODUCT,
        "data" => DATA,
        "operations" => OPERATIONS,
        "infrastructure" => INFRASTRUCTURE,
        _ => ENGINEERING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_statement_tell_then_those_around_it() {
        assert_eq!(
            of("Churn is computed from MRR", "sql table rows"),
            "finance"
        );
        assert_eq!(
            of("It is never so", "the server in prod is down"),
            "infrastructure"
        );
        assert_eq!(of("It is never so", "hm"), OTHERWISE);
        assert_eq!(of("the table and the invoice", ""), "finance");
    }

    #[test]
    fn every_domain_has_words_of_its_own() {
        for domain in DOMAINS {
            for word in words_of(domain).split_whitespace() {
                assert_eq!(most(word), Some(domain), "{word}");
            }
        }
    }
}

//! Families of samples that exist only for one scrape.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use session_pipeline_host::fault::printable;
use session_pipeline_store::{DURATION_BOUNDS, Durations};

/// Maximum length of the value of a label, in characters. Names in transcripts can have any length.
const LABEL_CHARS_MAX: usize = 120;

/// The labels of a sample.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A label. Text from outside becomes one printable line of limited length.
pub(super) fn label(name: &'static str, value: &str) -> (&'static str, String) {
    let cut: String = value.chars().take(LABEL_CHARS_MAX).collect();
    (name, printable(&cut))
}

/// A metric with all its samples.
#[derive(Debug)]
pub(super) struct SampleFamily {
    /// The name without the prefix, and for counters without `_total`.
    name: &'static str,
    help: &'static str,
    samples: Samples,
}

#[derive(Debug)]
enum Samples {
    Counters(Vec<(Labels, f64)>),
    Gauges(Vec<(Labels, f64)>),
    Info(Labels),
    Histogram(Durations),
}

impl SampleFamily {
    /// A number that only grows while the process runs. Its name gets the suffix `_total`.
    pub(super) fn counter(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> Self {
        let samples = Samples::Counters(samples.into_iter().collect());
        Self {
            name,
            help,
            samples,
        }
    }

    /// A number that can grow and shrink.
    pub(super) fn gauge(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> Self {
        let samples = Samples::Gauges(samples.into_iter().collect());
        Self {
            name,
            help,
            samples,
        }
    }

    /// Names that do not change. Its name gets the suffix `_info`.
    pub(super) fn info(name: &'static str, help: &'static str, labels: Labels) -> Self {
        Self {
            name,
            help,
            samples: Samples::Info(labels),
        }
    }

    /// Durations in buckets.
    pub(super) fn histogram(name: &'static str, help: &'static str, durations: Durations) -> Self {
        Self {
            name,
            help,
            samples: Samples::Histogram(durations),
        }
    }
}

/// Adds the families to a registry.
pub(super) fn register(registry: &mut Registry, families: Vec<SampleFamily>) {
    registry.register_collector(Box::new(ScrapeCollector(families)));
}

#[derive(Debug)]
struct ScrapeCollector(Vec<SampleFamily>);

impl Collector for ScrapeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            // Like the registry, which adds the period to its own help texts.
            let help = format!("{}.", family.help);
            let (kind, name) = (family.samples.kind(), family.name);
            let mut metric = encoder.encode_descriptor(name, &help, None, kind)?;
            match &family.samples {
                Samples::Counters(samples) => {
                    for (labels, value) in samples {
                        ConstCounter::new(*value).encode(metric.encode_family(labels)?)?;
                    }
                }
                Samples::Gauges(samples) => {
                    for (labels, value) in samples {
                        ConstGauge::new(*value).encode(metric.encode_family(labels)?)?;
                    }
                }
                Samples::Info(labels) => metric.encode_info(labels)?,
                Samples::Histogram(durations) => {
                    let buckets = DURATION_BOUNDS.into_iter().zip(durations.buckets);
                    let beyond = durations.count - durations.buckets.iter().sum::<u64>();
                    let buckets: Vec<(f64, u64)> =
                        buckets.chain([(f64::INFINITY, beyond)]).collect();
                    let (sum, count) = (durations.sum_seconds, durations.count);
                    metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
                }
            }
        }
        Ok(())
    }
}

impl Samples {
    fn kind(&self) -> MetricType {
        match self {
            Self::Counters(_) => MetricType::Counter,
            Self::Gauges(_) => MetricType::Gauge,
            Self::Info(_) => MetricType::Info,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }
}

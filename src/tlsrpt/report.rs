//! A report as JSON (RFC 8460 section 4.4), packed. Pure.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::Reporter;
use super::session::{FailureKind, PolicyKind};
use super::tally::{Detail, PolicyTally, Tally};
use crate::time::Timestamp;

const DAY: i64 = 86_400;

/// What a report is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About<'a> {
    pub(super) reporter: &'a Reporter,
    /// The relay that reports.
    pub(super) submitter: &'a str,
    pub(super) domain: &'a str,
    /// Days since 1970-01-01.
    pub(super) day: i64,
}

impl About<'_> {
    /// RFC 8460 section 4.4: unique for the submitter and the day.
    pub(super) fn id(&self) -> String {
        format!("{}.{}@{}", self.begins().rfc3339_seconds().replace([':', '-'], ""), self.domain, self.submitter)
    }

    pub(super) fn begins(&self) -> Timestamp {
        Timestamp::from_secs(self.day.saturating_mul(DAY))
    }

    /// The last second of the day.
    pub(super) fn ends(&self) -> Timestamp {
        Timestamp::from_secs(self.day.saturating_mul(DAY).saturating_add(DAY - 1))
    }

    /// The name of the file (section 5.1).
    pub(super) fn file(&self) -> String {
        format!("{}!{}!{}!{}.json.gz", self.submitter, self.domain, self.begins().secs(), self.ends().secs())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    organization_name: &'a str,
    date_range: Range,
    contact_info: &'a str,
    report_id: String,
    policies: Vec<Policy<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Range {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Policy<'a> {
    policy: Described<'a>,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Failed<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Described<'a> {
    policy_type: PolicyKind,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    policy_string: &'a [String],
    policy_domain: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    mx_host: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Failed<'a> {
    result_type: FailureKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<String>,
    receiving_mx_hostname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_ip: Option<String>,
    failed_session_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason_code: Option<&'a str>,
}

/// The report's text.
pub(super) fn json(about: &About<'_>, tally: &Tally) -> String {
    let report = Report {
        organization_name: &about.reporter.organisation,
        date_range: Range {
            start_datetime: about.begins().rfc3339_seconds(),
            end_datetime: about.ends().rfc3339_seconds(),
        },
        contact_info: &about.reporter.contact,
        report_id: about.id(),
        policies: tally.policies.iter().map(|policy| described(about, policy)).collect(),
    };
    // It is made of texts and numbers, which always can be written.
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

fn described<'a>(about: &About<'a>, tally: &'a PolicyTally) -> Policy<'a> {
    Policy {
        policy: Described {
            policy_type: tally.policy.kind,
            policy_string: &tally.policy.text,
            policy_domain: about.domain,
            mx_host: &tally.policy.hosts,
        },
        summary: Summary {
            total_successful_session_count: tally.successes,
            total_failure_session_count: tally.failures,
        },
        failure_details: tally.details.iter().map(failed).collect(),
    }
}

fn failed(detail: &Detail) -> Failed<'_> {
    Failed {
        result_type: detail.failure.kind,
        sending_mta_ip: detail.source.map(|ip| ip.to_string()),
        receiving_mx_hostname: &detail.host,
        receiving_ip: detail.address.map(|ip| ip.to_string()),
        failed_session_count: detail.count,
        failure_reason_code: detail.failure.reason.as_deref(),
    }
}

/// As it travels.
pub(super) fn packed(json: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into memory does not fail.
    let _ = encoder.write_all(json.as_bytes());
    encoder.finish().unwrap_or_default().into()
}

//! How messages print as JSON, for `--output json` and the audit log: enums by their short names, times as RFC 3339,
//! durations as protobuf writes them (`1.5s`), numbers beyond 2^53 as text.

use crate::pb;
use prost_types::{Duration, Timestamp};
use serde::{Serialize, Serializer};
use std::fmt::Display;

macro_rules! names {
    ($($function:ident: $kind:ident, $prefix:literal;)*) => { $(
        #[doc = concat!("The short name of a `", stringify!($kind), "`: in lower case, without prefix.")]
        pub(crate) fn $function<S: Serializer>(value: &i32, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(&short_name(pb::$kind::try_from(*value).unwrap_or_default().as_str_name(), $prefix))
        }

        impl std::fmt::Display for pb::$kind {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&short_name(self.as_str_name(), $prefix))
            }
        }
    )* };
}

names! {
    job_state: JobState, "JOB_STATE_";
    member_role: MemberRole, "MEMBER_ROLE_";
    severity: Severity, "SEVERITY_";
    health: Health, "HEALTH_";
    outcome: Outcome, "OUTCOME_";
    verified: Verified, "VERIFIED_";
}

fn short_name(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

/// RFC 3339, or null.
pub(crate) fn timestamp<S: Serializer>(value: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(to)
}

/// `1.5s`, or null.
pub(crate) fn duration<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(to)
}

/// A number that would lose digits as a JSON number in many readers.
pub(crate) fn text<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

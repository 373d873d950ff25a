//! Errors on the wire: a gRPC code, `google.rpc.ErrorInfo` with a reason that programs can match, and `RetryInfo` where
//! trying again may help.

use crate::google;
use assize_ports::ClusterError;
use prost::Message;
use prost_types::Any;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tonic::{Code, Status};

/// Who defines our reasons.
const DOMAIN: &str = "admin.assize";
/// How long a client should wait before it asks again for what was not available.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Type names of the details, as `google.protobuf.Any` wants them.
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// Why a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reason {
    /// The caller showed no credentials, or unknown ones.
    Unauthenticated,
    /// The caller's role does not allow it.
    RoleTooLow,
    /// An argument makes no sense.
    InvalidArgument,
    /// The `request_id` belongs to another request.
    RequestIdReused,
    /// There is no such thing.
    NotFound,
    /// Not in the present state of the cluster.
    Refused,
    /// Somebody who is needed does not answer.
    Unavailable,
    /// This node stops.
    ShuttingDown,
    /// The audit log cannot be written, so nothing was done.
    AuditLogFailed,
    /// A defect of ours.
    Internal,
}

impl Reason {
    fn code(self) -> Code {
        match self {
            Reason::Unauthenticated => Code::Unauthenticated,
            Reason::RoleTooLow => Code::PermissionDenied,
            Reason::InvalidArgument | Reason::RequestIdReused => Code::InvalidArgument,
            Reason::NotFound => Code::NotFound,
            Reason::Refused => Code::FailedPrecondition,
            Reason::Unavailable | Reason::ShuttingDown => Code::Unavailable,
            Reason::AuditLogFailed | Reason::Internal => Code::Internal,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Reason::Unauthenticated => "UNAUTHENTICATED",
            Reason::RoleTooLow => "ROLE_TOO_LOW",
            Reason::InvalidArgument => "INVALID_ARGUMENT",
            Reason::RequestIdReused => "REQUEST_ID_REUSED",
            Reason::NotFound => "NOT_FOUND",
            Reason::Refused => "REFUSED",
            Reason::Unavailable => "UNAVAILABLE",
            Reason::ShuttingDown => "SHUTTING_DOWN",
            Reason::AuditLogFailed => "AUDIT_LOG_FAILED",
            Reason::Internal => "INTERNAL",
        }
    }

    /// The status of a failed call. `metadata` goes into `ErrorInfo`.
    pub fn status(self, text: impl Into<String>, metadata: &[(&str, String)]) -> Status {
        let text = text.into();
        let info = google::ErrorInfo {
            reason: self.name().to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect(),
        };
        let mut details = vec![any(ERROR_INFO, &info)];
        if self.code() == Code::Unavailable {
            let retry = google::RetryInfo { retry_delay: prost_types::Duration::try_from(RETRY_AFTER).ok() };
            details.push(any(RETRY_INFO, &retry));
        }
        let status = google::Status { code: self.code() as i32, message: text.clone(), details };
        Status::with_details(self.code(), text, status.encode_to_vec().into())
    }
}

fn any(type_url: &str, message: &impl Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

/// What the cluster's refusal is on the wire.
pub(crate) fn reason_of(error: &ClusterError) -> Reason {
    match error {
        ClusterError::NotFound(_) => Reason::NotFound,
        ClusterError::Refused(_) => Reason::Refused,
        ClusterError::Unavailable(_) => Reason::Unavailable,
        ClusterError::Internal(_) => Reason::Internal,
    }
}

/// The machine-readable part of a failed call, on the client's side.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Explained {
    /// A constant: `REFUSED`, `ROLE_TOO_LOW`, …
    pub reason: String,
    /// More, by name: `node`, `leader`, `role`, …
    pub metadata: BTreeMap<String, String>,
    /// Wait at least so long before trying again; `None` if that would not help.
    pub retry_after: Option<Duration>,
}

/// Reads the details of a status; `None` if it carries none (a proxy made it, or the connection broke).
pub fn explain(status: &Status) -> Option<Explained> {
    let details = google::Status::decode(status.details()).ok()?.details;
    let mut explained = None;
    let mut retry_after = None;
    for detail in details {
        match detail.type_url.as_str() {
            ERROR_INFO => explained = google::ErrorInfo::decode(detail.value.as_slice()).ok(),
            RETRY_INFO => {
                let delay = google::RetryInfo::decode(detail.value.as_slice()).ok()?.retry_delay;
                retry_after = delay.and_then(|d| Duration::try_from(d).ok());
            }
            _ => {}
        }
    }
    let info: google::ErrorInfo = explained?;
    let metadata: HashMap<String, String> = info.metadata;
    Some(Explained { reason: info.reason, metadata: metadata.into_iter().collect(), retry_after })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_survive_the_wire() {
        let status = Reason::Unavailable.status("node 2 does not answer", &[("node", "2".to_owned())]);
        assert_eq!(status.code(), Code::Unavailable);
        let explained = explain(&status).unwrap();
        assert_eq!(explained.reason, "UNAVAILABLE");
        assert_eq!(explained.metadata["node"], "2");
        assert_eq!(explained.retry_after, Some(RETRY_AFTER));

        let refused = explain(&Reason::Refused.status("no", &[])).unwrap();
        assert_eq!(refused.retry_after, None, "trying again does not help");
        assert_eq!(explain(&Status::internal("a proxy's")), None);
    }
}

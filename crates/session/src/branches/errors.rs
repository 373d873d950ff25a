//! What foreign servers refuse, in the numbers that clients know.

use assize_catalog::Server;
use assize_model::{ErrorCode, SqlError};
use assize_ports::ForeignError;

/// XAER_NOTA: there is no such branch, or its connection still holds it.
pub(crate) const UNKNOWN_XID: u16 = 1397;
/// MariaDB's number for a CHECK constraint.
const MARIADB_CHECK: u16 = 4025;

/// What says that a branch is over, or was never what it should be: nothing can be done in it but forgetting it.
const BRANCH_IS_OVER: &[u16] = &[
    UNKNOWN_XID,
    1398, // XAER_INVAL
    1400, // XAER_OUTSIDE
    1401, // XAER_RMERR
    1402, // XA_RBROLLBACK
    1440, // XAER_DUPID
    1613, // XA_RBTIMEOUT
    1614, // XA_RBDEADLOCK
    1213,
];

/// Those of them for which running the transaction again is the answer.
const RUN_AGAIN: &[u16] = &[1213, 1402, 1613, 1614];

/// What a server says of the data, and means the same here. Its text is told as it is.
const OF_THE_DATA: &[ErrorCode] = &[
    ErrorCode::ColumnCannotBeNull,
    ErrorCode::DuplicateEntry,
    ErrorCode::DuplicateEntryWithKeyName,
    ErrorCode::LockWaitTimeout,
    ErrorCode::LockNowait,
    ErrorCode::Deadlock,
    ErrorCode::NoReferencedRow,
    ErrorCode::RowIsReferenced,
    ErrorCode::NoReferencedRowFor,
    ErrorCode::RowIsReferencedBy,
    ErrorCode::WarnDataOutOfRange,
    ErrorCode::DataTruncatedForColumn,
    ErrorCode::DataTooLong,
    ErrorCode::TruncatedWrongValue,
    ErrorCode::TruncatedWrongValueForField,
    ErrorCode::IllegalValueForType,
    ErrorCode::NoDefaultForField,
    ErrorCode::DivisionByZero,
    ErrorCode::WrongValueType,
    ErrorCode::DatetimeOverflow,
    ErrorCode::NoPartitionForValue,
    ErrorCode::DataOutOfRange,
    ErrorCode::InvalidJsonText,
    ErrorCode::CheckConstraintViolated,
    ErrorCode::GeneratedColumnValue,
    ErrorCode::AutoIncrementReadFailed,
    ErrorCode::SignalException,
];

/// Error 1429 of this server.
pub(crate) fn away(server: &Server, why: &str) -> SqlError {
    let text = format!("Unable to connect to foreign data source: {}: {why}", server.name);
    SqlError::new(ErrorCode::ClusterUnavailable, text)
}

/// What a client is told.
pub(crate) fn sql_error(server: &Server, error: &ForeignError) -> SqlError {
    match error {
        ForeignError::Away(why) => away(server, why),
        ForeignError::Refused { code, message, .. } => refused(*code, message),
        ForeignError::Unfit(why) => problem(why),
    }
}

fn refused(code: u16, message: &str) -> SqlError {
    let errno = if code == MARIADB_CHECK { ErrorCode::CheckConstraintViolated.errno() } else { code };
    let known = OF_THE_DATA.iter().find(|known| known.errno() == errno);
    match known {
        Some(known) => SqlError::new(*known, message),
        None if RUN_AGAIN.contains(&code) => SqlError::new(ErrorCode::Deadlock, message),
        None => problem(&format!("error {code}: {message}")),
    }
}

fn problem(what: &str) -> SqlError {
    let text = format!(
        "There was a problem processing the query on the foreign data source. Data source error: {what}"
    );
    SqlError::new(ErrorCode::ForeignDataSource, text)
}

/// Whether the branch is over with this.
pub(super) fn ends_branch(error: &ForeignError) -> bool {
    match error {
        ForeignError::Away(_) => true,
        ForeignError::Refused { code, .. } => BRANCH_IS_OVER.contains(code),
        ForeignError::Unfit(_) => false,
    }
}

/// Whether the server knows no such branch.
pub(crate) fn is_unknown(error: &ForeignError) -> bool {
    matches!(error, ForeignError::Refused { code: UNKNOWN_XID, .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server {
            name: "Legacy".into(),
            wrapper: "mysql".into(),
            host: "db1".into(),
            port: 3306,
            database: "shop".into(),
            user: "u".into(),
            password: "secret".into(),
            owner: "".into(),
        }
    }

    fn told(code: u16, message: &str) -> (u16, String) {
        let error = ForeignError::Refused { code, state: "HY000".into(), message: message.into() };
        let told = sql_error(&server(), &error);
        (told.code.errno(), told.message)
    }

    #[test]
    fn what_is_said_of_the_data_keeps_its_number_and_its_text() {
        assert_eq!(told(1062, "Duplicate entry '1'"), (1062, "Duplicate entry '1'".to_owned()));
        assert_eq!(told(4025, "CONSTRAINT `c` failed"), (3819, "CONSTRAINT `c` failed".to_owned()));
        assert_eq!(told(1644, "no"), (1644, "no".to_owned()));
        assert_eq!(told(1614, "XA_RBDEADLOCK"), (1213, "XA_RBDEADLOCK".to_owned()));
    }

    #[test]
    fn what_would_mislead_is_said_to_be_the_servers() {
        for code in [1105, 1146, 1142, 3101, 1412, 1429, 9999] {
            let (errno, text) = told(code, "what it says");
            assert_eq!(errno, 1430, "{code}");
            assert!(text.ends_with(&format!("Data source error: error {code}: what it says")), "{text}");
        }
    }

    #[test]
    fn who_is_away_is_named_without_its_password() {
        let told = sql_error(&server(), &ForeignError::Away("refused".into()));
        assert_eq!(told.code.errno(), 1429);
        assert_eq!(told.message, "Unable to connect to foreign data source: Legacy: refused");
    }

    #[test]
    fn a_branch_that_is_over_ends_the_transaction() {
        let refused = |code| ForeignError::Refused { code, state: String::new(), message: String::new() };
        assert!(ends_branch(&ForeignError::Away(String::new())));
        assert!([1213, 1614, 1402, 1397].map(refused).iter().all(ends_branch));
        assert!(![1062, 1205, 1644].map(refused).iter().any(ends_branch));
    }
}

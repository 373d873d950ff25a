//! Every error a client can see: MySQL's number, its SQLSTATE, and what the caller should do.

use std::fmt;

/// What the caller of a failed statement should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Nothing will change by trying again: fix the statement or the data.
    Never,
    /// Run the whole transaction again.
    Transaction,
    /// Try again later, perhaps elsewhere: the cluster is busy, draining or failing over.
    Later,
    /// Call the operator.
    Operator,
}

macro_rules! error_codes {
    ($($name:ident = $errno:literal $state:literal $retry:ident, $doc:literal;)*) => {
        /// One line per error: the only place where error numbers are written.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
        pub enum ErrorCode {
            $(#[doc = $doc] $name,)*
        }

        impl ErrorCode {
            /// All of them.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// MySQL's error number.
            pub const fn errno(self) -> u16 {
                match self { $(ErrorCode::$name => $errno,)* }
            }

            /// The five-character SQLSTATE.
            pub const fn sqlstate(self) -> &'static str {
                match self { $(ErrorCode::$name => $state,)* }
            }

            /// What the caller should do.
            pub const fn retry(self) -> Retry {
                match self { $(ErrorCode::$name => Retry::$retry,)* }
            }

            /// The name of this line of the table.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => stringify!($name),)* }
            }

            /// One sentence about it.
            pub const fn about(self) -> &'static str {
                match self { $(ErrorCode::$name => $doc,)* }
            }
        }
    };
}

error_codes! {
    DatabaseExists = 1007 "HY000" Never, "CREATE DATABASE of a name that is taken.";
    DatabaseDropExists = 1008 "HY000" Never, "DROP DATABASE of a name that is not there.";
    DiskFull = 1021 "HY000" Operator, "The disk is full: writes are refused, nothing acknowledged is lost.";
    CantReadFile = 1017 "HY000" Never, "A file cannot be found or read.";
    DuplicateKeyWrite = 1022 "23000" Never, "A constraint name is taken.";
    OutOfSortMemory = 1038 "HY001" Never, "A sort needs more memory than the limit allows.";
    TooManyConnections = 1040 "08004" Later, "The connection limit is reached.";
    OutOfMemory = 1041 "HY000" Later, "The statement needs more memory than the limit allows.";
    HandshakeError = 1043 "08S01" Never, "The client's handshake cannot be understood.";
    DatabaseAccessDenied = 1044 "42000" Never, "The user may not use this database.";
    AccessDenied = 1045 "28000" Never, "Wrong user, password or host.";
    NoDatabase = 1046 "3D000" Never, "No database is selected.";
    UnknownCommand = 1047 "08S01" Never, "A protocol command that the server does not know.";
    ColumnCannotBeNull = 1048 "23000" Never, "NULL for a NOT NULL column.";
    UnknownDatabase = 1049 "42000" Never, "No such database.";
    TableExists = 1050 "42S01" Never, "CREATE TABLE of a name that is taken.";
    UnknownTable = 1051 "42S02" Never, "DROP TABLE of a name that is not there.";
    AmbiguousColumn = 1052 "23000" Never, "A column name that means several columns.";
    ServerShutdown = 1053 "08S01" Later, "The server is shutting down.";
    UnknownColumn = 1054 "42S22" Never, "No such column.";
    WrongFieldWithGroup = 1055 "42000" Never, "ONLY_FULL_GROUP_BY: an expression depends on more than the groups.";
    WrongGroupField = 1056 "42000" Never, "Cannot group on this.";
    IdentifierTooLong = 1059 "42000" Never, "An identifier of more than 64 characters.";
    DuplicateColumn = 1060 "42S21" Never, "A column name twice.";
    DuplicateKeyName = 1061 "42000" Never, "An index name twice.";
    DuplicateEntry = 1062 "23000" Never, "A unique key already holds this value.";
    WrongColumnSpecifier = 1063 "42000" Never, "This attribute does not go with this column.";
    ParseError = 1064 "42000" Never, "The statement cannot be parsed.";
    EmptyQuery = 1065 "42000" Never, "The statement is empty.";
    NonUniqueTable = 1066 "42000" Never, "A table or alias name twice.";
    InvalidDefault = 1067 "42000" Never, "A default that its column cannot hold.";
    MultiplePrimaryKey = 1068 "42000" Never, "Two primary keys.";
    TooManyKeys = 1069 "42000" Never, "More indexes than a table may have.";
    TooLongKey = 1071 "42000" Never, "An index key longer than the limit.";
    KeyColumnDoesNotExist = 1072 "42000" Never, "An index names a column that is not there.";
    BlobUsedAsKey = 1073 "42000" Never, "A BLOB or TEXT column as a key where it cannot be one.";
    TooBigFieldLength = 1074 "42000" Never, "A column length over the limit.";
    WrongAutoKey = 1075 "42000" Never, "AUTO_INCREMENT needs a key, and there can be one only.";
    UnknownThread = 1094 "HY000" Never, "KILL of a connection that is not there.";
    KillDenied = 1095 "HY000" Never, "KILL of somebody else's connection.";
    NoTablesUsed = 1096 "HY000" Never, "A statement that needs tables has none.";
    BlobCantHaveDefault = 1101 "42000" Never, "BLOB, TEXT and JSON columns have no literal defaults.";
    WrongDatabaseName = 1102 "42000" Never, "Not a database name.";
    WrongTableName = 1103 "42000" Never, "Not a table name.";
    UnknownError = 1105 "HY000" Operator, "An internal error: a defect of ours.";
    UnknownProcedure = 1106 "42000" Never, "No such procedure.";
    WrongParameterCountToProcedure = 1107 "42000" Never, "Wrong number of arguments.";
    UnknownTableReference = 1109 "42S02" Never, "A table name that the statement does not introduce.";
    FieldSpecifiedTwice = 1110 "42000" Never, "A column named twice in one list.";
    InvalidGroupFuncUse = 1111 "HY000" Never, "An aggregate where none can be.";
    TableMustHaveColumns = 1113 "42000" Never, "CREATE TABLE without columns.";
    TableFull = 1114 "HY000" Never, "Temporary tables may hold no more.";
    UnknownCharacterSet = 1115 "42000" Never, "No such character set.";
    TooManyFields = 1117 "HY000" Never, "More columns than a table may have.";
    TooBigRowsize = 1118 "42000" Never, "A row longer than the limit.";
    WrongArguments = 1210 "HY000" Never, "Wrong arguments for this.";
    ColumnCountMismatch = 1136 "21S01" Never, "Value count and column count differ.";
    CantReopenTable = 1137 "HY000" Never, "A temporary table twice in one statement.";
    MixOfGroupFuncAndFields = 1140 "42000" Never, "Aggregates and plain columns without GROUP BY.";
    NonexistingGrant = 1141 "42000" Never, "No such grant.";
    TableAccessDenied = 1142 "42000" Never, "The user may not do this to this table.";
    ColumnAccessDenied = 1143 "42000" Never, "The user may not do this to this column.";
    NoSuchTable = 1146 "42S02" Never, "No such table.";
    NonexistingTableGrant = 1147 "42000" Never, "No such grant on a table.";
    SyntaxError = 1149 "42000" Never, "The statement's syntax is not valid.";
    AbortingConnection = 1152 "08S01" Never, "The connection is being closed.";
    PacketTooLarge = 1153 "08S01" Never, "A packet larger than max_allowed_packet.";
    MalformedPacket = 1835 "HY000" Never, "A packet whose bytes do not add up.";
    ReadError = 1158 "08S01" Never, "The network failed while reading a packet.";
    PacketsOutOfOrder = 1156 "08S01" Never, "Packets arrived out of order.";
    WrongColumnName = 1166 "42000" Never, "Not a column name.";
    PrimaryCannotHaveNull = 1171 "42000" Never, "A primary key of nullable columns.";
    RequiresPrimaryKey = 1173 "42000" Never, "This table needs a primary key.";
    CantDoInTransaction = 1179 "25000" Never, "Not possible within a transaction.";
    KeyDoesNotExist = 1176 "42000" Never, "No such index.";
    DropDatabaseRefused = 3552 "HY000" Never, "The statement is refused as too dangerous without an explicit word.";
    UnknownSystemVariable = 1193 "HY000" Never, "No such system variable.";
    CantExecuteWhileLocked = 1192 "HY000" Never, "Not possible with locked tables.";
    TableNotLockedForWrite = 1099 "HY000" Never, "The table is locked for reading only.";
    TableNotLocked = 1100 "HY000" Never, "Not one of the locked tables.";
    LockWaitTimeout = 1205 "HY000" Transaction, "Waited for a row lock for innodb_lock_wait_timeout seconds.";
    TransactionTooBig = 1197 "HY000" Never, "The transaction's writes exceed the limit.";
    Deadlock = 1213 "40001" Transaction, "A conflict with a transaction that committed first, or a deadlock: run it again.";
    CannotAddForeign = 1215 "HY000" Never, "The foreign key cannot be added.";
    NoReferencedRow = 1216 "23000" Never, "A child row without its parent.";
    RowIsReferenced = 1217 "23000" Never, "A parent row that children refer to.";
    WrongUsage = 1221 "HY000" Never, "Two clauses that do not go together.";
    WrongNumberOfColumnsInSelect = 1222 "21000" Never, "UNION of SELECTs with different column counts.";
    DuplicateArgument = 1225 "HY000" Never, "An option given twice.";
    UserLimitReached = 1226 "42000" Later, "The user has reached a limit.";
    SpecificAccessDenied = 1227 "42000" Never, "A privilege is missing.";
    LocalVariable = 1228 "HY000" Never, "A session variable cannot be set globally.";
    GlobalVariable = 1229 "HY000" Never, "A global variable cannot be set for a session.";
    NoDefault = 1230 "42000" Never, "The variable has no default.";
    WrongValueForVariable = 1231 "42000" Never, "A value that the variable cannot have.";
    WrongTypeForVariable = 1232 "42000" Never, "A type that the variable cannot have.";
    VariableCannotBeRead = 1233 "HY000" Never, "The variable cannot be read.";
    NotSupportedYet = 1235 "42000" Never, "A feature that is not supported; the text names it.";
    IncorrectGlobalLocalVariable = 1238 "HY000" Never, "The variable is read only, or of the other scope.";
    WrongForeignKeyDefinition = 1239 "42000" Never, "A foreign key definition that does not add up.";
    KeyReferenceDoesNotMatch = 1240 "HY000" Never, "Key reference and table reference differ.";
    OperandColumns = 1241 "21000" Never, "An operand with the wrong number of columns.";
    SubqueryReturnsMoreRows = 1242 "21000" Never, "A scalar subquery returned more than one row.";
    TooManyRows = 1172 "42000" Never, "SELECT … INTO variables found more than one row.";
    NoData = 1329 "02000" Never, "SELECT … INTO variables found no row.";
    NotPreparable = 1295 "HY000" Never, "A statement that cannot be prepared.";
    PartitionNoTemporary = 1562 "HY000" Never, "A temporary table with partitions.";
    TransactionInProgress = 1568 "25001" Never, "The characteristics of a running transaction cannot be changed.";
    NoOpenCursor = 1421 "HY000" Never, "FETCH from a prepared statement that has no open cursor.";
    TooManyStatements = 1461 "42000" Later, "More prepared statements than a connection may have.";
    AccountLocked = 3118 "HY000" Never, "The account is locked.";
    UnknownStatement = 1243 "HY000" Never, "No such prepared statement.";
    AutoConvertCharset = 1253 "42000" Never, "A collation that does not belong to the character set.";
    TableReferenceNotUsable = 1247 "42S22" Never, "A reference that cannot be used here.";
    DerivedMustHaveAlias = 1248 "42000" Never, "A derived table without an alias.";
    DataTruncatedForColumn = 1265 "01000" Never, "A value was truncated to fit its column.";
    WarnDataOutOfRange = 1264 "22003" Never, "A number out of its column's range.";
    CollationMix = 1267 "HY000" Never, "Collations that cannot be compared.";
    CollationMixMany = 1271 "HY000" Never, "Collations that cannot be compared, several.";
    UnknownCollation = 1273 "HY000" Never, "No such collation.";
    NotSupportedByAuth = 1251 "08004" Never, "The client cannot use the authentication that is asked for.";
    WarnDeprecated = 1287 "HY000" Never, "Deprecated.";
    ReadOnlyOption = 1290 "HY000" Never, "The server runs with an option that forbids this.";
    TruncatedWrongValue = 1292 "22007" Never, "A value that is not one of its type.";
    TooMuchAutoTimestamp = 1293 "HY000" Never, "Too many automatic timestamp columns.";
    InvalidOnUpdate = 1294 "HY000" Never, "ON UPDATE that does not go with this column.";
    UnknownTimeZone = 1298 "HY000" Never, "No such time zone.";
    InvalidCharacterString = 1300 "HY000" Never, "Bytes that are not text of their character set.";
    SavepointDoesNotExist = 1305 "42000" Never, "No such savepoint, procedure or function.";
    ProcedureAlreadyExists = 1304 "42000" Never, "A routine name that is taken.";
    QueryInterrupted = 1317 "70100" Never, "KILL QUERY.";
    NoDefaultForField = 1364 "HY000" Never, "A column without default was given no value.";
    DivisionByZero = 1365 "22012" Never, "Division by zero.";
    TruncatedWrongValueForField = 1366 "HY000" Never, "A value that its column cannot hold.";
    IllegalValueForType = 1367 "22007" Never, "A value that is not legal for its type.";
    ViewCheckFailed = 1369 "HY000" Never, "CHECK OPTION of a view failed.";
    NotUpdatableView = 1288 "HY000" Never, "The target is not updatable.";
    NonInsertableTable = 1471 "HY000" Never, "The target cannot be inserted into.";
    PasswordHash = 1372 "HY000" Never, "Not a password hash of the right form.";
    CannotUser = 1396 "HY000" Never, "CREATE, ALTER or DROP USER failed.";
    UnknownStorageEngine = 1286 "42000" Never, "No such storage engine.";
    DataTooLong = 1406 "22001" Never, "A value longer than its column.";
    DatetimeOverflow = 1441 "22008" Never, "A date or time out of range.";
    UpdateTableUsed = 1093 "HY000" Never, "The target of the statement is also read by it.";
    RowIsReferencedBy = 1451 "23000" Never, "A parent row that a foreign key refers to.";
    NoReferencedRowFor = 1452 "23000" Never, "A child row whose foreign key finds no parent.";
    CantDropFieldOrKey = 1091 "42000" Never, "DROP of a column or key that is not there.";
    CantRemoveAllFields = 1090 "42000" Never, "ALTER TABLE cannot drop every column.";
    MScaleTooBig = 1425 "42000" Never, "Too many decimals.";
    PrecisionTooBig = 1426 "42000" Never, "Too many digits.";
    ScaleLargerThanPrecision = 1427 "42000" Never, "More decimals than digits.";
    TooBigDisplayWidth = 1439 "42000" Never, "A display width over the limit.";
    XaNotKnown = 1397 "XAE04" Never, "Unknown XA transaction.";
    DuplicateEntryWithKeyName = 1586 "23000" Never, "A unique key already holds this value.";
    WrongParametersToNativeFunction = 1582 "42000" Never, "Wrong number of arguments to a function.";
    PartitionColumnNotInKey = 1503 "HY000" Never, "A unique key must contain the sharding column.";
    NoPartitionForValue = 1526 "HY000" Never, "No partition for this value.";
    WrongValueType = 1411 "HY000" Never, "Not a value of this type for this function.";
    QueryTimeout = 3024 "HY000" Never, "max_execution_time has passed.";
    LockNowait = 3572 "HY000" Transaction, "NOWAIT: the row is locked.";
    CheckConstraintViolated = 3819 "HY000" Never, "A CHECK constraint is violated.";
    CheckConstraintNotFound = 3821 "HY000" Never, "No such CHECK constraint.";
    CheckConstraintDuplicate = 3822 "HY000" Never, "A CHECK constraint name is taken.";
    CheckConstraintColumn = 3820 "HY000" Never, "A CHECK constraint names a column that is not there.";
    InvalidJsonText = 3140 "22032" Never, "Text that is not JSON.";
    InvalidJsonTextInParam = 3141 "22032" Never, "An argument that is not JSON.";
    InvalidJsonPath = 3143 "42000" Never, "Not a JSON path.";
    InvalidJsonCharset = 3144 "22032" Never, "Binary data as JSON.";
    InvalidCastToJson = 3147 "22032" Never, "A value that cannot be cast to JSON.";
    InvalidJsonPathWildcard = 3149 "42000" Never, "A JSON path with wildcards where one place is needed.";
    JsonVacuousPath = 3153 "42000" Never, "The path $ where a place within the document is needed.";
    JsonBadOneOrAll = 3154 "42000" Never, "Neither 'one' nor 'all'.";
    InvalidJsonValueForCast = 3156 "22018" Never, "A JSON value that cannot be cast to this type.";
    JsonDocumentTooDeep = 3157 "22032" Never, "A JSON document of more than 100 levels.";
    JsonDocumentNullKey = 3158 "22032" Never, "A JSON object key that is NULL.";
    InvalidJsonPathArrayCell = 3165 "42000" Never, "A JSON path that is no array cell.";
    InvalidArgumentForLogarithm = 3020 "2201E" Never, "A logarithm of what has none.";
    CollationMixThree = 1270 "HY000" Never, "Collations that cannot be compared, three.";
    WrongValue = 1525 "HY000" Never, "A constant that is not of the type it is compared with.";
    TooManyConcurrentTransactions = 1637 "HY000" Later, "New transactions may not write for now: replicas or disks are behind.";
    UnknownLocale = 1649 "HY000" Never, "No such locale.";
    InvalidBitwiseOperands = 3513 "HY000" Never, "Binary operands of bit operations must be equally long.";
    InvalidTypeForJson = 3146 "22032" Never, "Not a type that JSON functions take.";
    JsonValueTooBig = 3150 "22032" Never, "A JSON document over the limit.";
    JsonUsedAsKey = 3152 "42000" Never, "A JSON column as a key.";
    DataOutOfRange = 1690 "22003" Never, "The value of an expression is out of range.";
    ReadOnlyTransaction = 1792 "25006" Never, "A write in a READ ONLY transaction.";
    ForeignKeyMissingIndex = 1822 "HY000" Never, "The referenced columns have no index.";
    ForeignKeyCannotOpenParent = 1824 "HY000" Never, "The referenced table is not there.";
    ForeignKeyDuplicateName = 1826 "HY000" Never, "A foreign key name is taken.";
    ForeignKeyColumnCannotDrop = 1828 "HY000" Never, "A foreign key needs this column.";
    ForeignKeyColumnNotNull = 1830 "HY000" Never, "SET NULL on a NOT NULL column.";
    DropIndexForeignKey = 1553 "HY000" Never, "A foreign key needs this index.";
    ForeignKeyColumnMissing = 1821 "HY000" Never, "A foreign key names columns that are not there.";
    ForeignKeyCannotDropParent = 3730 "HY000" Never, "A foreign key of another table refers to this table.";
    ForeignKeyIncompatible = 3780 "HY000" Never, "Referencing and referenced column differ in type.";
    CascadeTooDeep = 3008 "HY000" Never, "Foreign keys cascade more than 15 levels deep.";
    GeneratedColumnValue = 3105 "HY000" Never, "A value for a generated column.";
    UnsupportedOnGeneratedColumn = 3106 "HY000" Never, "Not supported on generated columns.";
    ErrorInUserLock = 3057 "42000" Never, "Not a lock name.";
    UserLockDeadlock = 3058 "HY000" Later, "Waiting for a named lock would never end.";
    TriggerDoesNotExist = 1360 "HY000" Never, "No such trigger.";
    EventDoesNotExist = 1539 "HY000" Never, "No such event.";
    TableWithoutPrimaryKey = 3750 "HY000" Never, "sql_require_primary_key asks for a primary key.";
    UnresolvedHintName = 3128 "42000" Never, "An optimizer hint names what is not there.";
    NotHintUpdatable = 3637 "HY000" Never, "A variable that SET_VAR cannot set.";
    TableDefinitionChanged = 1412 "HY000" Transaction, "The table's definition has changed: run the transaction again.";
    TransactionRollbackDuringCommit = 1180 "HY000" Transaction, "The commit was refused.";
    OutcomeUnknown = 3101 "HY000" Operator, "Whether the commit took place could not be found out in the time allowed.";
    ClusterUnavailable = 1429 "HY000" Later, "The adjudicator or a shard cannot be reached.";
    IllegalForEngine = 1031 "HY000" Never, "The storage engine of the table has no such thing.";
    ForeignSourceDoesNotExist = 1431 "HY000" Never, "The table on a foreign server is not there.";
    ForeignConnectionInvalid = 1432 "HY000" Never, "CONNECTION names no server and table.";
    CannotCreateForeignTable = 1434 "HY000" Never, "A foreign table that does not match the table on its server.";
    ForeignServerExists = 1476 "HY000" Never, "CREATE SERVER of a name that is taken.";
    ForeignServerDoesNotExist = 1477 "HY000" Never, "No such foreign server.";
    SnapshotTooOldError = 3168 "HY000" Transaction, "The snapshot is below the low-water mark.";
    RecursiveCteLimit = 3636 "HY000" Never, "A recursive query ran longer than cte_max_recursion_depth.";
    WindowNoSuch = 3579 "HY000" Never, "No such window.";
    WindowMisuse = 3593 "HY000" Never, "A window function where none can be.";
    SecureTransportRequired = 3159 "HY000" Never, "The server wants TLS.";
    ConnectionKilled = 1927 "70100" Never, "KILL of this connection.";
    IdleTimeout = 4031 "HY000" Never, "wait_timeout has passed.";
    NothingDropped = 4001 "HY000" Never, "UNDROP of something that is not in the recycle bin.";
    RegexpError = 3685 "HY000" Never, "Not a regular expression.";
    GroupConcatCut = 1260 "HY000" Never, "GROUP_CONCAT was cut.";
    AllowedPacketOverflowed = 1301 "HY000" Never, "A result longer than max_allowed_packet.";
    IncorrectString = 1977 "HY000" Never, "A string that cannot be converted.";
    InvalidUseOfNull = 1138 "22004" Never, "NULL where it cannot be.";
    CrashedOnUsage = 1194 "HY000" Operator, "Stored data contradicts itself: CHECK TABLE tells more.";
    ViewSelectClause = 1350 "HY000" Never, "A view whose SELECT has a clause that no view can have.";
    ViewSelectVariable = 1351 "HY000" Never, "A view whose SELECT has a variable or a parameter.";
    ViewMergeAlgorithm = 1354 "HY000" Never, "ALGORITHM = MERGE for a view that cannot be merged.";
    ViewNotUpdatableCheck = 1368 "HY000" Never, "WITH CHECK OPTION of a view that cannot be changed.";
    NotUpdatableColumn = 1348 "HY000" Never, "A column of a view that is computed cannot be given a value.";
    NoDefaultForViewField = 1423 "HY000" Never, "A column that a view does not show has no default.";
    DefinerDoesNotExist = 1449 "HY000" Never, "The account for which a view acts is gone.";
    SchemaChangeForbidden = 1450 "HY000" Never, "A view cannot be moved to another database.";
    ViewRecursive = 1462 "HY000" Never, "A view that is made of itself.";
    ViewInvalid = 1356 "HY000" Never, "A view that refers to something that is gone.";
    ViewSelectTemporaryTable = 1352 "HY000" Never, "A view whose SELECT reads a temporary table.";
    ViewWrongList = 1353 "HY000" Never, "A list of column names of the wrong length.";
    FieldInOrderNotSelect = 3065 "HY000" Never, "DISTINCT ordered by something that is not selected.";
    UnresolvedTableLock = 3568 "HY000" Never, "FOR UPDATE OF a table that the query does not have.";
    RecursiveCteShape = 3574 "HY000" Never, "A recursive common table expression without a seed before its step.";
    NotBaseTable = 1347 "HY000" Never, "Not of the kind that the statement wants.";
    TooManyKeyParts = 1070 "42000" Never, "More columns than an index may have.";
    WrongSubKey = 1089 "HY000" Never, "A prefix length that does not go with this column.";
    PasswordNoMatch = 1133 "42000" Never, "No such user.";
    BlobKeyWithoutLength = 1170 "42000" Never, "A BLOB or TEXT column as a key needs a prefix length.";
    UsingOtherHandler = 1266 "HY000" Never, "The table is stored in another engine than the one named.";
    DuplicatedValueInType = 1291 "HY000" Never, "A label twice in an ENUM or SET.";
    CannotCreateUserWithGrant = 1410 "42000" Never, "GRANT to a user that is not there.";
    AutoIncrementReadFailed = 1467 "HY000" Never, "The AUTO_INCREMENT values of a column are used up.";
    PluginNotLoaded = 1524 "HY000" Never, "No such authentication plugin.";
    ForeignKeyColumnCannotDropChild = 1829 "HY000" Never, "A foreign key of another table needs this column.";
    ForeignKeyColumnCannotChange = 1832 "HY000" Never, "A foreign key needs this column as it is.";
    ForeignKeyColumnCannotChangeChild = 1833 "HY000" Never, "A foreign key of another table needs this column as it is.";
    DependentByGeneratedColumn = 3108 "HY000" Never, "A generated column needs this column.";
    UserDoesNotExist = 3162 "HY000" Never, "No such account.";
    UserAlreadyExists = 3163 "HY000" Never, "The account is there already.";
    ForeignKeyNoColumnParent = 3734 "HY000" Never, "A foreign key refers to columns that are not there.";
    CheckConstraintUsesColumn = 3959 "HY000" Never, "A CHECK constraint needs this column.";
    WrongTypeColumn = 3110 "HY000" Never, "Not possible for a generated column of this kind.";
    GeneratedColumnRefersAutoIncrement = 3109 "HY000" Never, "A generated column cannot refer to an AUTO_INCREMENT column.";
    FunctionalIndexTruncated = 3751 "HY000" Never, "A value was truncated to fit a functional index.";
    FunctionalIndexOutOfRange = 3752 "22003" Never, "A number out of the range of a functional index.";
    FunctionalIndexOnJson = 3753 "HY000" Never, "A functional index on JSON.";
    FunctionalIndexRefersAutoIncrement = 3754 "HY000" Never, "A functional index cannot refer to an AUTO_INCREMENT column.";
    FunctionalIndexPrimaryKey = 3756 "HY000" Never, "A primary key with a functional key part.";
    FunctionalIndexOnLob = 3757 "HY000" Never, "A functional index on BLOB or TEXT.";
    FunctionalIndexFunction = 3758 "HY000" Never, "A functional index with a function that it cannot have.";
    FulltextFunctionalIndex = 3759 "HY000" Never, "A full-text index with a functional key part.";
    SpatialFunctionalIndex = 3760 "HY000" Never, "A spatial index with a functional key part.";
    FunctionalIndexOnColumn = 3762 "HY000" Never, "A functional key part that is nothing but a column.";
    FunctionalIndexRow = 3800 "HY000" Never, "A functional key part that is a row.";
    DependentByFunctionalIndex = 3837 "HY000" Never, "A functional index needs this column.";
    FunctionalIndexTooLong = 3907 "22001" Never, "A value longer than a functional index.";
    GeneratedColumnNonPrior = 3107 "HY000" Never, "A generated column can refer only to generated columns defined before it.";
    TruncateForeignKey = 1701 "42000" Never, "TRUNCATE of a table that foreign keys refer to.";
    WarnTooFewRecords = 1261 "01000" Never, "A line of a data file lacks columns.";
    TooManyRecords = 1262 "01000" Never, "A line of a data file has more columns than wanted.";
    WarnNullToNotNull = 1263 "22004" Never, "NULL in a data file for a NOT NULL column.";
    WrongFieldTerminators = 1083 "42000" Never, "ENCLOSED BY or ESCAPED BY of more than one byte.";
    NetReadInterrupted = 1159 "08S01" Never, "The client was silent for too long in the middle of a file.";
    ForeignDataSource = 1430 "HY000" Never, "A foreign server refused a statement, or its answer cannot be understood.";
    SignalException = 1644 "45000" Never, "A trigger of a foreign server raised a condition.";
    LocalFilesDisabled = 3948 "42000" Never, "LOAD DATA LOCAL that client or server do not allow.";
}

/// An error on its way to a client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// Which error.
    pub code: ErrorCode,
    /// The text; MySQL's own where drivers read it.
    pub message: String,
}

impl SqlError {
    /// An error with this text.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        SqlError { code, message: message.into() }
    }

    /// Error 1235, naming the feature.
    pub fn not_supported(feature: impl fmt::Display) -> Self {
        SqlError::new(
            ErrorCode::NotSupportedYet,
            format!("This version of Assize doesn't yet support '{feature}'"),
        )
    }

    /// Error 1105: a defect of ours.
    pub fn internal(what: impl fmt::Display) -> Self {
        SqlError::new(ErrorCode::UnknownError, format!("internal error: {what}"))
    }
}

/// A note, warning or error in the list that SHOW WARNINGS prints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// How bad.
    pub level: WarningLevel,
    /// MySQL's number.
    pub code: ErrorCode,
    /// The text.
    pub message: String,
}

/// How bad a warning is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WarningLevel {
    /// A hint.
    Note,
    /// Something was changed to fit.
    Warning,
    /// The statement failed.
    Error,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_error_has_a_sqlstate_of_five_and_a_number_of_its_own() {
        let mut seen = BTreeSet::new();
        for code in ErrorCode::ALL {
            assert_eq!(code.sqlstate().len(), 5, "{code:?}");
            assert!(seen.insert(code.errno()), "{code:?} shares its number");
        }
    }
}

//! Parameters of prepared statements, and query attributes.

use crate::bytes::{Cursor, Malformed};
use crate::protocol::type_code as code;
use assize_model::{ErrorCode, SqlError};
use assize_values::collation::{self, Charset};
use assize_values::{Date, DateTime, Decimal, Text, Time, Value, temporal};
use bytes::Bytes;

/// Most parameters of one statement.
pub(crate) const PARAMS_MAX: usize = 65_535;
/// EXECUTE says how many parameters it carries.
const PARAMETER_COUNT_AVAILABLE: u8 = 8;
/// The unsigned bit of a parameter's type.
const UNSIGNED: u8 = 0x80;

/// A parameter's type, as the client binds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ParamType {
    pub code: u8,
    pub unsigned: bool,
}

/// What is wrong with parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ParamError {
    Malformed,
    Sql(SqlError),
}

impl From<Malformed> for ParamError {
    fn from(_: Malformed) -> Self {
        ParamError::Malformed
    }
}

/// What comes in front of the parameters of COM_STMT_EXECUTE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ExecuteHead {
    pub statement: u32,
    pub flags: u8,
}

impl ExecuteHead {
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let statement = cursor.u32()?;
        let flags = cursor.u8()?;
        cursor.u32()?;
        Ok(ExecuteHead { statement, flags })
    }

    /// Whether the client asks for a read-only cursor.
    pub fn wants_cursor(self) -> bool {
        self.flags & 1 != 0
    }
}

/// Decodes the parameters of COM_STMT_EXECUTE. `types` are those bound before, and are replaced if the packet
/// brings new ones. `long_data[i]` is what SEND_LONG_DATA brought for a parameter.
pub(crate) fn decode_execute(
    cursor: &mut Cursor<'_>,
    head: ExecuteHead,
    params: usize,
    has_attributes: bool,
    types: &mut Vec<ParamType>,
    long_data: &mut [Option<Vec<u8>>],
    charset: Charset,
) -> Result<Vec<Value>, ParamError> {
    if params == 0 && !(has_attributes && head.flags & PARAMETER_COUNT_AVAILABLE != 0) {
        return Ok(Vec::new());
    }
    let mut count = params;
    if has_attributes {
        count = usize::try_from(cursor.lenenc()?).map_err(|_| Malformed)?;
        if count < params || count > PARAMS_MAX {
            return Err(ParamError::Malformed);
        }
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    let nulls = cursor.take(count.div_ceil(8))?;
    if cursor.u8()? != 0 {
        *types = decode_types(cursor, count, has_attributes)?;
    } else if types.len() != count {
        return Err(ParamError::Sql(SqlError::new(
            ErrorCode::WrongArguments,
            "Incorrect arguments to mysqld_stmt_execute",
        )));
    }
    let mut values = Vec::with_capacity(params);
    for (i, param_type) in types.iter().enumerate() {
        let long = long_data.get_mut(i).and_then(Option::take);
        let value = if let Some(data) = long {
            string_value(param_type.code, Bytes::from(data), charset)
        } else if nulls[i / 8] >> (i % 8) & 1 == 1 {
            Value::Null
        } else {
            decode_value(cursor, *param_type, charset)?
        };
        // Attributes follow the parameters; nobody asks for them yet.
        if i < params {
            values.push(value);
        }
    }
    Ok(values)
}

/// Steps over the attributes in front of COM_QUERY's text.
pub(crate) fn skip_query_attributes(cursor: &mut Cursor<'_>) -> Result<(), ParamError> {
    let count = usize::try_from(cursor.lenenc()?).map_err(|_| Malformed)?;
    let sets = cursor.lenenc()?;
    if count > PARAMS_MAX || sets != 1 {
        return Err(ParamError::Malformed);
    }
    if count == 0 {
        return Ok(());
    }
    let nulls = cursor.take(count.div_ceil(8))?;
    if cursor.u8()? != 1 {
        return Err(ParamError::Malformed);
    }
    for (i, param_type) in decode_types(cursor, count, true)?.into_iter().enumerate() {
        if nulls[i / 8] >> (i % 8) & 1 == 0 {
            decode_value(cursor, param_type, Charset::Utf8mb4)?;
        }
    }
    Ok(())
}

fn decode_types(cursor: &mut Cursor<'_>, count: usize, named: bool) -> Result<Vec<ParamType>, Malformed> {
    // Each takes two bytes at least, so a count beyond that is found before anything is allocated for it.
    let mut probe = *cursor;
    probe.take(count * 2)?;
    let mut types = Vec::with_capacity(count);
    for _ in 0..count {
        let [code, flags] = cursor.array()?;
        if named {
            cursor.lenenc_bytes()?;
        }
        types.push(ParamType { code, unsigned: flags & UNSIGNED != 0 });
    }
    Ok(types)
}

/// Decodes one value that is not NULL.
pub(crate) fn decode_value(
    cursor: &mut Cursor<'_>,
    param_type: ParamType,
    charset: Charset,
) -> Result<Value, ParamError> {
    let unsigned = param_type.unsigned;
    Ok(match param_type.code {
        code::NULL => Value::Null,
        code::TINY | code::BOOL => {
            let byte = cursor.u8()?;
            if unsigned { Value::UInt(u64::from(byte)) } else { Value::Int(i64::from(byte as i8)) }
        }
        code::SHORT | code::YEAR => {
            let short = cursor.u16()?;
            if unsigned { Value::UInt(u64::from(short)) } else { Value::Int(i64::from(short as i16)) }
        }
        code::LONG | code::INT24 => {
            let long = cursor.u32()?;
            if unsigned { Value::UInt(u64::from(long)) } else { Value::Int(i64::from(long as i32)) }
        }
        code::LONGLONG => {
            let long = cursor.u64()?;
            if unsigned { Value::UInt(long) } else { Value::Int(long as i64) }
        }
        code::FLOAT => Value::Float(f32::from_le_bytes(cursor.array()?)),
        code::DOUBLE => Value::Double(f64::from_le_bytes(cursor.array()?)),
        code::DATE => Value::Date(decode_date(cursor)?.date),
        code::DATETIME | code::TIMESTAMP => Value::DateTime(decode_date(cursor)?),
        code::TIME => Value::Time(decode_time(cursor)?),
        code::DECIMAL | code::NEW_DECIMAL => {
            let text = cursor.lenenc_bytes()?;
            let parsed = std::str::from_utf8(text).ok().and_then(Decimal::parse);
            match parsed {
                Some(decimal) => Value::Decimal(decimal),
                None => string_value(code::STRING, Bytes::copy_from_slice(text), charset),
            }
        }
        code::VARCHAR | code::BIT | code::JSON..=code::STRING | code::GEOMETRY => {
            string_value(param_type.code, Bytes::copy_from_slice(cursor.lenenc_bytes()?), charset)
        }
        _ => return Err(ParamError::Malformed),
    })
}

/// A string of a binary type, or one that is no text, is bytes: some drivers send everything as VAR_STRING.
fn string_value(code: u8, bytes: Bytes, charset: Charset) -> Value {
    if matches!(code, code::TINY_BLOB..=code::BLOB | code::BIT | code::GEOMETRY) {
        return Value::Bytes(bytes);
    }
    let decoded = match charset {
        Charset::Binary => return Value::Bytes(bytes),
        // What is no text in the client's set stays bytes.
        _ if charset.is_foreign() && !bytes.is_ascii() => match collation::decode(&bytes, charset) {
            Ok(text) => Bytes::from(text.into_owned()),
            Err(_) => return Value::Bytes(bytes),
        },
        _ => bytes,
    };
    match Text::from_utf8(decoded) {
        Ok(text) => Value::Text(text),
        Err(bytes) => Value::Bytes(bytes),
    }
}

fn decode_date(cursor: &mut Cursor<'_>) -> Result<DateTime, ParamError> {
    let length = cursor.u8()?;
    let mut at = DateTime::default();
    if !matches!(length, 0 | 4 | 7 | 11) {
        return Err(ParamError::Malformed);
    }
    if length >= 4 {
        at.date = Date { year: cursor.u16()?, month: cursor.u8()?, day: cursor.u8()? };
    }
    let (mut hour, mut minute, mut second, mut micros) = (0, 0, 0, 0);
    if length >= 7 {
        [hour, minute, second] = cursor.array()?;
    }
    if length == 11 {
        micros = cursor.u32()?;
    }
    let Date { year, month, day } = at.date;
    // Zero parts are a matter of the SQL mode; parts that no calendar has are an error at once.
    let days = if month == 0 { 31 } else { temporal::days_in_month(year, month.min(12)) };
    if year > 9999 || month > 12 || day > days || hour > 23 || minute > 59 || second > 59 || micros > 999_999
    {
        return Err(ParamError::Sql(SqlError::new(
            ErrorCode::TruncatedWrongValue,
            format!(
                "Incorrect datetime value: '{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}'"
            ),
        )));
    }
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    at.micros = seconds * 1_000_000 + i64::from(micros);
    Ok(at)
}

fn decode_time(cursor: &mut Cursor<'_>) -> Result<Time, ParamError> {
    let length = cursor.u8()?;
    if !matches!(length, 0 | 8 | 12) {
        return Err(ParamError::Malformed);
    }
    if length == 0 {
        return Ok(Time::default());
    }
    let negative = cursor.u8()? != 0;
    let days = cursor.u32()?;
    let [hour, minute, second] = cursor.array()?;
    let micros = if length == 12 { cursor.u32()? } else { 0 };
    let seconds =
        i64::from(days) * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    let size = seconds * 1_000_000 + i64::from(micros.min(999_999));
    let (time, _) = Time { micros: if negative { -size } else { size } }.clipped();
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(
        bytes: &[u8],
        params: usize,
        types: &mut Vec<ParamType>,
        long: &mut [Option<Vec<u8>>],
    ) -> Result<Vec<Value>, ParamError> {
        let mut cursor = Cursor::new(bytes);
        let head = ExecuteHead::decode(&mut cursor)?;
        decode_execute(&mut cursor, head, params, false, types, long, Charset::Utf8mb4)
    }

    #[test]
    fn types_are_remembered_when_they_are_not_bound_again() {
        let mut types = Vec::new();
        let bound = b"\x01\0\0\0\0\x01\0\0\0\x02\x01\x08\0\xfd\0\x2a\0\0\0\0\0\0\0";
        let long = &mut [None, None];
        assert_eq!(decode(bound, 2, &mut types, long), Ok(vec![Value::Int(42), Value::Null]));
        let again = b"\x01\0\0\0\0\x01\0\0\0\0\0\x2b\0\0\0\0\0\0\0\x02hi";
        assert_eq!(decode(again, 2, &mut types, long), Ok(vec![Value::Int(43), Value::text("hi")]));
        let error = decode(again, 2, &mut Vec::new(), long).unwrap_err();
        assert!(matches!(error, ParamError::Sql(e) if e.code == ErrorCode::WrongArguments));
    }

    #[test]
    fn long_data_takes_the_place_of_a_value() {
        let mut long = [Some(b"long".to_vec()), None];
        let bytes = b"\x01\0\0\0\0\x01\0\0\0\0\x01\xfc\0\x01\x80\x07";
        let values = decode(bytes, 2, &mut Vec::new(), &mut long).unwrap();
        assert_eq!(values, [Value::Bytes(Bytes::from_static(b"long")), Value::UInt(7)]);
        assert_eq!(long[0], None);
    }

    #[test]
    fn binary_data_sent_as_a_string_stays_binary() {
        let value = string_value(code::VAR_STRING, Bytes::from_static(b"\xff\xfe"), Charset::Utf8mb4);
        assert_eq!(value, Value::Bytes(Bytes::from_static(b"\xff\xfe")));
    }

    #[test]
    fn dates_that_no_calendar_has_are_refused() {
        let of = |bytes: &[u8]| {
            decode_value(
                &mut Cursor::new(bytes),
                ParamType { code: code::DATETIME, unsigned: false },
                Charset::Utf8mb4,
            )
        };
        assert!(matches!(of(&[4, 0xea, 7, 13, 1]), Err(ParamError::Sql(_))));
        assert!(matches!(of(&[4, 0xea, 7, 2, 30]), Err(ParamError::Sql(_))));
        assert_eq!(of(&[5, 0xea, 7, 2, 3, 4]), Err(ParamError::Malformed));
        let Ok(Value::DateTime(at)) = of(&[7, 0xea, 7, 11, 20, 1, 2, 3]) else { panic!() };
        assert_eq!(at.micros, 3_723_000_000);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(
            bytes in proptest::collection::vec(any::<u8>(), 0..100), params in 0usize..20, attributes: bool,
        ) {
            let mut cursor = Cursor::new(&bytes);
            if let Ok(head) = ExecuteHead::decode(&mut cursor) {
                let (mut types, mut long) = (Vec::new(), vec![None; params]);
                let charset = Charset::Utf8mb4;
                let _ = decode_execute(&mut cursor, head, params, attributes, &mut types, &mut long, charset);
            }
            let _ = skip_query_attributes(&mut Cursor::new(&bytes));
        }
    }
}

//! Aggregate functions: typing, accumulation row by row, and merging of partial results.

use crate::collation::Coercibility;
use crate::compare::{self, Comparison};
use crate::convert::{self, Number};
use crate::json::Json;
use crate::{ArgType, Collation, Decimal, EvalContext, SqlType, Value};
use assize_model::{ErrorCode, SqlError};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// An aggregate function.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Aggregate {
    /// COUNT(*) and COUNT(expr, …): rows whose operands are all there; no operands counts rows.
    Count,
    /// SUM
    Sum,
    /// AVG
    Avg,
    /// MIN
    Min,
    /// MAX
    Max,
    /// GROUP_CONCAT; the caller feeds rows in the order asked for.
    GroupConcat,
    /// BIT_AND
    BitAnd,
    /// BIT_OR
    BitOr,
    /// BIT_XOR
    BitXor,
    /// STD, STDDEV, STDDEV_POP
    StdPop,
    /// STDDEV_SAMP
    StdSamp,
    /// VARIANCE, VAR_POP
    VarPop,
    /// VAR_SAMP
    VarSamp,
    /// JSON_ARRAYAGG
    JsonArrayAgg,
    /// JSON_OBJECTAGG
    JsonObjectAgg,
    /// ANY_VALUE
    AnyValue,
}

const NAMES: &[(&str, Aggregate)] = &[
    ("ANY_VALUE", Aggregate::AnyValue),
    ("AVG", Aggregate::Avg),
    ("BIT_AND", Aggregate::BitAnd),
    ("BIT_OR", Aggregate::BitOr),
    ("BIT_XOR", Aggregate::BitXor),
    ("COUNT", Aggregate::Count),
    ("GROUP_CONCAT", Aggregate::GroupConcat),
    ("JSON_ARRAYAGG", Aggregate::JsonArrayAgg),
    ("JSON_OBJECTAGG", Aggregate::JsonObjectAgg),
    ("MAX", Aggregate::Max),
    ("MIN", Aggregate::Min),
    ("STD", Aggregate::StdPop),
    ("STDDEV", Aggregate::StdPop),
    ("STDDEV_POP", Aggregate::StdPop),
    ("STDDEV_SAMP", Aggregate::StdSamp),
    ("SUM", Aggregate::Sum),
    ("VARIANCE", Aggregate::VarPop),
    ("VAR_POP", Aggregate::VarPop),
    ("VAR_SAMP", Aggregate::VarSamp),
];

impl Aggregate {
    /// The aggregate of this name, in any case.
    pub fn find(name: &str) -> Option<Aggregate> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, aggregate)| *aggregate)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, aggregate)| *aggregate == self).map_or("", |(name, _)| name)
    }

    /// The type of its result.
    pub fn result_type(self, args: &[ArgType], ctx: &EvalContext) -> Result<SqlType, SqlError> {
        let wrong = || {
            SqlError::new(
                ErrorCode::WrongParametersToNativeFunction,
                format!("Incorrect parameter count in the call to native function '{}'", self.name()),
            )
        };
        let count = match self {
            Aggregate::Count | Aggregate::GroupConcat => args.len(),
            Aggregate::JsonObjectAgg => 2,
            _ => 1,
        };
        if args.len() != count || self == Aggregate::GroupConcat && args.is_empty() {
            return Err(wrong());
        }
        let first = args.first().map_or(&SqlType::Null, |arg| &arg.sql_type);
        let exact = !matches!(crate::ops::neg_type(first), SqlType::Double { .. });
        let (precision, scale) = first.decimal_digits();
        let digits = |extra_precision: u8, scale: u8| SqlType::Decimal {
            precision: precision.saturating_add(extra_precision).clamp(1, 65).max(scale),
            scale,
            unsigned: false,
        };
        let double = |more: u8| match first {
            SqlType::Double { digits: Some((_, places)), .. }
            | SqlType::Float { digits: Some((_, places)), .. } => {
                let places = places.saturating_add(more).min(30);
                SqlType::Double { unsigned: false, digits: Some((17 + places, places)) }
            }
            _ => SqlType::DOUBLE,
        };
        Ok(match self {
            Aggregate::Count => SqlType::BIGINT,
            Aggregate::Sum if exact => digits(22, scale),
            Aggregate::Sum => double(0),
            Aggregate::Avg if exact => {
                let more = ctx.div_precision_increment;
                digits(more, scale.saturating_add(more).min(Decimal::MAX_SCALE))
            }
            Aggregate::Avg => double(ctx.div_precision_increment),
            Aggregate::Min | Aggregate::Max | Aggregate::AnyValue => match first {
                SqlType::Enum { collation, .. } | SqlType::Set { collation, .. }
                    if self != Aggregate::AnyValue =>
                {
                    SqlType::string(first.char_length().into(), *collation)
                }
                other => other.clone(),
            },
            Aggregate::GroupConcat => {
                let connection = ctx.connection_collation;
                let derivations: Vec<_> = args.iter().map(|arg| arg.derivation(connection)).collect();
                let derivation = crate::collation::aggregate(&derivations, "group_concat")?;
                let size = crate::BlobSize::holding(ctx.group_concat_max_len.saturating_mul(4));
                if derivation.collation.is_binary() {
                    SqlType::Blob { size }
                } else {
                    SqlType::Text { size, collation: derivation.collation }
                }
            }
            Aggregate::BitAnd | Aggregate::BitOr | Aggregate::BitXor => SqlType::BIGINT_UNSIGNED,
            Aggregate::StdPop | Aggregate::StdSamp | Aggregate::VarPop | Aggregate::VarSamp => {
                SqlType::DOUBLE
            }
            Aggregate::JsonArrayAgg | Aggregate::JsonObjectAgg => SqlType::Json,
        })
    }

    /// How strongly the collation of its result is meant.
    pub fn coercibility(self, args: &[ArgType]) -> Coercibility {
        args.first().map_or(Coercibility::Numeric, |arg| arg.coercibility)
    }
}

/// An aggregate as a statement calls it.
#[derive(Clone, PartialEq, Debug)]
pub struct AggregateCall {
    /// Which.
    pub aggregate: Aggregate,
    /// DISTINCT.
    pub distinct: bool,
    /// The operands' types.
    pub arg_types: Vec<SqlType>,
    /// The result's type, from [`Aggregate::result_type`].
    pub result_type: SqlType,
    /// GROUP_CONCAT's SEPARATOR.
    pub separator: String,
}

/// The state of one aggregate over one group.
#[derive(Clone, PartialEq, Debug)]
pub struct Accumulator {
    /// Values seen, for DISTINCT: by key, so that partial results merge.
    seen: Option<BTreeMap<Vec<u8>, Vec<Value>>>,
    state: State,
    /// Bytes that strings, documents and distinct values take.
    memory: usize,
}

#[derive(Clone, PartialEq, Debug)]
enum State {
    Count(i64),
    /// The exact sum and how many.
    Exact(i128, Option<Decimal>, i64),
    Real(f64, i64),
    Best(Option<Value>),
    Text {
        text: Vec<u8>,
        rows: u64,
        cut: bool,
    },
    Bits(u64),
    /// Count, mean, sum of squared distances from it.
    Moments(i64, f64, f64),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Accumulator {
    /// The state before the first row.
    pub fn new(call: &AggregateCall) -> Self {
        let state = match call.aggregate {
            Aggregate::Count => State::Count(0),
            Aggregate::Sum | Aggregate::Avg => match call.result_type {
                SqlType::Decimal { .. } => State::Exact(0, None, 0),
                _ => State::Real(0.0, 0),
            },
            Aggregate::Min | Aggregate::Max | Aggregate::AnyValue => State::Best(None),
            Aggregate::GroupConcat => State::Text { text: Vec::new(), rows: 0, cut: false },
            Aggregate::BitAnd => State::Bits(u64::MAX),
            Aggregate::BitOr | Aggregate::BitXor => State::Bits(0),
            Aggregate::StdPop | Aggregate::StdSamp | Aggregate::VarPop | Aggregate::VarSamp => {
                State::Moments(0, 0.0, 0.0)
            }
            Aggregate::JsonArrayAgg => State::Array(Vec::new()),
            Aggregate::JsonObjectAgg => State::Object(Vec::new()),
        };
        // MIN and MAX of distinct values are those of all.
        let distinct =
            call.distinct && !matches!(call.aggregate, Aggregate::Min | Aggregate::Max | Aggregate::AnyValue);
        Accumulator { seen: distinct.then(BTreeMap::new), state, memory: 0 }
    }

    /// Bytes that it holds beyond its own size.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Takes one row's operands in.
    #[inline]
    pub fn add(
        &mut self,
        call: &AggregateCall,
        args: &[Value],
        ctx: &mut EvalContext,
    ) -> Result<(), SqlError> {
        // The two most common, without a detour.
        match (&mut self.state, args, &self.seen) {
            (State::Count(count), [], None) => {
                *count += 1;
                return Ok(());
            }
            (State::Exact(sum, _, count), [Value::Int(number)], None) => {
                *sum += i128::from(*number);
                *count += 1;
                return Ok(());
            }
            _ => {}
        }
        let keeps_null = matches!(
            call.aggregate,
            Aggregate::JsonArrayAgg | Aggregate::JsonObjectAgg | Aggregate::AnyValue
        );
        if !keeps_null && args.iter().any(Value::is_null) {
            return Ok(());
        }
        if let Some(seen) = &mut self.seen {
            let mut key = Vec::new();
            for (arg, sql_type) in args.iter().zip(&call.arg_types) {
                compare::group_key(arg, sql_type.text_collation().unwrap_or(Collation::BINARY), &mut key);
            }
            if seen.contains_key(&key) {
                return Ok(());
            }
            self.memory += key.len() + 64 * args.len();
            seen.insert(key, args.to_vec());
        }
        self.accumulate(call, args, ctx)
    }

    fn accumulate(
        &mut self,
        call: &AggregateCall,
        args: &[Value],
        ctx: &mut EvalContext,
    ) -> Result<(), SqlError> {
        let first = args.first().unwrap_or(&Value::Null);
        let first_type = call.arg_types.first().unwrap_or(&SqlType::Null);
        match &mut self.state {
            State::Count(count) => *count += 1,
            State::Exact(whole, fraction, count) => {
                match convert::to_number(first, ctx)? {
                    Some(Number::Int(number)) => *whole += i128::from(number),
                    Some(Number::UInt(number)) => *whole += i128::from(number),
                    Some(number) => {
                        let number = number.to_decimal();
                        let sum = match fraction.take() {
                            Some(sum) => sum.add(&number),
                            None => Some(number),
                        };
                        *fraction =
                            Some(sum.ok_or_else(|| {
                                EvalContext::out_of_range("DECIMAL", call.aggregate.name())
                            })?);
                    }
                    None => return Ok(()),
                }
                *count += 1;
            }
            State::Real(sum, count) => {
                if let Some(number) = convert::to_f64(first, ctx)? {
                    *sum += number;
                    *count += 1;
                }
            }
            State::Best(best) => {
                let better = match (call.aggregate, &*best) {
                    (_, None) => true,
                    (Aggregate::AnyValue, Some(_)) => false,
                    (aggregate, Some(old)) => {
                        let order = compare::sort_order(first, old, &best_rule(first_type));
                        order == if aggregate == Aggregate::Min { Ordering::Less } else { Ordering::Greater }
                    }
                };
                if better {
                    *best = Some(first.clone());
                }
            }
            State::Text { text, rows, cut } => {
                *rows += 1;
                if *cut {
                    return Ok(());
                }
                let before = text.len();
                if *rows > 1 {
                    text.extend_from_slice(call.separator.as_bytes());
                }
                for (arg, sql_type) in args.iter().zip(&call.arg_types) {
                    crate::format::write_text(arg, sql_type, text);
                }
                self.memory += text.len() - before;
                cut_text(text, cut, *rows, ctx)?;
            }
            State::Bits(bits) => {
                if let Some(operand) = convert::to_bits(first, ctx)? {
                    match call.aggregate {
                        Aggregate::BitAnd => *bits &= operand,
                        Aggregate::BitOr => *bits |= operand,
                        _ => *bits ^= operand,
                    }
                }
            }
            State::Moments(count, mean, squares) => {
                if let Some(number) = convert::to_f64(first, ctx)? {
                    *count += 1;
                    let distance = number - *mean;
                    *mean += distance / *count as f64;
                    *squares += distance * (number - *mean);
                }
            }
            State::Array(items) => {
                self.memory += 64;
                items.push(crate::cast::scalar_json(first, first_type, ctx));
            }
            State::Object(members) => {
                let Some(key) = convert::to_str(first, first_type) else {
                    return Err(SqlError::new(
                        ErrorCode::JsonDocumentNullKey,
                        "JSON documents may not contain NULL member names.",
                    ));
                };
                let (value, value_type) = (args.get(1), call.arg_types.get(1));
                let json = crate::cast::scalar_json(
                    value.unwrap_or(&Value::Null),
                    value_type.unwrap_or(&SqlType::Null),
                    ctx,
                );
                self.memory += 64 + key.len();
                Json::put(members, &key, json);
            }
        }
        Ok(())
    }

    /// Takes in the partial result of other rows of the same group, which come after these.
    pub fn merge(
        &mut self,
        call: &AggregateCall,
        other: Accumulator,
        ctx: &mut EvalContext,
    ) -> Result<(), SqlError> {
        if let Some(theirs) = other.seen {
            for (key, args) in theirs {
                let Some(seen) = &mut self.seen else { break };
                if let std::collections::btree_map::Entry::Vacant(entry) = seen.entry(key) {
                    self.memory += entry.key().len() + 64 * args.len();
                    entry.insert(args.clone());
                    self.accumulate(call, &args, ctx)?;
                }
            }
            return Ok(());
        }
        match (&mut self.state, other.state) {
            (State::Count(a), State::Count(b)) => *a += b,
            (State::Exact(whole, fraction, count), State::Exact(w, f, c)) => {
                *whole += w;
                *count += c;
                *fraction = match (fraction.take(), f) {
                    (Some(a), Some(b)) => Some(
                        a.add(&b)
                            .ok_or_else(|| EvalContext::out_of_range("DECIMAL", call.aggregate.name()))?,
                    ),
                    (a, b) => a.or(b),
                };
            }
            (State::Real(sum, count), State::Real(s, c)) => {
                *sum += s;
                *count += c;
            }
            (State::Best(_), State::Best(Some(theirs))) => self.accumulate(call, &[theirs], ctx)?,
            (State::Text { text, rows, cut }, State::Text { text: theirs, rows: more, cut: cut_there })
                if more > 0 && !*cut =>
            {
                if *rows > 0 {
                    text.extend_from_slice(call.separator.as_bytes());
                }
                text.extend_from_slice(&theirs);
                *rows += more;
                *cut = cut_there;
                cut_text(text, cut, *rows, ctx)?;
            }
            (State::Bits(a), State::Bits(b)) => match call.aggregate {
                Aggregate::BitAnd => *a &= b,
                Aggregate::BitOr => *a |= b,
                _ => *a ^= b,
            },
            (State::Moments(count, mean, squares), State::Moments(c, m, s)) if c > 0 => {
                let all = (*count + c) as f64;
                let distance = m - *mean;
                *squares += s + distance * distance * *count as f64 * c as f64 / all;
                *mean += distance * c as f64 / all;
                *count += c;
            }
            (State::Array(items), State::Array(more)) => items.extend(more),
            (State::Object(members), State::Object(more)) => {
                more.into_iter().for_each(|(key, value)| Json::put(members, &key, value));
            }
            _ => {}
        }
        self.memory += other.memory;
        Ok(())
    }

    /// The result.
    pub fn finish(&self, call: &AggregateCall, ctx: &mut EvalContext) -> Result<Value, SqlError> {
        let overflow = || EvalContext::out_of_range("DECIMAL", call.aggregate.name());
        Ok(match &self.state {
            State::Count(count) => Value::Int(*count),
            State::Exact(_, _, 0) | State::Real(_, 0) => Value::Null,
            State::Exact(whole, fraction, count) => {
                let whole = Decimal::from(*whole);
                let sum = match fraction {
                    Some(fraction) => fraction.add(&whole).ok_or_else(overflow)?,
                    None => whole,
                };
                if call.aggregate == Aggregate::Avg {
                    let average = sum.div(&Decimal::from(*count), ctx.div_precision_increment);
                    Value::Decimal(average.ok_or_else(overflow)?)
                } else {
                    Value::Decimal(sum)
                }
            }
            State::Real(sum, count) => {
                let result = if call.aggregate == Aggregate::Avg { sum / *count as f64 } else { *sum };
                if !result.is_finite() {
                    return Err(EvalContext::out_of_range("DOUBLE", call.aggregate.name()));
                }
                Value::Double(result)
            }
            State::Best(best) => match best {
                Some(Value::Enum(_, label) | Value::Set(_, label))
                    if call.aggregate != Aggregate::AnyValue =>
                {
                    Value::text(&**label)
                }
                Some(best) => best.clone(),
                None => Value::Null,
            },
            State::Text { rows: 0, .. } => Value::Null,
            State::Text { text, .. } => {
                let bytes = bytes::Bytes::copy_from_slice(text);
                if matches!(call.result_type, SqlType::Blob { .. }) {
                    Value::Bytes(bytes)
                } else {
                    match crate::Text::from_utf8(bytes) {
                        Ok(text) => Value::Text(text),
                        Err(bytes) => Value::text(String::from_utf8_lossy(&bytes)),
                    }
                }
            }
            State::Bits(bits) => Value::UInt(*bits),
            State::Moments(count, _, squares) => {
                let sample = matches!(call.aggregate, Aggregate::StdSamp | Aggregate::VarSamp);
                let divisor = if sample { *count - 1 } else { *count };
                if divisor < 1 {
                    return Ok(Value::Null);
                }
                let variance = squares / divisor as f64;
                let root = matches!(call.aggregate, Aggregate::StdPop | Aggregate::StdSamp);
                Value::Double(if root { variance.sqrt() } else { variance })
            }
            State::Array(items) if items.is_empty() => Value::Null,
            State::Array(items) => Value::Json(Json::Array(items.clone()).into()),
            State::Object(members) if members.is_empty() => Value::Null,
            State::Object(members) => Value::Json(Json::Object(members.clone()).into()),
        })
    }
}

/// ENUM and SET compare by label here, by index in ORDER BY.
fn best_rule(sql_type: &SqlType) -> Comparison {
    match sql_type {
        SqlType::Enum { collation, .. } | SqlType::Set { collation, .. } => Comparison::Text(*collation),
        other => Comparison::of_type(other),
    }
}

/// Cuts a text at group_concat_max_len, on a character's boundary, with warning 1260.
fn cut_text(text: &mut Vec<u8>, cut: &mut bool, row: u64, ctx: &mut EvalContext) -> Result<(), SqlError> {
    let limit = usize::try_from(ctx.group_concat_max_len).unwrap_or(usize::MAX);
    if text.len() <= limit {
        return Ok(());
    }
    let mut end = limit;
    while end > 0 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    text.truncate(end);
    *cut = true;
    ctx.warn(ErrorCode::GroupConcatCut, format!("Row {row} was cut by GROUP_CONCAT()"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(aggregate: Aggregate, distinct: bool, arg_types: Vec<SqlType>) -> AggregateCall {
        let args: Vec<ArgType> = arg_types.iter().map(|t| ArgType::column(t.clone(), true)).collect();
        let result_type = aggregate.result_type(&args, &EvalContext::default()).unwrap();
        AggregateCall { aggregate, distinct, arg_types, result_type, separator: ",".to_owned() }
    }

    fn run(call: &AggregateCall, rows: &[Vec<Value>], split: usize) -> String {
        let mut ctx = EvalContext::default();
        let (mut left, mut right) = (Accumulator::new(call), Accumulator::new(call));
        for (i, row) in rows.iter().enumerate() {
            let side = if i < split { &mut left } else { &mut right };
            side.add(call, row, &mut ctx).unwrap();
        }
        left.merge(call, right, &mut ctx).unwrap();
        match left.finish(call, &mut ctx).unwrap() {
            Value::Null => "NULL".to_owned(),
            value => crate::format::to_string(&value, &call.result_type),
        }
    }

    fn ints(list: &[Option<i64>]) -> Vec<Vec<Value>> {
        list.iter().map(|n| vec![n.map_or(Value::Null, Value::Int)]).collect()
    }

    #[test]
    fn aggregates_over_integers() {
        let rows = ints(&[Some(1), Some(2), None, Some(2), Some(4)]);
        use Aggregate::*;
        for (aggregate, distinct, expected) in [
            (Count, false, "4"),
            (Count, true, "3"),
            (Sum, false, "9"),
            (Sum, true, "7"),
            (Avg, false, "2.2500"),
            (Min, false, "1"),
            (Max, false, "4"),
            (GroupConcat, false, "1,2,2,4"),
            (GroupConcat, true, "1,2,4"),
            (BitOr, false, "7"),
            (BitAnd, false, "0"),
            (BitXor, false, "5"),
            (JsonArrayAgg, false, "[1, 2, null, 2, 4]"),
        ] {
            let call = call(aggregate, distinct, vec![SqlType::INT]);
            for split in 0..=rows.len() {
                assert_eq!(run(&call, &rows, split), expected, "{aggregate:?} {distinct} {split}");
            }
        }
        // Of doubles the last digit depends on where the rows were split.
        assert_eq!(run(&call(VarPop, false, vec![SqlType::INT]), &rows, rows.len()), "1.1875");
    }

    #[test]
    fn nothing_aggregates_to_null_zero_or_all_ones() {
        for (aggregate, expected) in [
            (Aggregate::Count, "0"),
            (Aggregate::Sum, "NULL"),
            (Aggregate::Max, "NULL"),
            (Aggregate::GroupConcat, "NULL"),
            (Aggregate::BitAnd, "18446744073709551615"),
            (Aggregate::JsonArrayAgg, "NULL"),
            (Aggregate::StdSamp, "NULL"),
        ] {
            assert_eq!(run(&call(aggregate, false, vec![SqlType::INT]), &[], 0), expected);
        }
    }

    #[test]
    fn distinct_text_goes_by_collation_and_long_texts_are_cut() {
        let collation = Collation::UTF8MB4_0900_AI_CI;
        let text = SqlType::VarChar { length: 9, collation };
        let rows: Vec<Vec<Value>> = ["a", "A", "á", "b"].iter().map(|t| vec![Value::text(*t)]).collect();
        assert_eq!(run(&call(Aggregate::Count, true, vec![text.clone()]), &rows, 2), "2");
        let call = call(Aggregate::GroupConcat, false, vec![text]);
        let mut ctx = EvalContext { group_concat_max_len: 4, ..EvalContext::default() };
        let mut state = Accumulator::new(&call);
        rows.iter().for_each(|row| state.add(&call, row, &mut ctx).unwrap());
        assert_eq!(state.finish(&call, &mut ctx), Ok(Value::text("a,A,")));
        assert_eq!(ctx.warnings[0].message, "Row 3 was cut by GROUP_CONCAT()");
        assert_eq!(ctx.warnings.len(), 1);
    }

    proptest! {
        #[test]
        fn merging_is_as_if_all_rows_came_in_one(list: Vec<Option<i32>>, split: usize) {
            let list: Vec<Option<i64>> = list.into_iter().map(|n| n.map(i64::from)).collect();
            let rows = ints(&list);
            let split = split % (rows.len() + 1);
            for (_, aggregate) in NAMES {
                if matches!(aggregate, Aggregate::JsonObjectAgg | Aggregate::StdPop | Aggregate::StdSamp
                    | Aggregate::VarPop | Aggregate::VarSamp) {
                    continue;
                }
                let call = call(*aggregate, false, vec![SqlType::BIGINT]);
                prop_assert_eq!(run(&call, &rows, split), run(&call, &rows, rows.len()), "{:?}", aggregate);
            }
        }
    }
}

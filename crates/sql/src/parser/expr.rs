//! Expressions, with MySQL's precedence.
//!
//! ```text
//!   :=  <  OR ||  <  XOR  <  AND &&  <  NOT  <  = <=> < > IS LIKE IN BETWEEN …  <  |  <  &  <  << >>
//!       <  + -  <  * / DIV % MOD  <  ^  <  (|| with PIPES_AS_CONCAT)  <  unary - ~ !  <  COLLATE
//! ```

use super::{CHAIN_MAX, Parser, Result};
use crate::lexer::Kind;
use crate::words;
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    BinaryOperator, CaseWhen, CastFormat, CastKind, CharacterLength, DataType, DateTimeField,
    DuplicateTreatment, ExactNumberInfo, Expr, ExtractSyntax, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Ident, Interval, MemberOf,
    NullTreatment, ObjectName, ObjectNamePart, SearchModifier, TimezoneInfo, TrimWhereField, TypedString,
    UnaryOperator, Value, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowSpec, WindowType,
};

pub(super) fn object_name(parts: Vec<Ident>) -> ObjectName {
    ObjectName(parts.into_iter().map(ObjectNamePart::Identifier).collect())
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

/// Combines operands of an associative operator into a tree of logarithmic depth.
fn balanced(mut operands: Vec<Expr>, op: &BinaryOperator) -> Expr {
    // Short chains keep the shape that everybody expects: left-leaning.
    if operands.len() <= 16 {
        let mut operands = operands.into_iter();
        let first = operands.next().unwrap_or_else(|| Expr::value(Value::Null));
        return operands.fold(first, |left, right| binary(left, op.clone(), right));
    }
    let right = operands.split_off(operands.len() / 2);
    binary(balanced(operands, op), op.clone(), balanced(right, op))
}

/// What can follow a query in parentheses that is a part of a longer one.
const AFTER_QUERY: [&str; 8] = ["UNION", "EXCEPT", "INTERSECT", "MINUS", "ORDER", "LIMIT", "FOR", "LOCK"];

impl Parser<'_> {
    /// Any expression.
    pub(super) fn expr(&mut self) -> Result<Expr> {
        self.nested(|p| p.or_expr())
    }

    /// An expression that may be an assignment to a user variable.
    pub(super) fn select_expr(&mut self) -> Result<Expr> {
        self.expr()
    }

    fn or_expr(&mut self) -> Result<Expr> {
        let first = self.xor_expr()?;
        let mut operands = vec![first];
        while self.eat_kw("OR") || (!self.options.pipes_as_concat && self.eat("||")) {
            operands.push(self.xor_expr()?);
        }
        Ok(balanced(operands, &BinaryOperator::Or))
    }

    fn xor_expr(&mut self) -> Result<Expr> {
        let first = self.and_expr()?;
        let mut operands = vec![first];
        while self.eat_kw("XOR") {
            operands.push(self.and_expr()?);
        }
        Ok(balanced(operands, &BinaryOperator::Xor))
    }

    fn and_expr(&mut self) -> Result<Expr> {
        let first = self.not_expr()?;
        let mut operands = vec![first];
        while self.eat_kw("AND") || self.eat("&&") {
            operands.push(self.not_expr()?);
        }
        Ok(balanced(operands, &BinaryOperator::And))
    }

    fn not_expr(&mut self) -> Result<Expr> {
        if !self.options.high_not_precedence && self.eat_kw("NOT") {
            let expr = self.nested(|p| p.not_expr())?;
            return Ok(Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) });
        }
        self.comparison()
    }

    fn comparison_operator(&self) -> Option<BinaryOperator> {
        if self.kind() != Kind::Punct {
            return None;
        }
        Some(match self.tok().text.as_str() {
            "=" => BinaryOperator::Eq,
            "<=>" => BinaryOperator::Spaceship,
            "<" => BinaryOperator::Lt,
            ">" => BinaryOperator::Gt,
            "<=" => BinaryOperator::LtEq,
            ">=" => BinaryOperator::GtEq,
            "<>" | "!=" => BinaryOperator::NotEq,
            _ => return None,
        })
    }

    fn comparison(&mut self) -> Result<Expr> {
        let mut left = self.predicate()?;
        let mut length = 0;
        loop {
            if let Some(op) = self.comparison_operator() {
                self.skip(1);
                left = self.comparison_right(left, op)?;
            } else if self.eat_kw("IS") {
                left = self.is_test(left)?;
            } else {
                return Ok(left);
            }
            length += 1;
            if length > CHAIN_MAX {
                return Err(self.too_deep());
            }
        }
    }

    fn comparison_right(&mut self, left: Expr, op: BinaryOperator) -> Result<Expr> {
        let quantified = self.is_punct_at(1, "(") && self.is_any_kw(&["ALL", "ANY", "SOME"]);
        if !quantified {
            let right = self.predicate()?;
            return Ok(binary(left, op, right));
        }
        let all = self.is_kw("ALL");
        let is_some = self.is_kw("SOME");
        self.skip(1);
        self.expect("(")?;
        let query = self.query()?;
        self.expect(")")?;
        let right = Box::new(Expr::Subquery(Box::new(query)));
        let left = Box::new(left);
        Ok(if all {
            Expr::AllOp { left, compare_op: op, right }
        } else {
            Expr::AnyOp { left, compare_op: op, right, is_some }
        })
    }

    fn is_test(&mut self, left: Expr) -> Result<Expr> {
        let negated = self.eat_kw("NOT");
        let left = Box::new(left);
        let word = self.eat_one_of(&["NULL", "TRUE", "FALSE", "UNKNOWN"]).ok_or_else(|| self.fail())?;
        Ok(match (word, negated) {
            ("NULL", false) => Expr::IsNull(left),
            ("NULL", true) => Expr::IsNotNull(left),
            ("TRUE", false) => Expr::IsTrue(left),
            ("TRUE", true) => Expr::IsNotTrue(left),
            ("FALSE", false) => Expr::IsFalse(left),
            ("FALSE", true) => Expr::IsNotFalse(left),
            (_, false) => Expr::IsUnknown(left),
            (_, true) => Expr::IsNotUnknown(left),
        })
    }

    fn predicate(&mut self) -> Result<Expr> {
        let left = self.bit_expr(1)?;
        let negated = self.is_kw("NOT")
            && ["IN", "BETWEEN", "LIKE", "REGEXP", "RLIKE"].iter().any(|w| self.is_kw_at(1, w));
        if negated {
            self.skip(1);
        }
        if self.kind() != Kind::Word {
            return Ok(left);
        }
        if self.eat_kw("IN") {
            return self.in_list(left, negated);
        }
        if self.eat_kw("BETWEEN") {
            let low = self.bit_expr(1)?;
            self.expect_kw("AND")?;
            let high = self.nested(|p| p.predicate())?;
            return Ok(Expr::Between {
                expr: Box::new(left),
                negated,
                low: Box::new(low),
                high: Box::new(high),
            });
        }
        if self.eat_kw("LIKE") {
            let pattern = self.unary()?;
            let escape_char = if self.eat_kw("ESCAPE") { Some(self.literal()?) } else { None };
            return Ok(Expr::Like {
                negated,
                any: false,
                expr: Box::new(left),
                pattern: Box::new(pattern),
                escape_char: escape_char.map(Into::into),
            });
        }
        if let Some(word) = self.eat_one_of(&["REGEXP", "RLIKE"]) {
            let pattern = self.bit_expr(1)?;
            return Ok(Expr::RLike {
                negated,
                expr: Box::new(left),
                pattern: Box::new(pattern),
                regexp: word == "REGEXP",
            });
        }
        if self.eat_kws(&["SOUNDS", "LIKE"]) {
            let right = self.bit_expr(1)?;
            let soundex = |e| self_function("SOUNDEX", vec![e]);
            return Ok(binary(soundex(left), BinaryOperator::Eq, soundex(right)));
        }
        if self.is_kw("MEMBER") && (self.is_kw_at(1, "OF") || self.is_punct_at(1, "(")) {
            self.skip(1);
            self.eat_kw("OF");
            self.expect("(")?;
            let array = self.expr()?;
            self.expect(")")?;
            return Ok(Expr::MemberOf(MemberOf { value: Box::new(left), array: Box::new(array) }));
        }
        Ok(left)
    }

    fn in_list(&mut self, left: Expr, negated: bool) -> Result<Expr> {
        self.expect("(")?;
        let expr = Box::new(left);
        if self.query_begins(0) {
            let subquery = Box::new(self.query()?);
            self.expect(")")?;
            return Ok(Expr::InSubquery { expr, subquery, negated });
        }
        let list = self.comma_list(|p| p.expr())?;
        self.expect(")")?;
        // `IN ((SELECT …))` is a subquery in too many parentheses.
        if let [Expr::Subquery(subquery)] = list.as_slice() {
            return Ok(Expr::InSubquery { expr, subquery: subquery.clone(), negated });
        }
        Ok(Expr::InList { expr, list, negated })
    }

    fn bit_operator(&self) -> Option<(u8, BinaryOperator)> {
        let token = self.tok();
        Some(match token.kind {
            Kind::Punct => match token.text.as_str() {
                "|" => (1, BinaryOperator::BitwiseOr),
                "&" => (2, BinaryOperator::BitwiseAnd),
                "<<" => (3, BinaryOperator::PGBitwiseShiftLeft),
                ">>" => (3, BinaryOperator::PGBitwiseShiftRight),
                "+" => (4, BinaryOperator::Plus),
                "-" => (4, BinaryOperator::Minus),
                "*" => (5, BinaryOperator::Multiply),
                "/" => (5, BinaryOperator::Divide),
                "%" => (5, BinaryOperator::Modulo),
                "^" => (6, BinaryOperator::BitwiseXor),
                "||" if self.options.pipes_as_concat => (7, BinaryOperator::StringConcat),
                _ => return None,
            },
            Kind::Word if token.text.len() == 3 => {
                if token.text.eq_ignore_ascii_case("DIV") {
                    (5, BinaryOperator::MyIntegerDivide)
                } else if token.text.eq_ignore_ascii_case("MOD") {
                    (5, BinaryOperator::Modulo)
                } else {
                    return None;
                }
            }
            _ => return None,
        })
    }

    /// Operators from `|` to `^` that bind at least as tightly as `least`.
    fn bit_expr(&mut self, least: u8) -> Result<Expr> {
        let mut left = self.unary()?;
        let mut length = 0;
        while let Some((power, op)) = self.bit_operator() {
            if power < least {
                break;
            }
            self.skip(1);
            let right = self.bit_expr(power + 1)?;
            left = binary(left, op, right);
            length += 1;
            if length > CHAIN_MAX {
                return Err(self.too_deep());
            }
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr> {
        let op = if self.kind() == Kind::Punct {
            match self.tok().text.as_str() {
                "-" => Some(UnaryOperator::Minus),
                "+" => Some(UnaryOperator::Plus),
                "~" => Some(UnaryOperator::BitwiseNot),
                "!" => Some(UnaryOperator::BangNot),
                _ => None,
            }
        } else if self.options.high_not_precedence && self.is_kw("NOT") {
            Some(UnaryOperator::Not)
        } else {
            None
        };
        if let Some(op) = op {
            self.skip(1);
            let expr = self.nested(|p| p.unary())?;
            return Ok(Expr::UnaryOp { op, expr: Box::new(expr) });
        }
        if self.is_kw("BINARY") {
            self.skip(1);
            let expr = self.nested(|p| p.unary())?;
            return Ok(cast(expr, DataType::Binary(None), None));
        }
        let mut expr = self.primary()?;
        let mut length = 0;
        while self.eat_kw("COLLATE") {
            let name = self.name_or_string()?.to_ascii_lowercase();
            expr = Expr::Collate { expr: Box::new(expr), collation: object_name(vec![Ident::new(name)]) };
            length += 1;
            if length > CHAIN_MAX {
                return Err(self.too_deep());
            }
        }
        Ok(expr)
    }

    /// Whether a query begins here, or in the parenthesis that begins here.
    pub(super) fn at_query(&self) -> bool {
        self.query_begins(1)
    }

    /// Whether a query begins here; the parentheses that open here from the `first` on are its own, those before may be
    /// anybody's.
    fn query_begins(&self, first: usize) -> bool {
        let mut open = 0;
        while self.is_punct_at(open, "(") {
            open += 1;
        }
        let begins = self.is_kw_at(open, "SELECT")
            || self.is_kw_at(open, "WITH")
            || self.is_kw_at(open, "TABLE")
            || (self.is_kw_at(open, "VALUES") && self.is_kw_at(open + 1, "ROW"));
        begins && self.query_goes_on(open, first)
    }

    /// Whether what follows each of the closing parentheses, of which `open` opened here, continues a query: in
    /// `((SELECT 1) UNION SELECT 2)` the inner one is a part of the query, in `((SELECT 1) + 2)` of an expression, and
    /// in `((SELECT 1) a JOIN b)` it is a table.
    fn query_goes_on(&self, open: usize, first: usize) -> bool {
        let (mut depth, mut lowest, mut ahead) = (open, open, open);
        while lowest > first && self.tok_at(ahead).kind != Kind::End {
            if self.is_punct_at(ahead, "(") {
                depth += 1;
            } else if self.is_punct_at(ahead, ")") {
                depth = depth.saturating_sub(1);
            }
            ahead += 1;
            if depth < lowest {
                lowest = depth;
                if !self.is_punct_at(ahead, ")") && !AFTER_QUERY.iter().any(|word| self.is_kw_at(ahead, word))
                {
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn primary(&mut self) -> Result<Expr> {
        match self.kind() {
            Kind::Int
            | Kind::Dec
            | Kind::Float
            | Kind::Str
            | Kind::RawStr
            | Kind::NStr
            | Kind::Hex
            | Kind::Bit
            | Kind::Param => Ok(Expr::value(self.literal()?)),
            Kind::UserVar => self.user_variable(),
            Kind::SysVar => {
                let name = self.advance().text;
                Ok(Expr::Identifier(Ident::new(format!("@@{name}"))))
            }
            Kind::Quoted => self.column_or_call(),
            Kind::Word => self.word_expr(),
            Kind::Punct => match self.tok().text.as_str() {
                "(" => self.parenthesis(),
                "{" => self.odbc_escape(),
                "." => self.column_or_call(),
                _ => Err(self.fail()),
            },
            Kind::Bad | Kind::End => Err(self.fail()),
        }
    }

    fn user_variable(&mut self) -> Result<Expr> {
        let name = self.advance().text;
        let variable = Expr::Identifier(Ident::new(format!("@{name}")));
        if self.eat(":=") {
            let value = self.expr()?;
            return Ok(binary(variable, BinaryOperator::Assignment, value));
        }
        Ok(variable)
    }

    /// A literal or a `?`; adjacent strings are one.
    pub(super) fn literal(&mut self) -> Result<Value> {
        let token = self.advance();
        Ok(match token.kind {
            Kind::Int | Kind::Dec | Kind::Float => Value::Number(token.text, false),
            Kind::Str => {
                let mut text = token.text;
                while self.kind() == Kind::Str {
                    text.push_str(&self.advance().text);
                }
                Value::SingleQuotedString(text)
            }
            Kind::RawStr => Value::HexStringLiteral(token.text),
            Kind::NStr => Value::NationalStringLiteral(token.text),
            Kind::Hex if token.text.len() % 2 == 1 => Value::HexStringLiteral(format!("0{}", token.text)),
            Kind::Hex => Value::HexStringLiteral(token.text),
            Kind::Bit => Value::SingleQuotedByteStringLiteral(token.text),
            Kind::Param => {
                let ordinal = self.params;
                self.params += 1;
                Value::Placeholder(format!("?{ordinal}"))
            }
            Kind::Word if token.text.eq_ignore_ascii_case("NULL") => Value::Null,
            Kind::Word if token.text.eq_ignore_ascii_case("TRUE") => Value::Boolean(true),
            Kind::Word if token.text.eq_ignore_ascii_case("FALSE") => Value::Boolean(false),
            _ => return Err(super::syntax_error(self.text, token.start)),
        })
    }

    fn parenthesis(&mut self) -> Result<Expr> {
        if self.at_query() {
            return self.nested(|p| {
                p.expect("(")?;
                let query = p.query()?;
                p.expect(")")?;
                Ok(Expr::Subquery(Box::new(query)))
            });
        }
        self.expect("(")?;
        let first = self.expr()?;
        if self.is_punct(",") {
            let mut items = vec![first];
            while self.eat(",") {
                items.push(self.expr()?);
            }
            self.expect(")")?;
            return Ok(Expr::Tuple(items));
        }
        self.expect(")")?;
        Ok(Expr::Nested(Box::new(first)))
    }

    /// `{d '2026-11-20'}`, `{fn NOW()}`
    fn odbc_escape(&mut self) -> Result<Expr> {
        self.expect("{")?;
        let word = self.name_after_dot()?.to_ascii_lowercase();
        let expr = match word.as_str() {
            "d" => self.typed_string(DataType::Date, true)?,
            "t" => self.typed_string(DataType::Time(None, TimezoneInfo::None), true)?,
            "ts" => self.typed_string(DataType::Timestamp(None, TimezoneInfo::None), true)?,
            _ => self.expr()?,
        };
        self.expect("}")?;
        Ok(expr)
    }

    fn typed_string(&mut self, data_type: DataType, uses_odbc_syntax: bool) -> Result<Expr> {
        let text = self.string()?;
        let value = Value::SingleQuotedString(text).with_empty_span();
        Ok(Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax }))
    }

    /// An expression that begins with an unquoted word.
    fn word_expr(&mut self) -> Result<Expr> {
        let word = self.tok().text.to_ascii_uppercase();
        let call = self.is_punct_at(1, "(");
        let string_follows = self.tok_at(1).kind == Kind::Str;
        match word.as_str() {
            "NULL" | "TRUE" | "FALSE" => return Ok(Expr::value(self.literal()?)),
            "DATE" if string_follows => {
                self.skip(1);
                return self.typed_string(DataType::Date, false);
            }
            "TIME" if string_follows => {
                self.skip(1);
                return self.typed_string(DataType::Time(None, TimezoneInfo::None), false);
            }
            "TIMESTAMP" if string_follows => {
                self.skip(1);
                return self.typed_string(DataType::Timestamp(None, TimezoneInfo::None), false);
            }
            "CASE" => return self.nested(|p| p.case()),
            "EXISTS" if call => {
                self.skip(2);
                let subquery = Box::new(self.query()?);
                self.expect(")")?;
                return Ok(Expr::Exists { subquery, negated: false });
            }
            "INTERVAL" => return self.interval(),
            "ROW" if call => {
                self.skip(1);
                return Ok(Expr::Tuple(self.paren_list(|p| p.expr())?));
            }
            "MATCH" => return self.match_against(),
            "CAST" if call => return self.cast_call(),
            "CONVERT" if call => return self.convert_call(),
            "EXTRACT" if call => return self.extract(),
            "POSITION" if call => return self.position(),
            "SUBSTRING" | "SUBSTR" | "MID" if call => return self.substring(),
            "TRIM" if call => return self.trim(),
            "TIMESTAMPADD" | "TIMESTAMPDIFF" | "GET_FORMAT" if call => return self.unit_call(),
            "CHAR" if call => return self.char_call(),
            "WEIGHT_STRING" if call => return self.weight_string(),
            "VALUES" if call => {
                self.skip(1);
                self.expect("(")?;
                let column = self.column_name_expr()?;
                self.expect(")")?;
                return Ok(self_function("VALUES", vec![column]));
            }
            _ => {}
        }
        // An introducer: `_utf8mb4'x'`, `_binary x'00'`.
        if let Some(charset) = word.strip_prefix('_')
            && matches!(self.tok_at(1).kind, Kind::Str | Kind::RawStr | Kind::Hex | Kind::Bit | Kind::Param)
            && words::INTRODUCERS.contains(&charset.to_ascii_lowercase().as_str())
        {
            let prefix = Ident::new(word.to_ascii_lowercase());
            self.skip(1);
            let value = Box::new(Expr::value(self.literal()?));
            return Ok(Expr::Prefixed { prefix, value });
        }
        if words::is_reserved(&word) {
            if call && words::CALLABLE.contains(&word.as_str()) {
                let name = self.any_ident();
                return self.call_rest(vec![name]);
            }
            if words::NILADIC.contains(&word.as_str()) {
                let name = self.any_ident();
                return Ok(function_of(vec![name], FunctionArguments::None));
            }
            return Err(self.fail());
        }
        self.column_or_call()
    }

    /// A column, perhaps qualified, or a call of a function.
    fn column_or_call(&mut self) -> Result<Expr> {
        let mut parts = Vec::with_capacity(1);
        if self.eat(".") {
            // `.t.c`: the selected database.
            self.name_after_dot_ident(&mut parts)?;
        } else {
            parts.push(self.ident()?);
        }
        while self.is_punct(".") && parts.len() < 3 {
            // `t.*` is not for us.
            if self.is_punct_at(1, "*") {
                break;
            }
            self.skip(1);
            self.name_after_dot_ident(&mut parts)?;
        }
        if self.is_punct("(") && parts.len() <= 2 {
            return self.call_rest(parts);
        }
        let column = match parts.len() {
            1 => Expr::Identifier(parts.remove(0)),
            _ => Expr::CompoundIdentifier(parts),
        };
        let op = match () {
            () if self.is_punct("->") => BinaryOperator::Arrow,
            () if self.is_punct("->>") => BinaryOperator::LongArrow,
            () => return Ok(column),
        };
        self.skip(1);
        if !matches!(self.kind(), Kind::Str | Kind::Param) {
            return Err(self.fail());
        }
        let path = Expr::value(self.literal()?);
        Ok(binary(column, op, path))
    }

    fn name_after_dot_ident(&mut self, parts: &mut Vec<Ident>) -> Result<()> {
        if !matches!(self.kind(), Kind::Word | Kind::Quoted) {
            return Err(self.fail());
        }
        let ident = self.any_ident();
        parts.push(ident);
        Ok(())
    }

    /// A column name as an expression.
    fn column_name_expr(&mut self) -> Result<Expr> {
        let mut parts = vec![self.ident()?];
        while self.eat(".") {
            self.name_after_dot_ident(&mut parts)?;
        }
        Ok(if parts.len() == 1 { Expr::Identifier(parts.remove(0)) } else { Expr::CompoundIdentifier(parts) })
    }

    /// The arguments of a call and what follows them.
    fn call_rest(&mut self, name: Vec<Ident>) -> Result<Expr> {
        self.nested(|p| p.call_rest_nested(name))
    }

    fn call_rest_nested(&mut self, name: Vec<Ident>) -> Result<Expr> {
        self.expect("(")?;
        let mut list =
            FunctionArgumentList { duplicate_treatment: None, args: Vec::new(), clauses: Vec::new() };
        if self.eat_kw("DISTINCT") {
            list.duplicate_treatment = Some(DuplicateTreatment::Distinct);
        } else if self.eat_kw("ALL") {
            list.duplicate_treatment = Some(DuplicateTreatment::All);
        }
        if self.is_punct("*") && self.is_punct_at(1, ")") {
            self.skip(1);
            list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Wildcard));
        } else if !self.is_punct(")") {
            loop {
                let arg = self.expr()?;
                list.args.push(FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
                if !self.eat(",") {
                    break;
                }
            }
            if self.eat_kws(&["ORDER", "BY"]) {
                list.clauses.push(FunctionArgumentClause::OrderBy(self.order_by_items()?));
            }
            if self.eat_kw("LIMIT") {
                let limit = Expr::value(self.literal()?);
                list.clauses.push(FunctionArgumentClause::Limit(limit));
            }
            if self.eat_kw("SEPARATOR") {
                let separator = match self.kind() {
                    Kind::Str | Kind::Hex | Kind::Bit | Kind::RawStr => self.literal()?,
                    _ => return Err(self.fail()),
                };
                list.clauses.push(FunctionArgumentClause::Separator(separator.into()));
            }
        }
        self.expect(")")?;
        let mut null_treatment = None;
        // NTH_VALUE's FROM FIRST is the default.
        self.eat_kws(&["FROM", "FIRST"]);
        if self.eat_kws(&["RESPECT", "NULLS"]) {
            null_treatment = Some(NullTreatment::RespectNulls);
        } else if self.is_kws(&["IGNORE", "NULLS"]) {
            self.skip(2);
            null_treatment = Some(NullTreatment::IgnoreNulls);
        }
        let over = if self.eat_kw("OVER") { Some(self.window_type()?) } else { None };
        let mut function = plain_function(name, FunctionArguments::List(list));
        function.null_treatment = null_treatment;
        function.over = over;
        Ok(Expr::Function(function))
    }

    fn window_type(&mut self) -> Result<WindowType> {
        if self.is_punct("(") {
            return Ok(WindowType::WindowSpec(self.window_spec()?));
        }
        Ok(WindowType::NamedWindow(self.ident()?))
    }

    pub(super) fn window_spec(&mut self) -> Result<WindowSpec> {
        self.expect("(")?;
        let mut spec = WindowSpec {
            window_name: None,
            partition_by: Vec::new(),
            order_by: Vec::new(),
            window_frame: None,
        };
        if self.is_name_at(0) {
            spec.window_name = Some(self.ident()?);
        }
        if self.eat_kws(&["PARTITION", "BY"]) {
            spec.partition_by = self.comma_list(|p| p.expr())?;
        }
        if self.eat_kws(&["ORDER", "BY"]) {
            spec.order_by = self.order_by_items()?;
        }
        let units = match self.eat_one_of(&["ROWS", "RANGE", "GROUPS"]) {
            Some("ROWS") => Some(WindowFrameUnits::Rows),
            Some("RANGE") => Some(WindowFrameUnits::Range),
            Some(_) => Some(WindowFrameUnits::Groups),
            None => None,
        };
        if let Some(units) = units {
            let (start_bound, end_bound) = if self.eat_kw("BETWEEN") {
                let start = self.frame_bound()?;
                self.expect_kw("AND")?;
                (start, Some(self.frame_bound()?))
            } else {
                (self.frame_bound()?, None)
            };
            spec.window_frame = Some(WindowFrame { units, start_bound, end_bound });
        }
        self.expect(")")?;
        Ok(spec)
    }

    fn frame_bound(&mut self) -> Result<WindowFrameBound> {
        if self.eat_kws(&["CURRENT", "ROW"]) {
            return Ok(WindowFrameBound::CurrentRow);
        }
        let amount = if self.eat_kw("UNBOUNDED") { None } else { Some(Box::new(self.expr()?)) };
        match self.eat_one_of(&["PRECEDING", "FOLLOWING"]) {
            Some("PRECEDING") => Ok(WindowFrameBound::Preceding(amount)),
            Some(_) => Ok(WindowFrameBound::Following(amount)),
            None => Err(self.fail()),
        }
    }

    fn case(&mut self) -> Result<Expr> {
        self.expect_kw("CASE")?;
        let operand = if self.is_kw("WHEN") { None } else { Some(Box::new(self.expr()?)) };
        let mut conditions = Vec::new();
        while self.eat_kw("WHEN") {
            let condition = self.expr()?;
            self.expect_kw("THEN")?;
            let result = self.expr()?;
            conditions.push(CaseWhen { condition, result });
        }
        if conditions.is_empty() {
            return Err(self.fail());
        }
        let else_result = if self.eat_kw("ELSE") { Some(Box::new(self.expr()?)) } else { None };
        self.expect_kw("END")?;
        Ok(Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand,
            conditions,
            else_result,
        })
    }

    /// `INTERVAL e unit`, or the function `INTERVAL(a, b, …)`.
    fn interval(&mut self) -> Result<Expr> {
        self.expect_kw("INTERVAL")?;
        if self.is_punct("(") && !self.at_query() {
            let (pos, params) = (self.pos, self.params);
            let items = self.paren_list(|p| p.expr())?;
            if items.len() > 1 {
                return Ok(self_function("INTERVAL", items));
            }
            self.pos = pos;
            self.params = params;
        }
        let value = Box::new(self.expr()?);
        let leading_field = Some(self.unit()?);
        Ok(Expr::Interval(Interval {
            value,
            leading_field,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        }))
    }

    fn unit(&mut self) -> Result<DateTimeField> {
        let word = self.tok().text.to_ascii_uppercase();
        let word = word.strip_prefix("SQL_TSI_").unwrap_or(&word);
        let field = match word {
            "MICROSECOND" | "FRAC_SECOND" => DateTimeField::Microsecond,
            "SECOND" => DateTimeField::Second,
            "MINUTE" => DateTimeField::Minute,
            "HOUR" => DateTimeField::Hour,
            "DAY" => DateTimeField::Day,
            "WEEK" => DateTimeField::Week(None),
            "MONTH" => DateTimeField::Month,
            "QUARTER" => DateTimeField::Quarter,
            "YEAR" => DateTimeField::Year,
            "SECOND_MICROSECOND" | "MINUTE_MICROSECOND" | "MINUTE_SECOND" | "HOUR_MICROSECOND"
            | "HOUR_SECOND" | "HOUR_MINUTE" | "DAY_MICROSECOND" | "DAY_SECOND" | "DAY_MINUTE"
            | "DAY_HOUR" | "YEAR_MONTH" => DateTimeField::Custom(Ident::new(word)),
            _ => return Err(self.fail()),
        };
        if self.kind() != Kind::Word {
            return Err(self.fail());
        }
        self.skip(1);
        Ok(field)
    }

    /// TIMESTAMPADD(unit, …), TIMESTAMPDIFF(unit, …), GET_FORMAT(type, …)
    fn unit_call(&mut self) -> Result<Expr> {
        let name = self.any_ident();
        self.expect("(")?;
        let word = self.tok().text.to_ascii_uppercase();
        let unit = word.strip_prefix("SQL_TSI_").unwrap_or(&word).to_owned();
        let known: &[&str] = match name.value.eq_ignore_ascii_case("GET_FORMAT") {
            true => &["DATE", "TIME", "DATETIME", "TIMESTAMP"],
            false => &["MICROSECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"],
        };
        if self.kind() != Kind::Word || !known.contains(&unit.as_str()) {
            return Err(self.fail());
        }
        self.skip(1);
        let mut args = vec![Expr::Identifier(Ident::new(unit))];
        while self.eat(",") {
            args.push(self.expr()?);
        }
        self.expect(")")?;
        Ok(function_of(vec![name], arguments(args)))
    }

    fn char_call(&mut self) -> Result<Expr> {
        let name = self.any_ident();
        self.expect("(")?;
        let args = self.comma_list(|p| p.expr())?;
        let charset = if self.eat_kw("USING") { Some(self.name_or_string()?) } else { None };
        self.expect(")")?;
        let call = function_of(vec![name], arguments(args));
        Ok(match charset {
            Some(charset) => convert_using(call, charset),
            None => call,
        })
    }

    fn weight_string(&mut self) -> Result<Expr> {
        let name = self.any_ident();
        self.expect("(")?;
        let mut arg = self.expr()?;
        if self.eat_kw("AS") {
            let (data_type, format) = self.cast_type()?;
            arg = cast(arg, data_type, format);
        }
        self.expect(")")?;
        Ok(function_of(vec![name], arguments(vec![arg])))
    }

    fn match_against(&mut self) -> Result<Expr> {
        self.expect_kw("MATCH")?;
        let parenthesised = self.eat("(");
        let columns = self.comma_list(|p| {
            let mut parts = vec![p.ident()?];
            while p.eat(".") {
                p.name_after_dot_ident(&mut parts)?;
            }
            Ok(object_name(parts))
        })?;
        if parenthesised {
            self.expect(")")?;
        }
        self.expect_kw("AGAINST")?;
        self.expect("(")?;
        let match_value = match self.kind() {
            Kind::UserVar => {
                let name = self.advance().text;
                Value::Placeholder(format!("@{name}"))
            }
            _ => self.literal()?,
        };
        let opt_search_modifier = if self.eat_kws(&["IN", "BOOLEAN", "MODE"]) {
            Some(SearchModifier::InBooleanMode)
        } else if self.eat_kws(&["IN", "NATURAL", "LANGUAGE", "MODE"]) {
            if self.eat_kws(&["WITH", "QUERY", "EXPANSION"]) {
                Some(SearchModifier::InNaturalLanguageModeWithQueryExpansion)
            } else {
                Some(SearchModifier::InNaturalLanguageMode)
            }
        } else if self.eat_kws(&["WITH", "QUERY", "EXPANSION"]) {
            Some(SearchModifier::WithQueryExpansion)
        } else {
            None
        };
        self.expect(")")?;
        Ok(Expr::MatchAgainst { columns, match_value: match_value.into(), opt_search_modifier })
    }

    fn cast_call(&mut self) -> Result<Expr> {
        self.skip(1);
        self.expect("(")?;
        let mut expr = self.expr()?;
        if self.eat_kws(&["AT", "TIME", "ZONE"]) {
            self.eat_kw("INTERVAL");
            let zone = Expr::value(self.literal()?);
            expr = Expr::AtTimeZone { timestamp: Box::new(expr), time_zone: Box::new(zone) };
        }
        self.expect_kw("AS")?;
        let (data_type, format) = self.cast_type()?;
        let array = self.eat_kw("ARRAY");
        self.expect(")")?;
        Ok(Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array, format })
    }

    fn convert_call(&mut self) -> Result<Expr> {
        self.skip(1);
        self.expect("(")?;
        let expr = self.expr()?;
        if self.eat_kw("USING") {
            let charset = self.name_or_string()?;
            self.expect(")")?;
            return Ok(convert_using(expr, charset));
        }
        self.expect(",")?;
        let (data_type, format) = self.cast_type()?;
        self.expect(")")?;
        Ok(cast(expr, data_type, format))
    }

    /// A type of CAST, with the character set of CHAR.
    fn cast_type(&mut self) -> Result<(DataType, Option<CastFormat>)> {
        if self.kind() != Kind::Word {
            return Err(self.fail());
        }
        let word = self.tok().text.to_ascii_uppercase();
        let at = self.tok().start;
        self.skip(1);
        let data_type = match word.as_str() {
            "SIGNED" => {
                let _ = self.eat_kw("INTEGER") || self.eat_kw("INT");
                DataType::Signed
            }
            "UNSIGNED" => {
                let _ = self.eat_kw("INTEGER") || self.eat_kw("INT");
                DataType::Unsigned
            }
            "BINARY" => DataType::Binary(self.optional_length()?.map(u64::from)),
            "CHAR" | "CHARACTER" | "VARCHAR" => {
                let length = self.optional_length()?.map(char_length);
                let format = self.cast_charset()?;
                return Ok((DataType::Char(length), format));
            }
            "NCHAR" => DataType::Nvarchar(self.optional_length()?.map(char_length)),
            "DATE" => DataType::Date,
            "TIME" => DataType::Time(self.optional_length()?.map(u64::from), TimezoneInfo::None),
            "DATETIME" => DataType::Datetime(self.optional_length()?.map(u64::from)),
            "YEAR" => DataType::Custom(object_name(vec![Ident::new("YEAR")]), Vec::new()),
            "JSON" => DataType::JSON,
            "DECIMAL" | "DEC" | "NUMERIC" => DataType::Decimal(self.exact_number()?),
            "FLOAT" => DataType::Float(self.exact_number()?),
            "REAL" => DataType::Double(ExactNumberInfo::None),
            "DOUBLE" => {
                self.eat_kw("PRECISION");
                DataType::Double(ExactNumberInfo::None)
            }
            "POINT" | "LINESTRING" | "POLYGON" | "MULTIPOINT" | "MULTILINESTRING" | "MULTIPOLYGON"
            | "GEOMETRYCOLLECTION" => DataType::Custom(object_name(vec![Ident::new(word)]), Vec::new()),
            _ => return Err(super::syntax_error(self.text, at)),
        };
        Ok((data_type, None))
    }

    fn cast_charset(&mut self) -> Result<Option<CastFormat>> {
        let name = if self.eat_kw("CHARSET") || self.eat_kws(&["CHARACTER", "SET"]) {
            Some(self.name_or_string()?.to_ascii_lowercase())
        } else if self.eat_kw("ASCII") {
            Some("latin1".to_owned())
        } else if self.eat_kw("UNICODE") {
            Some("ucs2".to_owned())
        } else {
            self.eat_kw("BINARY");
            None
        };
        Ok(name.map(|name| CastFormat::Value(Value::SingleQuotedString(name).into())))
    }

    pub(super) fn optional_length(&mut self) -> Result<Option<u32>> {
        if !self.eat("(") {
            return Ok(None);
        }
        let length = self.u32()?;
        self.expect(")")?;
        Ok(Some(length))
    }

    fn exact_number(&mut self) -> Result<ExactNumberInfo> {
        if !self.eat("(") {
            return Ok(ExactNumberInfo::None);
        }
        let precision = u64::from(self.u32()?);
        let info = if self.eat(",") {
            ExactNumberInfo::PrecisionAndScale(precision, i64::from(self.u32()?))
        } else {
            ExactNumberInfo::Precision(precision)
        };
        self.expect(")")?;
        Ok(info)
    }

    fn extract(&mut self) -> Result<Expr> {
        self.skip(1);
        self.expect("(")?;
        let field = self.unit()?;
        self.expect_kw("FROM")?;
        let expr = Box::new(self.expr()?);
        self.expect(")")?;
        Ok(Expr::Extract { field, syntax: ExtractSyntax::From, expr })
    }

    fn position(&mut self) -> Result<Expr> {
        self.skip(1);
        self.expect("(")?;
        let expr = Box::new(self.bit_expr(1)?);
        self.expect_kw("IN")?;
        let within = Box::new(self.expr()?);
        self.expect(")")?;
        Ok(Expr::Position { expr, r#in: within })
    }

    fn substring(&mut self) -> Result<Expr> {
        let name = self.any_ident();
        self.expect("(")?;
        let expr = self.expr()?;
        if self.eat_kw("FROM") {
            let from = self.expr()?;
            let length = if self.eat_kw("FOR") { Some(Box::new(self.expr()?)) } else { None };
            self.expect(")")?;
            return Ok(Expr::Substring {
                expr: Box::new(expr),
                substring_from: Some(Box::new(from)),
                substring_for: length,
                special: false,
                shorthand: false,
            });
        }
        let mut args = vec![expr];
        while self.eat(",") {
            args.push(self.expr()?);
        }
        self.expect(")")?;
        Ok(function_of(vec![name], arguments(args)))
    }

    fn trim(&mut self) -> Result<Expr> {
        self.skip(1);
        self.expect("(")?;
        let trim_where = match self.eat_one_of(&["BOTH", "LEADING", "TRAILING"]) {
            Some("BOTH") => Some(TrimWhereField::Both),
            Some("LEADING") => Some(TrimWhereField::Leading),
            Some(_) => Some(TrimWhereField::Trailing),
            None => None,
        };
        let mut trim_what = None;
        let expr;
        if trim_where.is_some() && self.eat_kw("FROM") {
            expr = self.expr()?;
        } else {
            let first = self.expr()?;
            if self.eat_kw("FROM") {
                trim_what = Some(Box::new(first));
                expr = self.expr()?;
            } else {
                expr = first;
            }
        }
        self.expect(")")?;
        Ok(Expr::Trim { trim_where, trim_what, expr: Box::new(expr), trim_characters: None })
    }
}

fn char_length(length: u32) -> CharacterLength {
    CharacterLength::IntegerLength { length: u64::from(length), unit: None }
}

fn cast(expr: Expr, data_type: DataType, format: Option<CastFormat>) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format }
}

fn convert_using(expr: Expr, charset: String) -> Expr {
    Expr::Convert {
        is_try: false,
        expr: Box::new(expr),
        data_type: None,
        charset: Some(object_name(vec![Ident::new(charset.to_ascii_lowercase())])),
        target_before_value: false,
        styles: Vec::new(),
    }
}

fn arguments(args: Vec<Expr>) -> FunctionArguments {
    FunctionArguments::List(FunctionArgumentList {
        duplicate_treatment: None,
        args: args.into_iter().map(|a| FunctionArg::Unnamed(FunctionArgExpr::Expr(a))).collect(),
        clauses: Vec::new(),
    })
}

fn plain_function(name: Vec<Ident>, args: FunctionArguments) -> Function {
    Function {
        name: object_name(name),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args,
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    }
}

fn function_of(name: Vec<Ident>, args: FunctionArguments) -> Expr {
    Expr::Function(plain_function(name, args))
}

/// A call of a function that the parser itself introduces.
fn self_function(name: &str, args: Vec<Expr>) -> Expr {
    function_of(vec![Ident::new(name)], arguments(args))
}

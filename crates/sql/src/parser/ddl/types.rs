//! Column types, and the nodes of the syntax tree that stand for them.

use crate::lexer::Kind;
use crate::parser::{Parser, Result};
use crate::{CharsetClause, DataType};
use assize_values::{BlobSize, IntWidth};

impl DataType {
    /// As a node of `sqlparser`, which the columns of JSON_TABLE need.
    pub(crate) fn to_node(&self) -> sqlparser::ast::DataType {
        use sqlparser::ast::{CharacterLength, DataType as Node, ExactNumberInfo, TimezoneInfo};
        let length = |n: u64| Some(CharacterLength::IntegerLength { length: n, unit: None });
        let number = |precision: Option<u32>, scale: Option<u32>| match (precision, scale) {
            (Some(p), Some(s)) => ExactNumberInfo::PrecisionAndScale(u64::from(p), i64::from(s)),
            (Some(p), None) => ExactNumberInfo::Precision(u64::from(p)),
            _ => ExactNumberInfo::None,
        };
        match self {
            DataType::Int { width, unsigned, .. } => match (width, unsigned) {
                (IntWidth::Tiny, false) => Node::TinyInt(None),
                (IntWidth::Tiny, true) => Node::TinyIntUnsigned(None),
                (IntWidth::Small, false) => Node::SmallInt(None),
                (IntWidth::Small, true) => Node::SmallIntUnsigned(None),
                (IntWidth::Medium, false) => Node::MediumInt(None),
                (IntWidth::Medium, true) => Node::MediumIntUnsigned(None),
                (IntWidth::Int, false) => Node::Int(None),
                (IntWidth::Int, true) => Node::IntUnsigned(None),
                (IntWidth::Big, false) => Node::BigInt(None),
                (IntWidth::Big, true) => Node::BigIntUnsigned(None),
            },
            DataType::Serial => Node::BigIntUnsigned(None),
            DataType::Decimal { precision, scale, .. } => Node::Decimal(number(*precision, *scale)),
            DataType::Float { precision, scale, .. } => Node::Float(number(*precision, *scale)),
            DataType::Double { precision, scale, .. } => Node::Double(number(*precision, *scale)),
            DataType::Bit(n) => Node::Bit(n.map(u64::from)),
            DataType::Char(n, _) => Node::Char(n.and_then(|n| length(u64::from(n)))),
            DataType::VarChar(n, _) => Node::Varchar(length(u64::from(*n))),
            DataType::Text(BlobSize::Tiny, ..) => Node::TinyText,
            DataType::Text(BlobSize::Normal, ..) => Node::Text,
            DataType::Text(BlobSize::Medium, ..) => Node::MediumText,
            DataType::Text(BlobSize::Long, ..) => Node::LongText,
            DataType::Binary(n) => Node::Binary(n.map(u64::from)),
            DataType::VarBinary(n) => {
                let length = u64::from(*n);
                Node::Varbinary(Some(sqlparser::ast::BinaryLength::IntegerLength { length }))
            }
            DataType::Blob(BlobSize::Tiny, _) => Node::TinyBlob,
            DataType::Blob(BlobSize::Normal, n) => Node::Blob(*n),
            DataType::Blob(BlobSize::Medium, _) => Node::MediumBlob,
            DataType::Blob(BlobSize::Long, _) => Node::LongBlob,
            DataType::Date => Node::Date,
            DataType::Time(fsp) => Node::Time(Some(u64::from(*fsp)), TimezoneInfo::None),
            DataType::DateTime(fsp) => Node::Datetime(Some(u64::from(*fsp))),
            DataType::Timestamp(fsp) => Node::Timestamp(Some(u64::from(*fsp)), TimezoneInfo::None),
            DataType::Year => custom("YEAR"),
            DataType::Enum(..) => custom("ENUM"),
            DataType::Set(..) => custom("SET"),
            DataType::Json => Node::JSON,
            DataType::Spatial(name) => custom(name),
        }
    }
}

impl Parser<'_> {
    pub(in crate::parser) fn data_type(&mut self) -> Result<DataType> {
        if self.kind() != Kind::Word {
            return Err(self.fail());
        }
        let word = self.tok().text.to_ascii_uppercase();
        let at = self.pos;
        self.skip(1);
        let int = |width| Some((width, None));
        let integer = match word.as_str() {
            "TINYINT" | "INT1" => int(IntWidth::Tiny),
            "BOOL" | "BOOLEAN" => Some((IntWidth::Tiny, Some(1))),
            "SMALLINT" | "INT2" => int(IntWidth::Small),
            "MEDIUMINT" | "MIDDLEINT" | "INT3" => int(IntWidth::Medium),
            "INT" | "INTEGER" | "INT4" => int(IntWidth::Int),
            "BIGINT" | "INT8" => int(IntWidth::Big),
            _ => None,
        };
        if let Some((width, display)) = integer {
            let display = self.optional_length()?.or(display);
            let (unsigned, zerofill) = self.number_attributes();
            return Ok(DataType::Int { width, display, unsigned, zerofill });
        }
        Ok(match word.as_str() {
            "SERIAL" => DataType::Serial,
            "DECIMAL" | "NUMERIC" | "DEC" | "FIXED" => {
                let (precision, scale) = self.precision_and_scale()?;
                let (unsigned, zerofill) = self.number_attributes();
                DataType::Decimal { precision, scale, unsigned, zerofill }
            }
            "FLOAT" | "FLOAT4" => {
                let (precision, scale) = self.precision_and_scale()?;
                let (unsigned, zerofill) = self.number_attributes();
                DataType::Float { precision, scale, unsigned, zerofill }
            }
            "DOUBLE" | "REAL" | "FLOAT8" => {
                self.eat_kw("PRECISION");
                let (precision, scale) = self.precision_and_scale()?;
                let (unsigned, zerofill) = self.number_attributes();
                DataType::Double { precision, scale, unsigned, zerofill }
            }
            "BIT" => DataType::Bit(self.optional_length()?),
            "CHAR" | "CHARACTER" => {
                if self.eat_kw("VARYING") {
                    let length = self.optional_length()?.ok_or_else(|| self.fail())?;
                    return Ok(DataType::VarChar(length, self.text_charset()?));
                }
                let length = self.optional_length()?;
                DataType::Char(length, self.text_charset()?)
            }
            "NCHAR" | "NATIONAL" => {
                let varying = if word == "NATIONAL" {
                    let word = self.eat_one_of(&["CHAR", "CHARACTER", "VARCHAR", "VARCHARACTER"]);
                    let word = word.ok_or_else(|| self.fail())?;
                    word.starts_with("VAR") || self.eat_kw("VARYING")
                } else {
                    self.eat_one_of(&["VARCHAR", "VARCHARACTER", "VARYING"]).is_some()
                };
                let length = self.optional_length()?;
                let mut charset = self.text_charset()?;
                charset.charset.get_or_insert_with(|| "utf8mb3".into());
                match length {
                    Some(length) if varying => DataType::VarChar(length, charset),
                    None if varying => return Err(self.fail()),
                    length => DataType::Char(length, charset),
                }
            }
            "VARCHAR" | "VARCHARACTER" | "NVARCHAR" => {
                let length = self.optional_length()?.ok_or_else(|| self.fail())?;
                let mut charset = self.text_charset()?;
                if word == "NVARCHAR" {
                    charset.charset.get_or_insert_with(|| "utf8mb3".into());
                }
                DataType::VarChar(length, charset)
            }
            "TINYTEXT" => DataType::Text(BlobSize::Tiny, None, self.text_charset()?),
            "TEXT" => {
                let length = self.optional_length()?.map(u64::from);
                DataType::Text(BlobSize::Normal, length, self.text_charset()?)
            }
            "MEDIUMTEXT" => DataType::Text(BlobSize::Medium, None, self.text_charset()?),
            "LONGTEXT" => DataType::Text(BlobSize::Long, None, self.text_charset()?),
            "LONG" => {
                if self.eat_kw("VARBINARY") {
                    return Ok(DataType::Blob(BlobSize::Medium, None));
                }
                let _ = self.eat_kw("VARCHAR") || self.eat_kw("VARCHARACTER");
                DataType::Text(BlobSize::Medium, None, self.text_charset()?)
            }
            "BINARY" => DataType::Binary(self.optional_length()?),
            "VARBINARY" => DataType::VarBinary(self.optional_length()?.ok_or_else(|| self.fail())?),
            "TINYBLOB" => DataType::Blob(BlobSize::Tiny, None),
            "BLOB" => DataType::Blob(BlobSize::Normal, self.optional_length()?.map(u64::from)),
            "MEDIUMBLOB" => DataType::Blob(BlobSize::Medium, None),
            "LONGBLOB" => DataType::Blob(BlobSize::Long, None),
            "DATE" => DataType::Date,
            "TIME" => DataType::Time(self.optional_length()?.unwrap_or(0)),
            "DATETIME" => DataType::DateTime(self.optional_length()?.unwrap_or(0)),
            "TIMESTAMP" => DataType::Timestamp(self.optional_length()?.unwrap_or(0)),
            "YEAR" => {
                self.optional_length()?;
                self.number_attributes();
                DataType::Year
            }
            "ENUM" => {
                let labels = self.paren_list(|p| p.string())?;
                DataType::Enum(labels, self.text_charset()?)
            }
            "SET" => {
                let labels = self.paren_list(|p| p.string())?;
                DataType::Set(labels, self.text_charset()?)
            }
            "JSON" => DataType::Json,
            "GEOMETRY" => DataType::Spatial("GEOMETRY"),
            "POINT" => DataType::Spatial("POINT"),
            "LINESTRING" => DataType::Spatial("LINESTRING"),
            "POLYGON" => DataType::Spatial("POLYGON"),
            "MULTIPOINT" => DataType::Spatial("MULTIPOINT"),
            "MULTILINESTRING" => DataType::Spatial("MULTILINESTRING"),
            "MULTIPOLYGON" => DataType::Spatial("MULTIPOLYGON"),
            "GEOMETRYCOLLECTION" | "GEOMCOLLECTION" => DataType::Spatial("GEOMETRYCOLLECTION"),
            _ => {
                self.pos = at;
                return Err(self.fail());
            }
        })
    }

    fn number_attributes(&mut self) -> (bool, bool) {
        let (mut unsigned, mut zerofill) = (false, false);
        while let Some(word) = self.eat_one_of(&["UNSIGNED", "SIGNED", "ZEROFILL"]) {
            match word {
                "UNSIGNED" => unsigned = true,
                "ZEROFILL" => (unsigned, zerofill) = (true, true),
                _ => {}
            }
        }
        (unsigned, zerofill)
    }

    fn precision_and_scale(&mut self) -> Result<(Option<u32>, Option<u32>)> {
        if !self.eat("(") {
            return Ok((None, None));
        }
        let precision = self.u32()?;
        let scale = if self.eat(",") { Some(self.u32()?) } else { None };
        self.expect(")")?;
        Ok((Some(precision), scale))
    }

    fn text_charset(&mut self) -> Result<CharsetClause> {
        let mut clause = CharsetClause::default();
        loop {
            if self.eat_kw("BINARY") {
                clause.binary = true;
            } else if self.eat_kw("ASCII") {
                clause.charset = Some("latin1".into());
            } else if self.eat_kw("UNICODE") {
                clause.charset = Some("ucs2".into());
            } else if self.eat_kw("BYTE") {
                clause.charset = Some("binary".into());
            } else if !self.charset_option(&mut clause)? {
                return Ok(clause);
            }
        }
    }
}

fn custom(name: &str) -> sqlparser::ast::DataType {
    let name = crate::parser::expr::object_name(vec![sqlparser::ast::Ident::new(name)]);
    sqlparser::ast::DataType::Custom(name, Vec::new())
}

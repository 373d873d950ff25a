//! Tables for this crate's tests.

use crate::{
    Check, Column, DefaultValue, Foreign, ForeignKey, Generated, Index, IndexPart, IndexState,
    ReferentialAction, Server, Table, View, ViewAlgorithm, ViewCheck, ViewSecurity,
};
use assize_model::{IndexId, SchemaVersion, TableId};
use assize_values::{Collation, IntType, IntWidth, SqlType, Value};
use std::sync::Arc;

/// A column with nothing special about it.
pub fn column(id: u32, name: &str, sql_type: SqlType) -> Column {
    Column::plain(id, name, sql_type, true)
}

/// An index of whole ascending columns.
pub fn index(id: u16, name: &str, columns: &[u32], unique: bool) -> Index {
    Index {
        id: IndexId(id),
        name: name.into(),
        parts: columns.iter().map(|c| IndexPart { column: *c, prefix: None, descending: false }).collect(),
        unique,
        state: IndexState::Public,
        comment: "".into(),
        invisible: false,
    }
}

/// `stock (id INT PRIMARY KEY, name VARCHAR(20), amount BIGINT UNSIGNED, UNIQUE (name), KEY (amount))`.
pub fn stock() -> Table {
    let text = SqlType::VarChar { length: 20, collation: Collation::UTF8MB4_0900_AI_CI };
    Table {
        id: TableId(7),
        version: SchemaVersion(1),
        database: "shop".into(),
        name: "stock".into(),
        columns: vec![
            Column { nullable: false, ..column(0, "id", SqlType::INT) },
            column(1, "name", text),
            column(2, "amount", SqlType::BIGINT_UNSIGNED),
        ],
        next_column_id: 3,
        indexes: vec![
            index(0, "PRIMARY", &[0], true),
            index(1, "name", &[1], true),
            index(2, "amount", &[2], false),
        ],
        next_index_id: 3,
        hidden_row_id: false,
        sharding_column: Some(0),
        foreign_keys: Vec::new(),
        checks: Vec::new(),
        collation: Collation::UTF8MB4_0900_AI_CI,
        comment: "".into(),
        created_micros: 1_790_000_000_000_000,
        options: Vec::new(),
        view: None,
        foreign: None,
    }
}

/// A table that uses every field of a definition.
pub fn everything() -> Table {
    let mut table = stock();
    let collation = Collation::UTF8MB4_GENERAL_CI;
    let labels = || ["a".into(), "b".into()].into();
    table.columns[0].auto_increment = true;
    table.columns[1].default = Some(DefaultValue::Constant(Value::text("x")));
    table.columns[2].generated = Some(Generated { expression: "`id` + 1".into(), stored: true });
    let tiny =
        SqlType::Int(IntType { width: IntWidth::Tiny, unsigned: false, zerofill: false, display: Some(1) });
    let types = [
        tiny,
        SqlType::Float { unsigned: true, digits: None },
        SqlType::Double { unsigned: false, digits: Some((7, 3)) },
        SqlType::Decimal { precision: 65, scale: 30, unsigned: false },
        SqlType::Char { length: 3, collation },
        SqlType::Text { size: assize_values::BlobSize::Medium, collation },
        SqlType::Binary { length: 4 },
        SqlType::VarBinary { length: 5 },
        SqlType::Blob { size: assize_values::BlobSize::Long },
        SqlType::Date,
        SqlType::Time { fsp: 3 },
        SqlType::DateTime { fsp: 6 },
        SqlType::Timestamp { fsp: 0 },
        SqlType::Year,
        SqlType::Bit { length: 9 },
        SqlType::Enum { labels: labels(), collation },
        SqlType::Set { labels: labels(), collation },
        SqlType::Json,
    ];
    for (i, sql_type) in types.into_iter().enumerate() {
        let id = table.next_column_id;
        table.next_column_id += 1;
        let mut new = column(id, &format!("c{i}"), sql_type);
        new.added_value = (i == 0).then_some(Value::Int(1));
        new.default = (i == 11).then_some(DefaultValue::Now(6));
        new.on_update_now = (i == 11).then_some(6);
        new.invisible = i == 3;
        new.comment = if i == 4 { "three letters".into() } else { "".into() };
        if i == 5 {
            new.default = Some(DefaultValue::Expression("uuid()".into()));
        }
        table.columns.push(new);
    }
    table.indexes[2].parts[0].descending = true;
    table.indexes[2].invisible = true;
    let mut building = index(3, "c5", &[8], false);
    building.parts[0].prefix = Some(10);
    building.state = IndexState::WriteOnly;
    building.comment = "on its way".into();
    table.indexes.push(building);
    table.next_index_id = 4;
    table.foreign_keys.push(ForeignKey {
        name: "stock_ibfk_1".into(),
        columns: vec![2],
        parent_database: "shop".into(),
        parent_table: "goods".into(),
        parent_columns: vec!["id".into()],
        on_delete: ReferentialAction::Cascade,
        on_update: ReferentialAction::SetNull,
    });
    table.checks.push(Check {
        name: "stock_chk_1".into(),
        expression: "(`amount` > 0)".into(),
        enforced: false,
        column: Some(2),
    });
    table.comment = "goods in store".into();
    table.options.push(("ROW_FORMAT".into(), "DYNAMIC".into()));
    table
}

/// `names (…, KEY lower ((lower(name)) DESC))`, otherwise as `stock`.
pub fn functional() -> Table {
    let mut table = stock();
    table.id = TableId(9);
    table.name = "names".into();
    table.columns.push(Column {
        generated: Some(Generated { expression: "lower(`name`)".into(), stored: false }),
        invisible: true,
        hidden: true,
        ..column(3, "!hidden!3", table.columns[1].sql_type.clone())
    });
    table.next_column_id = 4;
    table.indexes.push(index(3, "lower", &[3], false));
    table.indexes[3].parts[0].descending = true;
    table.next_index_id = 4;
    table
}

/// `stock` as a foreign table.
pub fn foreign() -> Table {
    let mut table = stock();
    table.id = TableId(10);
    table.name = "elsewhere".into();
    table.foreign = Some(Arc::new(Foreign { server: "Legacy".into(), table: "stock".into() }));
    table
}

/// The server of `elsewhere`.
pub fn server(port: u16) -> Server {
    Server {
        name: "Legacy".into(),
        wrapper: "mysql".into(),
        host: "db1".into(),
        port,
        database: "shop".into(),
        user: "assize".into(),
        password: "secret".into(),
        owner: "ann".into(),
    }
}

/// A view of it: `SELECT id FROM shop.stock WITH LOCAL CHECK OPTION`.
pub fn view() -> Table {
    let mut table = stock();
    table.id = TableId(8);
    table.name = "ids".into();
    table.columns.truncate(1);
    table.indexes.truncate(1);
    table.indexes[0].parts.clear();
    table.hidden_row_id = true;
    table.sharding_column = None;
    table.view = Some(Arc::new(View {
        query: "select `shop`.`stock`.`id` AS `id` from `shop`.`stock`".into(),
        columns_named: true,
        definer: ("app".into(), "%".into()),
        security: ViewSecurity::Invoker,
        algorithm: ViewAlgorithm::Merge,
        check: ViewCheck::Local,
        updatable: true,
        character_set_client: "utf8mb4".into(),
        collation_connection: Collation::UTF8MB4_0900_AI_CI,
    }));
    table
}

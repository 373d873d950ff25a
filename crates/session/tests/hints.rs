//! Optimizer hints: what holds for one statement.

mod support;

use assize_values::Value;
use support::{House, Sink, run};

#[test]
fn a_select_ends_when_its_hinted_time_has_passed() {
    let house = House::new();
    let mut a = house.session();
    a.sql("INSERT INTO stock VALUES (1, 'a')");
    house.world(|w| w.reservations_hang = true);
    let hinted = "SELECT /*+ MAX_EXECUTION_TIME(100) */ * FROM stock WHERE id = 1 FOR UPDATE";
    assert_eq!(a.errno(hinted), 3024);
    a.sql("SET max_execution_time = 100");
    assert_eq!(a.errno("SELECT * FROM stock WHERE id = 1 FOR UPDATE"), 3024);
    // The hint is stronger than the variable, unless it says nothing.
    assert_eq!(a.errno("SELECT /*+ MAX_EXECUTION_TIME(0) */ * FROM stock WHERE id = 1 FOR UPDATE"), 3024);
    a.sql("SET max_execution_time = 0");
    a.sql(&format!("PREPARE p FROM '{hinted}'"));
    assert_eq!(a.errno("EXECUTE p"), 3024);
    let prepared = run(a.session.prepare(hinted.as_bytes())).unwrap();
    let late = run(a.session.execute(prepared.id, &[], &mut Sink::default())).unwrap_err();
    assert_eq!(late.code.errno(), 3024);
    house.world(|w| w.reservations_hang = false);
    assert_eq!(a.sql(hinted).len(), 1);
    assert_eq!(a.table(), "1=a");
}

#[test]
fn set_var_holds_for_one_statement() {
    let house = House::new();
    let mut a = house.session();
    let big = "SELECT /*+ SET_VAR(sort_buffer_size = 5000000) SET_VAR(time_zone = '+03:00') */ @@sort_buffer_size, @@time_zone";
    let plain = "SELECT @@sort_buffer_size, @@time_zone";
    let before = a.sql(plain);
    assert_eq!(a.sql(big), [[Value::Int(5_000_000), Value::text("+03:00")]]);
    assert_eq!(a.sql(plain), before);
    assert_eq!(a.errno("INSERT /*+ SET_VAR(time_zone = '+03:00') */ INTO stock VALUES (1, 'boom')"), 1406);
    assert_eq!(a.sql(plain), before, "also after an error");
    // What cannot be set is told, and left.
    let wrong = "SELECT /*+ SET_VAR(nonsense = 1) SET_VAR(autocommit = 0) SET_VAR(sql_mode = 'NO_SUCH_MODE') */ @@autocommit";
    assert_eq!(a.sql(wrong), [[Value::Int(1)]]);
    assert_eq!(a.sql("SHOW WARNINGS"), [[Value::Int(3128)], [Value::Int(3637)], [Value::Int(1231)]]);
}

#[test]
fn hints_that_cannot_be_read_are_a_warning() {
    let house = House::new();
    let mut a = house.session();
    let half = "SELECT /*+ SET_VAR(time_zone = '+03:00') NONSENSE(1) SET_VAR(sort_buffer_size = 5000000) */ @@time_zone";
    assert_eq!(a.sql(half), [[Value::text("+03:00")]]);
    assert_eq!(a.sql("SHOW WARNINGS"), [[Value::Int(1064)]]);
    a.sql(&format!("PREPARE p FROM \"{half}\""));
    assert_eq!(a.sql("SHOW WARNINGS"), [[Value::Int(1064)]]);
    assert_eq!(a.sql("EXECUTE p"), [[Value::text("+03:00")]]);
    assert_eq!(a.sql("SHOW WARNINGS").len(), 0, "it has been told");
    assert_eq!(a.sql("SELECT /*+ NO_MERGE(x) BKA(y) */ @@autocommit"), [[Value::Int(1)]]);
    assert_eq!(a.sql("SHOW WARNINGS").len(), 0);
}

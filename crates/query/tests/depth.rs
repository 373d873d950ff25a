//! Deep and long statements end with an answer or an error, never with the stack.

use assize_query::testing::Session;

/// Runs a statement on a stack as small as a server's thread has.
fn on_a_small_stack(sql: String) -> Result<usize, u16> {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let mut session = Session::default();
        session.run(&sql).map(|answer| answer.rows.len()).map_err(|error| error.code.errno())
    });
    thread.expect("a thread").join().expect("no overflow")
}

#[test]
fn nested_parentheses() {
    for depth in [10, 50, 100, 150, 190, 199, 250, 1000, 5000] {
        let sql = format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
        let _ = on_a_small_stack(sql);
        let sql = format!("SELECT {}1{}", "ABS(".repeat(depth), ")".repeat(depth));
        let answer = on_a_small_stack(sql);
        assert!(depth > 40 || answer == Ok(1), "{depth}: {answer:?}");
    }
}

#[test]
fn nested_queries() {
    for depth in [5, 20, 40, 60, 100, 199, 1000] {
        let sql = format!("SELECT {}1{}", "(SELECT ".repeat(depth), ")".repeat(depth));
        let answer = on_a_small_stack(sql);
        assert!(depth > 20 || answer == Ok(1), "{depth}: {answer:?}");
        let mut sql = "SELECT 1 AS a".to_string();
        for n in 0..depth {
            sql = format!("SELECT a FROM ({sql}) t{n}");
        }
        let _ = on_a_small_stack(sql);
    }
}

#[test]
fn long_chains() {
    for length in [10, 100, 1000, 20_000] {
        let sum = format!("SELECT 1{}", "+1".repeat(length));
        let _ = on_a_small_stack(sum);
        let either = format!("SELECT 1 WHERE 1=0{}", " OR 1=1".repeat(length));
        assert!(on_a_small_stack(either).is_ok() || length > 1000);
        let list = format!("SELECT 1 WHERE 5 IN (0{})", ",5".repeat(length));
        assert_eq!(on_a_small_stack(list), Ok(1));
        let union = format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(length.min(1000)));
        let _ = on_a_small_stack(union);
        let concat = format!("SELECT CONCAT('a'{})", ",'a'".repeat(length));
        assert_eq!(on_a_small_stack(concat), Ok(1));
    }
}

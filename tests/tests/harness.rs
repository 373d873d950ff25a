//! The harness itself: the peers it starts answer.

use assize_tests::{Assize, MariaDb};
use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};

#[test]
fn mariadb_answers_over_its_socket_and_its_port() {
    let mariadb = MariaDb::start();
    assert_eq!(mariadb.query("SELECT 1 + 1").trim(), "2");
    let opts =
        OptsBuilder::new().ip_or_hostname(Some("127.0.0.1")).tcp_port(mariadb.port()).user(Some("root"));
    let mut connection = Conn::new(opts.prefer_socket(false)).unwrap();
    assert_eq!(connection.query_first::<i32, _>("SELECT 2 + 2").unwrap(), Some(4));
}

#[test]
fn assize_answers_the_first_query() {
    let assize = Assize::start();
    assert_eq!(assize.query("SELECT 1 + 1").trim(), "2");
}

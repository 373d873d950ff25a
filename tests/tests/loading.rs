//! Files of the client: the same nasty files into MariaDB and into Assize, row by row and warning by warning; and the tools that
//! load files.
#![allow(clippy::disallowed_methods)] // Tests.

use assize_tests::{Assize, MariaDb, run};
use std::path::Path;
use std::process::Command;

/// What MySQL's default is and MariaDB's lacks.
const MODE: &str = "SET sql_mode = 'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,\
                    ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00';";

const TABLES: &str = "DROP DATABASE IF EXISTS loads; CREATE DATABASE loads CHARACTER SET utf8mb4 COLLATE utf8mb4_bin; USE loads;
    CREATE TABLE plain (a VARCHAR(40), b VARCHAR(40), c VARCHAR(40));
    CREATE TABLE keyed (id INT PRIMARY KEY, u INT UNIQUE, v VARCHAR(20));
    CREATE TABLE kinds (i INT, u TINYINT UNSIGNED, n DECIMAL(6,2), d DOUBLE, t VARCHAR(5), da DATE, dt DATETIME,
                        e ENUM('red','green'), bl VARBINARY(20));
    CREATE TABLE bare (id INT AUTO_INCREMENT PRIMARY KEY, a INT NOT NULL DEFAULT 5, b INT DEFAULT 7, c VARCHAR(5) NOT NULL,
                       d INT AS (a * 2) STORED);
    CREATE TABLE bytes (id INT, v VARCHAR(40), l VARCHAR(40) CHARACTER SET latin1, b VARBINARY(40));";

/// File, what follows its name, the table.
const CASES: &[(&[u8], &str, &str)] = &[
    (b"a\tb\tc\n\\N\t\\\\N\t\\n\nx\\\ty\t\\0\\Z\\b\\r\\q\tz\n\n1\t2\t3\t4\nlast\tline", "INTO TABLE plain", "plain"),
    (b"a\tb\tc", "INTO TABLE plain", "plain"),
    (b"a\tb\tc\td", "INTO TABLE plain", "plain"),
    (b"", "INTO TABLE plain", "plain"),
    (b"\n\n\n", "INTO TABLE plain", "plain"),
    (b"a\\", "INTO TABLE plain", "plain"),
    (b"a\tb\\\nb\tc\nd\\\ne\tf\tg\th\\\ni\nj\tk\tl\n", "INTO TABLE plain IGNORE 1 LINES", "plain"),
    (b"h\\\nh\na\tb\tc\n", "INTO TABLE plain IGNORE 1 LINES", "plain"),
    (
        b"\"a\",\"b,\"\"b\",c\n\"a\nb\",\"\\\"\",\"x\"y\"\nNULL,\"NULL\",\\N\n\"\\N\",\"\",\n\"open,1\n2,3\"\"\",x\n\"a\" ,b,c\nz\"z,\"z\"z,z\n",
        "INTO TABLE plain FIELDS TERMINATED BY ',' ENCLOSED BY '\"'",
        "plain",
    ),
    (
        b"\"a\",\"b\",\"unclosed\n1,2,3\n",
        "INTO TABLE plain FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"'",
        "plain",
    ),
    (
        b"\"fie\"\"ld1\",\"a\\nb\",c\"d\n\"x\"\"\"\"y\",\"\"\"\",NULL\n",
        "INTO TABLE plain FIELDS TERMINATED BY ',' ENCLOSED BY '\"' ESCAPED BY '\"'",
        "plain",
    ),
    (
        b"a\\N,\\N,N\n\"\\\",NULL,\"b\\\"\"\n",
        "INTO TABLE plain FIELDS TERMINATED BY ',' ENCLOSED BY '\"' ESCAPED BY ''",
        "plain",
    ),
    (
        b"1,\"a\r\nb\",c\r\n2,x\ry,\r\n\r\n3,\"q\"\r\n4,5,6,7\r\n8,9,0\n",
        "INTO TABLE plain FIELDS TERMINATED BY ',' ENCLOSED BY '\"' LINES TERMINATED BY '\\r\\n'",
        "plain",
    ),
    (
        b"a<>b<c<>d<<>e<>f<>g<<>h<>i<>j<<",
        "INTO TABLE plain FIELDS TERMINATED BY '<>' LINES TERMINATED BY '<<>'",
        "plain",
    ),
    (b"a||b|c||d|e||f\n|||\n||||||\n", "INTO TABLE plain FIELDS TERMINATED BY '||'", "plain"),
    (
        b"xxxa,b,c\nno xxxd,e,f\nnone,at,all\nxxxxxxg,h,i\nxx\nxxx\n",
        "INTO TABLE plain FIELDS TERMINATED BY ',' LINES STARTING BY 'xxx'",
        "plain",
    ),
    (b"1\n2\n3\n4\n5\n6\n7\n", "INTO TABLE plain FIELDS TERMINATED BY '\\n'", "plain"),
    (b"a,b,c,d,e,f,", "INTO TABLE plain FIELDS TERMINATED BY ',' LINES TERMINATED BY ''", "plain"),
    (
        b"'a';'b''b';'c\\'c'#'d';\\;;#",
        "INTO TABLE plain FIELDS TERMINATED BY 0x3b ENCLOSED BY X'27' LINES TERMINATED BY b'100011'",
        "plain",
    ),
    (
        b"1\t2\t3\n4\t5\t6\n",
        "INTO TABLE plain (@x, b, @y) SET a = CONCAT(@x, '-', @y), c = @x + @y",
        "plain",
    ),
    (b"1\t2\n\\N\n", "INTO TABLE plain (@x, a) SET b = @x, c = IFNULL(@x, 'nothing')", "plain"),
    (b"1\t2\t3\n", "INTO TABLE plain (a, a, b)", "plain"),
    (
        b"1\t10\ta\n2\t20\tb\n1\t30\tc\n3\t10\td\n4\t40\te\n4\t40\tf\n",
        "INTO TABLE keyed",
        "keyed",
    ),
    (b"1\t10\ta\n2\t20\tb\n1\t30\tc\n", "IGNORE INTO TABLE keyed", "keyed"),
    (b"1\t10\ta\n2\t20\tb\n1\t20\tc\n3\t30\td\n3\t31\te\n", "REPLACE INTO TABLE keyed", "keyed"),
    (b"1\t10\ta\nx\t20\tb\n", "REPLACE INTO TABLE keyed", "keyed"),
    (b"\t\t\n5\tsix\tseven\n 7 \t8.5\ttoo long for this column by far\n", "INTO TABLE keyed", "keyed"),
    (
        b"1\t2\t3.456\t1e2\tabc\t2026-02-28\t2026-02-28 12:00:00\tred\tx\n\
          99999999999\t-1\t99999.9\t1e999\ttoo long\t2026-02-30\tnonsense\tblue\t\\0\n\
          \t\t\t0\t\t\t\t\t\n1x\t300\tx1\t1.5y\t\xf0\x9f\x98\x80\xf0\x9f\x98\x80\t20260301\t2026-03-01\t2\tyy\n\
          \\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\t\\N\n 5 \t 6\t7 \t 8 \t 9 \t 2026-03-02 \t2026-03-02 1:2:3\tGREEN\tz\n",
        "INTO TABLE kinds",
        "kinds",
    ),
    (b"\\N\t1\t2\tx\n0\t1\t2\ty\n10\t\\N\t\\N\t\\N\n\n11\n", "INTO TABLE bare (id, a, b, c)", "bare"),
    (b"1\n2\n", "INTO TABLE bare (a)", "bare"),
    (b"1\t\xe4\xfc\x80\t\xe4\xfc\x80\t\xe4\xfc\x80\n", "INTO TABLE bytes CHARACTER SET latin1", "bytes"),
    ("1\tä€\tä€\tä€\n2\t😀\tä\t😀\n".as_bytes(), "INTO TABLE bytes CHARACTER SET utf8mb4", "bytes"),
    ("1\tä€\tab\tä€\n".as_bytes(), "INTO TABLE bytes CHARACTER SET binary", "bytes"),
    ("1\tä;ö\tä;ö\tä\n".as_bytes(), "INTO TABLE bytes FIELDS TERMINATED BY '\\t' ESCAPED BY ''", "bytes"),
];

fn client(program: &str, port: u16) -> Command {
    let mut command = Command::new(program);
    command.args(["--no-defaults", "--host=127.0.0.1", "--protocol=tcp", &format!("--port={port}")]);
    command.args(["--user=root", "--default-character-set=utf8mb4", "--skip-ssl"]);
    command
}

fn query(port: u16, text: &str) -> String {
    let arguments =
        ["--local-infile=1", "--batch", "--skip-column-names", "--force", "--default-character-set=utf8mb4"];
    let output = run(client("mariadb", port).args(arguments), text.as_bytes());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let errors: Vec<&str> =
        told.split("ERROR ").skip(1).filter_map(|error| error.split(' ').next()).collect();
    String::from_utf8_lossy(&output.stdout).into_owned() + &errors.join(" ")
}

/// Loads a file; what is told, with the numbers of warnings, and what the table holds then.
fn load(port: u16, file: &Path, rest: &str, table: &str) -> String {
    let file = file.display();
    query(
        port,
        &format!(
            "{MODE} USE loads; TRUNCATE {table}; LOAD DATA LOCAL INFILE '{file}' {rest}; SHOW WARNINGS;
             SELECT * FROM {table} ORDER BY 1, 2, 3;"
        ),
    )
}

/// Of a warning only its number is compared: texts name columns and keys in other ways. Notes of blanks behind numbers are
/// MariaDB's alone.
fn comparable(told: &str) -> String {
    let line = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        ["Warning" | "Error", number, _] => format!("warning {number}"),
        _ => line.to_owned(),
    };
    told.lines().filter(|line| !line.starts_with("Note\t")).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn files_mean_what_they_mean_to_mariadb() {
    let (mariadb, assize) = (MariaDb::start(), Assize::start());
    let folder = tempfile::tempdir().unwrap();
    for port in [mariadb.port(), assize.port()] {
        assert_eq!(query(port, &format!("{MODE} {TABLES}")), "");
    }
    let mut differences = Vec::new();
    for (number, (bytes, rest, table)) in CASES.iter().enumerate() {
        let file = folder.path().join(format!("{number}.txt"));
        std::fs::write(&file, bytes).unwrap();
        let theirs = load(mariadb.port(), &file, rest, table);
        let ours = load(assize.port(), &file, rest, table);
        if comparable(&theirs) != comparable(&ours) {
            let shown = String::from_utf8_lossy(bytes);
            differences.push(format!("{shown:?} {rest}\n--- MariaDB\n{theirs}\n--- Assize\n{ours}"));
        }
    }
    let (count, compared) = (differences.len(), CASES.len());
    assert!(differences.is_empty(), "{count} of {compared} differ:\n{}", differences.join("\n\n"));
}

#[test]
fn tools_load_files_and_a_killed_load_leaves_nothing() {
    let assize = Assize::start();
    let port = assize.port();
    assert_eq!(query(port, TABLES), "");
    let folder = tempfile::tempdir().unwrap();
    // The tool takes the table's name from the file's.
    let file = folder.path().join("keyed.txt");
    let rows: String = (0..30_000).map(|n| format!("{n}\t{n}\trow {n}\n")).collect();
    std::fs::write(&file, rows).unwrap();
    let output = run(client("mariadb-import", port).args(["--local", "loads"]).arg(&file), b"");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("Records: 30000  Deleted: 0  Skipped: 0  Warnings: 0"), "{told}");
    let output = run(client("mariadb-import", port).args(["--local", "--replace", "loads"]).arg(&file), b"");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("Records: 30000  Deleted: 30000  Skipped: 0  Warnings: 0"), "{told}");
    assert_eq!(
        query(port, "SELECT COUNT(*), SUM(u), MAX(v) FROM loads.keyed"),
        "30000\t449985000\trow 9999\n"
    );

    // A client that never comes to an end: KILL QUERY, then KILL.
    let pipe = folder.path().join("endless");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let statement = format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE loads.plain", pipe.display());
    let mut loading =
        client("mariadb", port).args(["--local-infile=1", "--execute", &statement]).spawn().unwrap();
    let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    std::io::Write::write_all(&mut writer, b"a\tb\tc\nd").unwrap();
    let find = "SELECT id FROM information_schema.processlist WHERE info LIKE 'LOAD DATA LOCAL%'";
    let mut id = String::new();
    assize_tests::wait_for("the load to be seen", || {
        id = query(port, find);
        !id.is_empty()
    });
    assert_eq!(query(port, &format!("KILL {id}")), "");
    assize_tests::wait_for("the load to be gone", || query(port, find).is_empty());
    drop(writer);
    assert!(!loading.wait().unwrap().success());
    assert_eq!(query(port, "SELECT COUNT(*) FROM loads.plain"), "0\n");

    // Neither with the server's leave missing nor with the client's.
    assert_eq!(query(port, "SET GLOBAL local_infile = OFF"), "");
    assert_eq!(
        query(port, &format!("LOAD DATA LOCAL INFILE '{}' INTO TABLE loads.keyed", file.display())),
        "3948"
    );
}

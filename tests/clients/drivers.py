"""What applications do through Python's three MySQL drivers: python drivers.py DRIVER PORT

Connects without a password, with caching_sha2_password and mysql_native_password, over TLS and in clear text; text
and binary protocol; values of every type there and back; packets over 16 MiB; errors by number; transactions.
"""

import datetime
import decimal
import json
import os
import sys
import tempfile

driver, port = sys.argv[1], int(sys.argv[2])

if driver == "pymysql":
    import pymysql as module

    def connect(user="root", password="", tls=False, database=None, **more):
        tls_arguments = {"ssl": {"check_hostname": False}, "ssl_verify_cert": False} if tls else {"ssl_disabled": True}
        return module.connect(
            host="127.0.0.1", port=port, user=user, password=password, database=database, charset="utf8mb4",
            **tls_arguments, **more,
        )

elif driver == "mysqlclient":
    import MySQLdb as module

    def connect(user="root", password="", tls=False, database=None, **more):
        named = {"database": database} if database else {}
        return module.connect(
            host="127.0.0.1", port=port, user=user, password=password, charset="utf8mb4",
            ssl_mode="REQUIRED" if tls else "DISABLED", **named, **more,
        )

elif driver == "connector":
    import mysql.connector as module

    def connect(user="root", password="", tls=False, database=None, **more):
        return module.connect(
            host="127.0.0.1", port=port, user=user, password=password, database=database, charset="utf8mb4",
            ssl_disabled=not tls, use_pure=True, **more,
        )

else:
    sys.exit(f"no driver {driver}")


def number_of(error):
    return getattr(error, "errno", None) or error.args[0]


def fails(number, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except module.Error as error:
        assert number_of(error) == number, f"{number} expected, got {error!r}"
    else:
        raise AssertionError(f"error {number} expected")


def rows(connection, statement, arguments=None, **options):
    cursor = connection.cursor(**options)
    cursor.execute(statement, arguments) if arguments is not None else cursor.execute(statement)
    found = list(cursor.fetchall()) if cursor.description else cursor.rowcount
    cursor.close()
    return found


schema = f"drivers_{driver}"
admin = connect()
rows(admin, f"DROP DATABASE IF EXISTS {schema}")
rows(admin, f"CREATE DATABASE {schema}")
for plugin, short in (("caching_sha2_password", "sha"), ("mysql_native_password", "native")):
    name = f"{short}_{driver}"
    rows(admin, f"DROP USER IF EXISTS '{name}'@'%'")
    rows(admin, f"CREATE USER '{name}'@'%' IDENTIFIED WITH {plugin} BY 'geheim'")
    rows(admin, f"GRANT ALL PRIVILEGES ON {schema}.* TO '{name}'@'%'")

# Who may come in, and who may not.
for short in ("sha", "native"):
    name = f"{short}_{driver}"
    for tls in (False, True):
        with_password = connect(name, "geheim", tls=tls, database=schema)
        assert rows(with_password, "SELECT 1") == [(1,)]
        cipher = rows(with_password, "SHOW STATUS LIKE 'Ssl_cipher'")
        assert (cipher[0][1] != "") == tls, cipher
        with_password.close()
        fails(1045, connect, name, "falsch", tls=tls)
        fails(1045, connect, name, "", tls=tls)
fails(1045, connect, "nobody", "x")
fails(1049, connect, database="no_such_database")

# Every type, there and back.
connection = connect(database=schema)
rows(
    connection,
    """CREATE TABLE kinds (
        id INT AUTO_INCREMENT PRIMARY KEY, tiny TINYINT, big BIGINT UNSIGNED, dec_ DECIMAL(20,5), dbl DOUBLE,
        txt VARCHAR(200), bin_ VARBINARY(100), blob_ LONGBLOB, d DATE, t TIME(6), dt DATETIME(6), y YEAR, bits BIT(8),
        e ENUM('red','green'), s SET('a','b','c'), j JSON)""",
)
date = datetime.date(2026, 11, 20)
time = datetime.timedelta(hours=-30, microseconds=5)
moment = datetime.datetime(2026, 11, 20, 12, 34, 56, 789012)
values = (
    -7, 18446744073709551615, decimal.Decimal("-12345.67890"), 0.1, "Grüße 😀 'x' \\ \n", b"\x00\xff'\\\x1a", b"\xfe" * 300,
    date, time, moment, 2026, "green", "a,c", json.dumps({"a": [1, None, "ü"]}),
)
columns = "tiny, big, dec_, dbl, txt, bin_, blob_, d, t, dt, y, e, s, j"
marks = ", ".join(["%s"] * len(values))
options = {"prepared": True} if driver == "connector" else {}
for prepared in [{}] + ([options] if options else []):
    rows(connection, "DELETE FROM kinds")
    assert rows(connection, f"INSERT INTO kinds ({columns}) VALUES ({marks})", values, **prepared) == 1
    connection.commit()
    # This driver reads YEAR in binary rows as a string, which it is not; as a number it can.
    shown = columns.replace("y, e", "y + 0, e") if prepared else columns
    (row,) = rows(connection, f"SELECT {shown} FROM kinds", **prepared)
    for sent, got in zip(values, row):
        if isinstance(got, (bytes, bytearray)) and isinstance(sent, str):
            got = got.decode()
        if isinstance(got, (set, frozenset)):
            got = ",".join(sorted(got))
        if isinstance(sent, str) and sent.startswith("{"):
            sent, got = json.loads(sent), json.loads(got)
        assert sent == (bytes(got) if isinstance(sent, bytes) else got), (prepared, sent, got)
rows(connection, "INSERT INTO kinds () VALUES ()")
assert rows(connection, "SELECT tiny, txt, dt, j FROM kinds ORDER BY id DESC LIMIT 1") == [(None,) * 4]
connection.rollback()

# Generated ids, counts, errors by number.
rows(connection, "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT UNIQUE, w VARCHAR(5))")
cursor = connection.cursor()
cursor.execute("INSERT INTO t (v) VALUES (10), (20), (30)")
assert (cursor.rowcount, cursor.lastrowid) == (3, 1)
cursor.execute("UPDATE t SET w = 'x' WHERE v >= 20")
assert cursor.rowcount == 2
connection.commit()
fails(1062, rows, connection, "INSERT INTO t (v) VALUES (10)")
fails(1064, rows, connection, "SELEC 1")
fails(1146, rows, connection, "SELECT * FROM no_such_table")
fails(1054, rows, connection, "SELECT no_such_column FROM t")
fails(1406, rows, connection, "INSERT INTO t (w) VALUES ('too long')")
fails(1048, rows, connection, "INSERT INTO t (id, v) VALUES (1, 2) ON DUPLICATE KEY UPDATE id = NULL")
connection.rollback()
assert rows(connection, "SELECT COUNT(*), SUM(v) FROM t") == [(3, decimal.Decimal(60))]

# Transactions: nothing of what was rolled back, all of what was committed.
rows(connection, "INSERT INTO t (v) VALUES (40)")
other = connect(database=schema)
assert rows(other, "SELECT COUNT(*) FROM t") == [(3,)]
connection.rollback()
rows(connection, "INSERT INTO t (v) VALUES (50)")
connection.commit()
other.commit()
assert rows(other, "SELECT COUNT(*) FROM t") == [(4,)]
other.close()

# Packets over 16 MiB both ways.
big = b"0123456789abcdef" * (17 << 16)
rows(connection, "DELETE FROM kinds")
rows(connection, "INSERT INTO kinds (blob_) VALUES (%s)", (big,))
assert bytes(rows(connection, "SELECT blob_ FROM kinds")[0][0]) == big
connection.rollback()

# A thousand rows, and the connection is still good.
rows(connection, "CREATE TABLE many (id INT PRIMARY KEY, v VARCHAR(100))")
cursor = connection.cursor()
cursor.executemany("INSERT INTO many VALUES (%s, %s)", [(n, f"row {n}") for n in range(1000)])
connection.commit()
assert [n for (n,) in rows(connection, "SELECT id FROM many ORDER BY id")] == list(range(1000))
assert rows(connection, "SELECT COUNT(*) FROM many WHERE v LIKE 'row 99%'") == [(11,)]
connection.close()

# Files: in clear text and over TLS, larger than a packet of the driver, bad ones, and none where they are not allowed.
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "rows.csv")
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write("id,v\r\n" + "".join(f'{n},"Grüße, ""{n}"""\r\n' for n in range(20_000)) + "7,again\r\nx,bad\r\n")
    load = (
        f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE loaded FIELDS TERMINATED BY ',' ENCLOSED BY '\"' "
        "LINES TERMINATED BY '\\r\\n' IGNORE 1 LINES"
    )
    allow = {"allow_local_infile": True} if driver == "connector" else {"local_infile": True}
    rows(admin, f"CREATE TABLE {schema}.loaded (id INT PRIMARY KEY, v VARCHAR(100))")
    for tls in (False, True):
        connection = connect(database=schema, tls=tls, **allow)
        cursor = connection.cursor()
        cursor.execute(load)
        # The last row, whose id is no number, meets the one with the id 0.
        assert cursor.rowcount == 20_000, cursor.rowcount
        warnings = [(code, text.split("'")[0]) for (_, code, text) in rows(connection, "SHOW WARNINGS")]
        assert [code for (code, _) in warnings] == [1062, 1366, 1062], warnings
        assert rows(connection, "SELECT v FROM loaded WHERE id = 19999") == [('Grüße, "19999"',)]
        connection.rollback()
        assert rows(connection, "SELECT COUNT(*) FROM loaded") == [(0,)]
        rows(connection, load)
        connection.commit()
        # It fails midway, and the connection is still good.
        fails(1366, rows, connection, load.replace("INTO TABLE", "REPLACE INTO TABLE"))
        assert rows(connection, "SELECT COUNT(*) FROM loaded") == [(20_000,)]
        rows(connection, "DELETE FROM loaded")
        connection.commit()
        connection.close()
    # This driver allows files unless told otherwise.
    connection = connect(database=schema, **({"local_infile": False} if driver == "mysqlclient" else {}))
    try:
        rows(connection, load)
    except Exception as error:
        # Some drivers refuse by themselves, others let the server do it.
        assert not isinstance(error, AssertionError), error
    else:
        raise AssertionError("a client that allows no files has sent one")

rows(admin, f"DROP DATABASE {schema}")
admin.close()
print(f"{driver}: fine")

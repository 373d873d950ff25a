// What applications do through node's mysql2: node mysql2.js PORT
const assert = require("assert");
const { Readable } = require("stream");
const mysql = require("mysql2/promise");
const port = Number(process.argv[2]);
const connect = (options = {}) => mysql.createConnection({ host: "127.0.0.1", port, user: "root", ...options });
const fails = (errno, promise) => assert.rejects(promise, (error) => error.errno === errno || assert.fail(`${errno}: ${error}`));

(async () => {
  const admin = await connect({ multipleStatements: true });
  const [results] = await admin.query(
    "DROP DATABASE IF EXISTS drivers_node; CREATE DATABASE drivers_node; USE drivers_node; SELECT 1 AS one",
  );
  assert.deepStrictEqual(results[3], [{ one: 1 }]);
  await admin.query("DROP USER IF EXISTS 'sha_node'@'%'; DROP USER IF EXISTS 'native_node'@'%'");
  await admin.query("CREATE USER 'sha_node'@'%' IDENTIFIED WITH caching_sha2_password BY 'geheim'");
  await admin.query("CREATE USER 'native_node'@'%' IDENTIFIED WITH mysql_native_password BY 'geheim'");
  await admin.query("GRANT ALL PRIVILEGES ON drivers_node.* TO 'sha_node'@'%'");
  await admin.query("GRANT ALL PRIVILEGES ON drivers_node.* TO 'native_node'@'%'");
  for (const user of ["sha_node", "native_node"]) {
    for (const ssl of [undefined, { rejectUnauthorized: false }]) {
      const connection = await connect({ user, password: "geheim", ssl, database: "drivers_node" });
      assert.strictEqual((await connection.query("SHOW STATUS LIKE 'Ssl_cipher'"))[0][0].Value !== "", ssl !== undefined);
      await connection.end();
      await fails(1045, connect({ user, password: "falsch", ssl }));
    }
  }

  await admin.query("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, n DOUBLE, s VARCHAR(50), b VARBINARY(50), d DATETIME, j JSON)");
  const when = new Date(2026, 10, 20, 12, 0, 0);
  const [inserted] = await admin.execute("INSERT INTO t (n, s, b, d, j) VALUES (?, ?, ?, ?, ?)", [
    1.5, "Grüße 😀", Buffer.from([0, 255]), when, JSON.stringify({ a: [1] }),
  ]);
  assert.deepStrictEqual([inserted.affectedRows, inserted.insertId], [1, 1]);
  const expected = { id: 1, n: 1.5, s: "Grüße 😀", b: Buffer.from([0, 255]), d: when, j: { a: [1] } };
  assert.deepStrictEqual({ ...(await admin.query("SELECT * FROM t"))[0][0] }, expected);
  assert.deepStrictEqual({ ...(await admin.execute("SELECT * FROM t WHERE id = ?", [1]))[0][0] }, expected);
  assert.deepStrictEqual((await admin.execute("SELECT ? + 1 AS x", [41]))[0][0].x, 42);
  await fails(1062, admin.execute("INSERT INTO t (id) VALUES (?)", [1]));
  await fails(1064, admin.query("SELEC 1"));

  await admin.beginTransaction();
  await admin.query("DELETE FROM t");
  await admin.rollback();
  assert.strictEqual((await admin.query("SELECT COUNT(*) AS c FROM t"))[0][0].c, 1);

  await admin.changeUser({ user: "native_node", password: "geheim", database: "drivers_node" });
  assert.match((await admin.query("SELECT CURRENT_USER() AS u"))[0][0].u, /^native_node@/);
  await admin.changeUser({ user: "sha_node", password: "geheim", database: "drivers_node" });
  await admin.ping();
  const big = "x".repeat(17 << 20);
  assert.strictEqual((await admin.query("SELECT ? AS big", [big]))[0][0].big, big);
  await admin.query("CREATE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(100))");
  const lines = Array.from({ length: 20000 }, (_, n) => `${n}\tGrüße ${n}\n`);
  const sql = "LOAD DATA LOCAL INFILE 'stream' INTO TABLE loaded";
  const [loaded] = await admin.query({ sql, infileStreamFactory: () => Readable.from(lines.map((line) => Buffer.from(line))) });
  assert.strictEqual(loaded.affectedRows, 20000);
  assert.match(loaded.info, /^Records: 20000  Deleted: 0  Skipped: 0  Warnings: 0/);
  assert.strictEqual((await admin.query("SELECT v FROM loaded WHERE id = 19999"))[0][0].v, "Grüße 19999");
  await admin.ping();

  await admin.query("DROP DATABASE drivers_node");
  await admin.end();
  console.log("mysql2: fine");
})().catch((error) => {
  console.error(error);
  process.exit(1);
});

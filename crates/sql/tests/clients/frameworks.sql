SELECT `django_migrations`.`id`, `django_migrations`.`app`, `django_migrations`.`name`, `django_migrations`.`applied` FROM `django_migrations`

SELECT COUNT(*) AS `__count` FROM `auth_user` WHERE `auth_user`.`username` = 'admin'

SELECT (1) AS `a` FROM `auth_user` WHERE `auth_user`.`id` = 1 LIMIT 1

SELECT `app_book`.`id`, COUNT(`app_chapter`.`id`) AS `n` FROM `app_book` LEFT OUTER JOIN `app_chapter` ON (`app_book`.`id` = `app_chapter`.`book_id`) GROUP BY `app_book`.`id` HAVING COUNT(`app_chapter`.`id`) > 2 ORDER BY NULL

INSERT INTO `django_session` (`session_key`, `session_data`, `expire_date`) VALUES ('a', 'b', '2026-11-20 00:00:00.000000')

INSERT IGNORE INTO `app_tag` (`name`) VALUES ('a'), ('b')

UPDATE `auth_user` SET `last_login` = '2026-11-20 10:00:00.123456' WHERE `auth_user`.`id` = 1

DELETE FROM `django_session` WHERE `django_session`.`expire_date` < '2026-11-20 00:00:00'

SELECT `t`.`id` FROM `t` WHERE (`t`.`a` IN (1, 2, 3) AND NOT (`t`.`b` = 'x' AND `t`.`b` IS NOT NULL)) ORDER BY `t`.`id` ASC LIMIT 21 OFFSET 40

SELECT `t`.`id` FROM `t` WHERE `t`.`d` BETWEEN '2026-01-01' AND '2026-12-31' FOR UPDATE

SELECT `t`.`id` FROM `t` WHERE `t`.`id` = 3 FOR UPDATE NOWAIT

SELECT `t`.`id` FROM `t` WHERE `t`.`id` = 3 FOR UPDATE SKIP LOCKED

SELECT `t`.`id` FROM `t` INNER JOIN `u` ON (`t`.`u_id` = `u`.`id`) FOR UPDATE OF `t`

SELECT CAST(DATE_FORMAT(CONVERT_TZ(`t`.`d`, 'UTC', 'Europe/Berlin'), '%Y-%m-01') AS DATE) FROM `t`

SELECT `t`.`id` FROM `t` WHERE JSON_EXTRACT(`t`.`data`, '$."a"') = JSON_EXTRACT('1', '$')

SELECT `t`.`id` FROM `t` WHERE JSON_CONTAINS(`t`.`data`, '{"a": 1}')

SELECT `t`.`id` FROM `t` WHERE `t`.`name` LIKE BINARY 'a%'

SELECT `t`.`id` FROM `t` WHERE REGEXP_LIKE(`t`.`name`, '^a', 'c')

SELECT `t`.`id` FROM `t` WHERE `t`.`name` REGEXP '^a'

SELECT ROW_NUMBER() OVER (PARTITION BY `a` ORDER BY `b` DESC) AS `r`, SUM(`x`) OVER (ORDER BY `b` ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM `t`

SELECT INTERVAL 5 DAY + `d`, `d` + INTERVAL '0 00:00:10.000000' DAY_MICROSECOND FROM `t`

SAVEPOINT `s140_x1`

ROLLBACK TO SAVEPOINT `s140_x1`

RELEASE SAVEPOINT `s140_x1`

SAVEPOINT active_record_1

RELEASE SAVEPOINT active_record_1

ROLLBACK TO SAVEPOINT active_record_1

ROLLBACK TO sp

BEGIN

BEGIN WORK

START TRANSACTION

START TRANSACTION READ ONLY

START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY

COMMIT

COMMIT WORK AND NO CHAIN NO RELEASE

COMMIT AND CHAIN

ROLLBACK

ROLLBACK AND CHAIN NO RELEASE

ROLLBACK RELEASE

SELECT column_name, data_type, CASE WHEN collation_name = 'x' THEN NULL ELSE collation_name END AS collation_name FROM information_schema.columns WHERE table_name = 'a' AND table_schema = DATABASE()

SELECT kc.`constraint_name`, kc.`column_name`, kc.`referenced_table_name`, kc.`referenced_column_name`, c.`constraint_type` FROM information_schema.key_column_usage AS kc, information_schema.table_constraints AS c WHERE kc.table_schema = DATABASE() AND (kc.referenced_table_name IS NOT NULL OR c.constraint_type = 'PRIMARY KEY') ORDER BY kc.`ordinal_position`

SELECT DATABASE() as db, VERSION() AS version

SHOW FULL FIELDS FROM `users`

SHOW KEYS FROM `users`

SHOW INDEX FROM `auth_user`

SHOW FULL TABLES FROM `shop`

SHOW TABLES LIKE 'wp\_%'

SHOW FULL COLUMNS FROM `wp_options`

SHOW TABLES FROM `a` WHERE Tables_in_a = 'b'

SHOW INDEX FROM wp_posts WHERE Key_name = 'PRIMARY'

SELECT SQL_CALC_FOUND_ROWS  wp_posts.ID FROM wp_posts  WHERE 1=1  AND ((wp_posts.post_type = 'post' AND (wp_posts.post_status = 'publish' OR wp_posts.post_status = 'private')))  ORDER BY wp_posts.post_date DESC LIMIT 0, 10

SELECT FOUND_ROWS()

SELECT option_name, option_value FROM wp_options WHERE autoload IN ( 'yes', 'on', 'auto-on', 'auto' )

INSERT INTO `wp_options` (`option_name`, `option_value`, `autoload`) VALUES ('a', 'b', 'no') ON DUPLICATE KEY UPDATE `option_name` = VALUES(`option_name`), `option_value` = VALUES(`option_value`), `autoload` = VALUES(`autoload`)

INSERT IGNORE INTO `wp_options` ( `option_name`, `option_value`, `autoload` ) VALUES ('core_updater.lock', '1', 'no') /* LOCK */

DELETE a, b FROM wp_options a, wp_options b WHERE a.option_name LIKE '\\_transient\\_%' AND a.option_name NOT LIKE '\\_transient\\_timeout\\_%' AND b.option_name = CONCAT( '_transient_timeout_', SUBSTRING( a.option_name, 12 ) ) AND b.option_value < 1700000000

SELECT t.*, tt.* FROM wp_terms AS t INNER JOIN wp_term_taxonomy AS tt ON t.term_id = tt.term_id WHERE tt.taxonomy IN ('category') AND t.name IN ('x')

SELECT DISTINCT YEAR(post_date) AS `year`, MONTH(post_date) AS `month`, count(ID) as posts FROM wp_posts GROUP BY YEAR(post_date), MONTH(post_date) ORDER BY post_date DESC

SELECT /* MediaWiki\Title::load */ page_id,page_len FROM `page` WHERE page_namespace = 0 AND page_title = 'Main_Page' LIMIT 1

INSERT /* MediaWiki */ IGNORE INTO `objectcache` (keyname,value,exptime) VALUES ('a',_binary'\0x\'',20261120000000)

REPLACE INTO `l10n_cache` (lc_lang,lc_key,lc_value) VALUES ('en','x','s:1:"a";')

SELECT /*+ MAX_EXECUTION_TIME(1000) */ * FROM t

SELECT STRAIGHT_JOIN a.x FROM a USE INDEX (i1, i2) FORCE INDEX FOR ORDER BY (PRIMARY) IGNORE KEY (k) JOIN b ON a.id = b.id

INSERT INTO `users` (`name`,`createdAt`) VALUES (?,?);

INSERT INTO t () VALUES ()

INSERT INTO t VALUES (1, DEFAULT, DEFAULT(c), NULL)

INSERT t SET a = 1, b = DEFAULT, c = a + 1 ON DUPLICATE KEY UPDATE a = a + 1

INSERT INTO t (a, b) VALUES (1, 2), (3, 4) AS new ON DUPLICATE KEY UPDATE b = new.b + t.b

INSERT INTO t (a, b) VALUES (1, 2) AS new(m, n) ON DUPLICATE KEY UPDATE b = n

INSERT INTO t (a) SELECT a FROM u ON DUPLICATE KEY UPDATE t.a = u.a

INSERT INTO t SELECT * FROM u WHERE NOT EXISTS (SELECT 1 FROM t WHERE t.id = u.id)

INSERT INTO t (SELECT * FROM u)

INSERT INTO t (a, b) (SELECT a, b FROM u) UNION ALL SELECT 1, 2

INSERT INTO t WITH c AS (SELECT 1 AS x) SELECT x FROM c

INSERT INTO t TABLE u

INSERT INTO t VALUES ROW(1, 2), ROW(3, 4)

INSERT INTO t PARTITION (p0) (a) VALUE (1)

INSERT LOW_PRIORITY INTO shop.t(t.a) VALUES (1)

REPLACE t SELECT * FROM u

UPDATE t1, t2 SET t1.a = t2.a, t2.b = DEFAULT WHERE t1.id = t2.id

UPDATE t1 LEFT JOIN t2 ON t1.id = t2.id SET t1.a = NULL WHERE t2.id IS NULL

UPDATE LOW_PRIORITY IGNORE t AS x SET x.a = x.a + 1 WHERE x.id > 5 ORDER BY id DESC LIMIT 10

WITH c AS (SELECT id FROM t) UPDATE t JOIN c USING (id) SET a = 1

DELETE t1, t2 FROM t1 INNER JOIN t2 INNER JOIN t3 WHERE t1.id=t2.id AND t2.id=t3.id

DELETE FROM t1, t2 USING t1 INNER JOIN t2 INNER JOIN t3 WHERE t1.id=t2.id AND t2.id=t3.id

DELETE t1.*, d.t2.* FROM t1, d.t2 WHERE t1.a = t2.a

DELETE QUICK FROM t WHERE a > 1 ORDER BY b LIMIT 5

DELETE FROM t AS x WHERE x.a = 1

SELECT CONCAT('Sequelize', "double"), 'it''s', "a""b", 'a' 'b' "c", N'n', _utf8mb4'x' COLLATE utf8mb4_bin, x'4142', 0x41, b'101', 0b1, \N

SELECT ifnull(last_insert_id(), 0), LAST_INSERT_ID(5)

SELECT 1 FOR UPDATE

SELECT * FROM t LOCK IN SHARE MODE

SELECT * FROM t FOR SHARE OF t SKIP LOCKED

SELECT a INTO @x FROM t WHERE id = 1

SELECT a, b FROM t LIMIT 1 INTO @x, @y

SELECT @rownum := @rownum + 1 AS n, t.* FROM t, (SELECT @rownum := 0) r

SELECT * FROM (SELECT 1 AS a UNION SELECT 2) AS x (b) ORDER BY b

(SELECT 1) UNION (SELECT 2) ORDER BY 1 LIMIT 1

((SELECT 1 LIMIT 1) UNION ALL SELECT 2) LIMIT 5

SELECT a FROM t UNION SELECT b FROM u EXCEPT SELECT 1 INTERSECT SELECT 2

TABLE t ORDER BY a LIMIT 5

VALUES ROW(1, 'a'), ROW(2, 'b') ORDER BY 1

WITH RECURSIVE seq (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < 10) SELECT * FROM seq

PREPARE stmt FROM 'SELECT ? + 1'

PREPARE stmt FROM @sql

EXECUTE stmt USING @a, @b

DEALLOCATE PREPARE stmt

DROP PREPARE stmt

CALL proc(1, 'a')

CALL db.proc

KILL 5

KILL QUERY 7

KILL CONNECTION CONNECTION_ID()

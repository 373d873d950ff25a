select @@version_comment limit 1

select $$

/* mysql-connector-j-8.4.0 (Revision: 1) */SELECT  @@session.auto_increment_increment AS auto_increment_increment, @@character_set_client AS character_set_client, @@character_set_connection AS character_set_connection, @@character_set_results AS character_set_results, @@character_set_server AS character_set_server, @@collation_server AS collation_server, @@collation_connection AS collation_connection, @@init_connect AS init_connect, @@interactive_timeout AS interactive_timeout, @@license AS license, @@lower_case_table_names AS lower_case_table_names, @@max_allowed_packet AS max_allowed_packet, @@net_write_timeout AS net_write_timeout, @@performance_schema AS performance_schema, @@sql_mode AS sql_mode, @@system_time_zone AS system_time_zone, @@time_zone AS time_zone, @@transaction_isolation AS transaction_isolation, @@wait_timeout AS wait_timeout

set autocommit=1, sql_mode = concat(@@sql_mode,',STRICT_TRANS_TABLES')

SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci

SET NAMES 'utf8mb4' COLLATE 'utf8mb4_unicode_ci'

SET NAMES utf8mb4

set names 'utf8'

SET NAMES DEFAULT

SET CHARACTER SET utf8mb4

SET CHARSET 'utf8'

SET NAMES binary

SET character_set_results = NULL

SET @@session.autocommit = OFF

SET autocommit=0

SET AUTOCOMMIT = ON

SELECT @@transaction_isolation

SELECT @@tx_isolation

SELECT @@session.transaction_read_only

SELECT VERSION(),
       @@sql_mode,
       @@default_storage_engine,
       @@sql_auto_is_null,
       @@lower_case_table_names,
       CONVERT_TZ('2001-01-01 01:00:00', 'UTC', 'UTC') IS NOT NULL

SET @@SESSION.sql_mode = CONCAT(CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), ',NO_AUTO_VALUE_ON_ZERO'),  @@SESSION.sql_auto_is_null = 0, @@SESSION.wait_timeout = 2147483

SET NAMES utf8mb4,  @@SESSION.sql_mode = CONCAT(CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), ',NO_AUTO_VALUE_ON_ZERO'),  @@SESSION.sql_auto_is_null = 0, @@SESSION.wait_timeout = 2147483

SET sql_mode=(SELECT CONCAT(@@sql_mode, ',PIPES_AS_CONCAT,NO_ENGINE_SUBSTITUTION')),time_zone='+00:00',NAMES utf8mb4 COLLATE utf8mb4_unicode_ci;

set names 'utf8mb4' collate 'utf8mb4_unicode_ci'

set session sql_mode='ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'

SET SESSION sql_mode='NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'

SELECT @@SESSION.sql_mode

SET TRANSACTION READ WRITE

SET TRANSACTION READ ONLY

SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED

SET TRANSACTION ISOLATION LEVEL SERIALIZABLE

SET GLOBAL TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE

SET SESSION TRANSACTION READ ONLY

set session transaction isolation level read uncommitted

SET @@SESSION.TRANSACTION_ISOLATION = 'SERIALIZABLE'

SET SQL_SAFE_UPDATES=1

SET SQL_SAFE_UPDATES=1,SQL_SELECT_LIMIT=1000,MAX_JOIN_SIZE=1000000

SET SQL_AUTO_IS_NULL = 0

SET SQL_SELECT_LIMIT=DEFAULT

SET sql_select_limit = 18446744073709551615

SET @@sql_select_limit=DEFAULT

SET FOREIGN_KEY_CHECKS=0

SET UNIQUE_CHECKS = 1

SET PERSIST max_connections = 200

SET GLOBAL general_log = 'ON', LOCAL wait_timeout = 10

SET @a = 1, @b := 'x', @c = (SELECT MAX(id) FROM t)

SET @x = @@max_allowed_packet, @y = IFNULL(@y, 0) + 1

SET time_zone = SYSTEM

SET SESSION time_zone = '+00:00'

SET lc_messages = 'en_US'

SET character_set_connection=utf8, character_set_results=utf8, character_set_client=binary

SET @@global.max_connections = 100

SET SESSION group_concat_max_len = 1000000

set optimizer_switch = 'index_merge=off,index_merge_union=off'

SELECT CONNECTION_ID()

SELECT DATABASE()

SELECT database(), schema()

SELECT USER(), CURRENT_USER, CURRENT_USER()

SELECT 1

SELECT 1 FROM DUAL

SELECT 'x'

select 1;

SHOW VARIABLES LIKE 'lower_case_%'

SHOW VARIABLES WHERE Variable_name IN ('character_set_client', 'max_allowed_packet') OR Variable_name = 'sql_mode'

SHOW SESSION VARIABLES LIKE 'sql_mode'

SHOW GLOBAL VARIABLES

show variables like 'character_set_database'

SHOW STATUS LIKE 'Ssl_cipher'

SHOW SESSION STATUS WHERE Variable_name LIKE 'Ssl%'

SHOW GLOBAL STATUS

SHOW ENGINES

SHOW COLLATION

SHOW COLLATION WHERE Charset = 'utf8mb4' AND Collation = 'utf8mb4_bin'

SHOW CHARACTER SET

SHOW CHARSET LIKE 'utf8%'

SHOW WARNINGS

SHOW WARNINGS LIMIT 10

SHOW COUNT(*) WARNINGS

SHOW ERRORS

USE shop

USE `my db`

SELECT @@max_allowed_packet,@@system_time_zone,@@time_zone,@@auto_increment_increment

SELECT @@GLOBAL.`sql_mode`, @@`session`.sql_mode

SELECT @@max_allowed_packet AS `@@max_allowed_packet`

SELECT current_timestamp, NOW(), CURDATE(), localtime(6)

DO 1

DO SLEEP(0), RELEASE_ALL_LOCKS()

SELECT GET_LOCK('rails', 0), RELEASE_LOCK('rails')

SELECT IS_FREE_LOCK('laravel'), IS_USED_LOCK('x')

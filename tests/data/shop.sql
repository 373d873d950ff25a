-- A small shop: foreign keys, unique keys, JSON, decimals, enums, sets, dates, text of several scripts.
DROP DATABASE IF EXISTS shop;
CREATE DATABASE shop DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
USE shop;

CREATE TABLE customer (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT,
  email VARCHAR(190) NOT NULL,
  name VARCHAR(100) NOT NULL,
  born DATE DEFAULT NULL,
  tier ENUM('bronze','silver','gold') NOT NULL DEFAULT 'bronze',
  flags SET('newsletter','sms','vip') NOT NULL DEFAULT '',
  profile LONGTEXT DEFAULT NULL,
  created TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
  changed DATETIME(6) DEFAULT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY email (email),
  KEY name_born (name, born)
) ENGINE=InnoDB;

CREATE TABLE category (
  id SMALLINT NOT NULL,
  parent_id SMALLINT DEFAULT NULL,
  title VARCHAR(60) NOT NULL,
  PRIMARY KEY (id),
  KEY parent (parent_id),
  CONSTRAINT category_parent FOREIGN KEY (parent_id) REFERENCES category (id) ON DELETE SET NULL
) ENGINE=InnoDB;

CREATE TABLE product (
  sku CHAR(12) NOT NULL,
  category_id SMALLINT NOT NULL,
  title VARCHAR(120) NOT NULL,
  price DECIMAL(12,2) NOT NULL,
  weight DOUBLE DEFAULT NULL,
  ratio FLOAT DEFAULT NULL,
  stock MEDIUMINT UNSIGNED NOT NULL DEFAULT 0,
  active TINYINT(1) NOT NULL DEFAULT 1,
  mask BIT(12) DEFAULT NULL,
  image VARBINARY(64) DEFAULT NULL,
  digest BINARY(16) DEFAULT NULL,
  vintage YEAR DEFAULT NULL,
  opens TIME(3) DEFAULT NULL,
  description TEXT DEFAULT NULL,
  CONSTRAINT price_positive CHECK (price >= 0),
  PRIMARY KEY (sku),
  KEY category (category_id, price),
  CONSTRAINT product_category FOREIGN KEY (category_id) REFERENCES category (id) ON UPDATE CASCADE
) ENGINE=InnoDB;

CREATE TABLE orders (
  id BIGINT NOT NULL AUTO_INCREMENT,
  customer_id INT UNSIGNED NOT NULL,
  placed DATETIME NOT NULL,
  total DECIMAL(20,6) NOT NULL DEFAULT 0.000000,
  note VARCHAR(255) DEFAULT NULL,
  PRIMARY KEY (id),
  KEY customer (customer_id),
  CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customer (id) ON DELETE CASCADE
) ENGINE=InnoDB;

CREATE TABLE order_line (
  order_id BIGINT NOT NULL,
  line SMALLINT UNSIGNED NOT NULL,
  sku CHAR(12) NOT NULL,
  quantity INT NOT NULL,
  price DECIMAL(12,2) NOT NULL,
  PRIMARY KEY (order_id, line),
  UNIQUE KEY once (order_id, sku),
  KEY sku (sku),
  CONSTRAINT line_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
  CONSTRAINT line_product FOREIGN KEY (sku) REFERENCES product (sku)
) ENGINE=InnoDB;

CREATE TABLE audit (
  at DATETIME(3) NOT NULL,
  what VARCHAR(40) DEFAULT NULL,
  amount BIGINT UNSIGNED DEFAULT NULL,
  payload MEDIUMBLOB DEFAULT NULL
) ENGINE=InnoDB;

INSERT INTO customer (id, email, name, born, tier, flags, profile, created, changed) VALUES
 (1,'ada@example.org','Ada','1815-12-10','gold','newsletter,vip','{"city": "London", "tags": ["a", "b"]}','2026-01-02 03:04:05','2026-01-02 03:04:05.123456'),
 (2,'björn@example.org','Björn Ångström','1990-02-28','silver','','{"n": 1.50, "nested": {"k": null, "t": true}}','2026-03-29 01:30:00',NULL),
 (3,'zoë@example.org','Zoë O''Hara',NULL,'bronze','sms',NULL,'2025-12-31 23:59:59','1000-01-01 00:00:00.000000'),
 (7,'q@example.org','漢字 😀 "quoted" \\ back\nline\ttab',NULL,'bronze','newsletter,sms,vip','[]','2026-06-01 00:00:00','9999-12-31 23:59:59.999999');

INSERT INTO category VALUES (1,NULL,'All'),(2,1,'Books'),(3,1,'Tools'),(4,2,'Maps'),(-5,NULL,'Negative');

INSERT INTO product VALUES
 ('BK-1',2,'A book',12.50,0.4,0.25,10,1,b'101010101010',x'00ff10',x'000102030405060708090a0b0c0d0e0f',1999,'10:20:30.125','plain'),
 ('BK-2',2,'Another book',9999999999.99,1e-9,3.4e38,0,0,b'0',x'',x'00000000000000000000000000000000',2155,'-838:59:59.000','multi\nline'),
 ('TL-1',3,'Hammer',0.00,-1234567.125,-0.5,16777215,1,NULL,NULL,NULL,1901,'00:00:00.001',NULL),
 ('MP-1',4,'Map of Ålesund',19.99,2.2250738585072014e-308,1,5,1,b'111111111111',x'deadbeef',NULL,NULL,NULL,'');

INSERT INTO orders VALUES
 (1,1,'2026-02-28 12:00:00',25.000000,NULL),
 (2,1,'2024-02-29 00:00:00',0.000001,'leap'),
 (10,2,'2026-11-20 10:11:12',99999999999999.999999,'big'),
 (11,7,'1970-01-01 00:00:00',-3.500000,'');

INSERT INTO order_line VALUES
 (1,1,'BK-1',2,12.50),(1,2,'TL-1',1,0.00),(2,1,'MP-1',1,19.99),(10,1,'BK-2',-3,9999999999.99),(10,2,'BK-1',2147483647,0.01);

INSERT INTO audit VALUES
 ('2026-01-01 00:00:00.001','first',18446744073709551615,x'000102fffefd'),
 ('2026-01-01 00:00:00.001','first',18446744073709551615,x'000102fffefd'),
 ('2026-01-01 00:00:00.002',NULL,0,NULL),
 ('2026-01-01 00:00:00.003','it''s',1,'text; with "quotes" -- and /* comments */');

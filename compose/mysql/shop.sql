-- The demo's table, on both servers: the applier needs it there, with the same columns.
CREATE DATABASE shop;
CREATE TABLE shop.item (
  id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(60) NOT NULL UNIQUE,
  price DECIMAL(10, 2) NOT NULL,
  changed TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)
);

//! A shop's load with foreign keys, after TPC-C: its nine tables (`product` is its ITEM, as the hard load has an `item`), and its three
//! transactions that write (new-order, payment, delivery) in their shares. What TPC-C asks for beyond that, think times, terminals, a scale that grows with the rate, is left out: figures from this are not
//! figures of TPC-C.
//!
//! ```text
//! warehouse ◀─ district ◀─ customer ◀─ orders ◀─ new_order
//!     ▲            ▲           ▲          ▲
//!   stock          └─ history ─┘      order_line ─▶ stock ─▶ product
//! ```

mod transactions;

use binferry_generate::Random;

use crate::{Load, Transaction};

pub const DISTRICTS: u64 = 10;

/// In the order in which foreign keys let them be made and filled. The collation is the server's: MariaDB takes them too. `history` has no key.
pub const TABLES: &str = "
CREATE TABLE warehouse (
  w_id SMALLINT NOT NULL PRIMARY KEY, w_name VARCHAR(10) NOT NULL, w_street VARCHAR(20) NOT NULL, w_city VARCHAR(20) NOT NULL,
  w_zip CHAR(9) NOT NULL, w_tax DECIMAL(4,4) NOT NULL, w_ytd DECIMAL(14,2) NOT NULL);
CREATE TABLE district (
  d_w_id SMALLINT NOT NULL, d_id TINYINT NOT NULL, d_name VARCHAR(10) NOT NULL, d_street VARCHAR(20) NOT NULL, d_zip CHAR(9) NOT NULL,
  d_tax DECIMAL(4,4) NOT NULL, d_ytd DECIMAL(14,2) NOT NULL, d_next_o_id INT NOT NULL,
  PRIMARY KEY (d_w_id, d_id), FOREIGN KEY (d_w_id) REFERENCES warehouse (w_id));
CREATE TABLE customer (
  c_w_id SMALLINT NOT NULL, c_d_id TINYINT NOT NULL, c_id INT NOT NULL, c_first VARCHAR(16) NOT NULL, c_last VARCHAR(16) NOT NULL,
  c_phone CHAR(16) NOT NULL, c_since DATETIME NOT NULL, c_credit CHAR(2) NOT NULL, c_credit_lim DECIMAL(12,2) NOT NULL,
  c_discount DECIMAL(4,4) NOT NULL, c_balance DECIMAL(14,2) NOT NULL, c_ytd_payment DECIMAL(14,2) NOT NULL,
  c_payment_cnt INT NOT NULL, c_delivery_cnt INT NOT NULL, c_data TEXT NOT NULL,
  PRIMARY KEY (c_w_id, c_d_id, c_id), KEY by_name (c_w_id, c_d_id, c_last, c_first),
  FOREIGN KEY (c_w_id, c_d_id) REFERENCES district (d_w_id, d_id));
CREATE TABLE history (
  h_c_w_id SMALLINT NOT NULL, h_c_d_id TINYINT NOT NULL, h_c_id INT NOT NULL, h_w_id SMALLINT NOT NULL, h_d_id TINYINT NOT NULL,
  h_date DATETIME(6) NOT NULL, h_amount DECIMAL(6,2) NOT NULL, h_data VARCHAR(24) NOT NULL,
  FOREIGN KEY (h_c_w_id, h_c_d_id, h_c_id) REFERENCES customer (c_w_id, c_d_id, c_id),
  FOREIGN KEY (h_w_id, h_d_id) REFERENCES district (d_w_id, d_id));
CREATE TABLE orders (
  o_w_id SMALLINT NOT NULL, o_d_id TINYINT NOT NULL, o_id INT NOT NULL, o_c_id INT NOT NULL, o_entry_d DATETIME NOT NULL,
  o_carrier_id TINYINT, o_ol_cnt TINYINT NOT NULL, o_all_local TINYINT NOT NULL,
  PRIMARY KEY (o_w_id, o_d_id, o_id), KEY by_customer (o_w_id, o_d_id, o_c_id, o_id),
  FOREIGN KEY (o_w_id, o_d_id, o_c_id) REFERENCES customer (c_w_id, c_d_id, c_id));
CREATE TABLE new_order (
  no_w_id SMALLINT NOT NULL, no_d_id TINYINT NOT NULL, no_o_id INT NOT NULL,
  PRIMARY KEY (no_w_id, no_d_id, no_o_id), FOREIGN KEY (no_w_id, no_d_id, no_o_id) REFERENCES orders (o_w_id, o_d_id, o_id));
CREATE TABLE product (
  i_id INT NOT NULL PRIMARY KEY, i_im_id INT NOT NULL, i_name VARCHAR(24) NOT NULL, i_price DECIMAL(5,2) NOT NULL, i_data VARCHAR(50) NOT NULL);
CREATE TABLE stock (
  s_w_id SMALLINT NOT NULL, s_i_id INT NOT NULL, s_quantity SMALLINT NOT NULL, s_dist CHAR(24) NOT NULL, s_ytd INT NOT NULL,
  s_order_cnt INT NOT NULL, s_remote_cnt INT NOT NULL, s_data VARCHAR(50) NOT NULL,
  PRIMARY KEY (s_w_id, s_i_id), FOREIGN KEY (s_w_id) REFERENCES warehouse (w_id), FOREIGN KEY (s_i_id) REFERENCES product (i_id));
CREATE TABLE order_line (
  ol_w_id SMALLINT NOT NULL, ol_d_id TINYINT NOT NULL, ol_o_id INT NOT NULL, ol_number TINYINT NOT NULL, ol_i_id INT NOT NULL,
  ol_supply_w_id SMALLINT NOT NULL, ol_delivery_d DATETIME, ol_quantity TINYINT NOT NULL, ol_amount DECIMAL(8,2) NOT NULL,
  ol_dist_info CHAR(24) NOT NULL,
  PRIMARY KEY (ol_w_id, ol_d_id, ol_o_id, ol_number), FOREIGN KEY (ol_w_id, ol_d_id, ol_o_id) REFERENCES orders (o_w_id, o_d_id, o_id),
  FOREIGN KEY (ol_supply_w_id, ol_i_id) REFERENCES stock (s_w_id, s_i_id));";

/// How many rows of what contradicts the transactions that write: 0 in every state that the source had. A warehouse's takings are those of its
/// districts (TPC-C's consistency condition 1), the newest order has the number before the next one (2).
pub const CONTRADICTIONS: &str = "
SELECT (SELECT COUNT(*) FROM warehouse w WHERE w_ytd <> (SELECT SUM(d_ytd) FROM district WHERE d_w_id = w.w_id))
     + (SELECT COUNT(*) FROM district d WHERE d_next_o_id - 1 <> COALESCE((SELECT o_id FROM orders WHERE o_w_id = d.d_w_id AND o_d_id = d.d_id
        ORDER BY o_w_id DESC, o_d_id DESC, o_id DESC LIMIT 1), 0))";

/// How large. TPC-C has 3,000 customers in a district, and 100,000 items.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub warehouses: u64,
    /// In each district.
    pub customers: u64,
    pub items: u64,
}

impl Default for Scale {
    fn default() -> Self {
        Self {
            warehouses: 4,
            customers: 300,
            items: 5_000,
        }
    }
}

/// The statements that fill the tables, the same each time; there are no orders yet. One transaction per table, warehouse by warehouse.
pub fn fill(scale: Scale) -> Vec<String> {
    let Scale {
        warehouses,
        customers,
        items,
    } = scale;
    let series = |name: &str, last: u64| {
        format!("{name}(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM {name} WHERE n < {last})")
    };
    let mut fill = vec![
        format!(
            "SET SESSION cte_max_recursion_depth = {}",
            customers.max(items) + 1
        ),
        format!(
            "INSERT INTO product WITH RECURSIVE {} SELECT n, n * 31 % 10000, CONCAT('item ', n), 1 + n * 7 % 9900 / 100,
             IF(n % 10 = 0, CONCAT('ORIGINAL ', LEFT(SHA2(n, 224), 40)), LEFT(SHA2(n, 224), 40)) FROM {}",
            series("s", items),
            "s"
        ),
    ];
    for w in 1..=warehouses {
        fill.push(format!(
            "INSERT INTO warehouse VALUES ({w}, 'house {w}', 'street {w}', 'city {w}', '12345{w:04}', 0.{w:04}, {DISTRICTS} * 30000)"
        ));
        fill.push(format!(
            "INSERT INTO district WITH RECURSIVE {} SELECT {w}, n, CONCAT('d ', n), CONCAT('street ', n), '123451111', n / 100, 30000, 1 FROM d",
            series("d", DISTRICTS)
        ));
        for d in 1..=DISTRICTS {
            fill.push(format!(
                "INSERT INTO customer WITH RECURSIVE {} SELECT {w}, {d}, n, LEFT(SHA2(n, 224), 12), CONCAT('NAME', n % 100), '0123456789012345',
                 '2026-01-01', IF(n % 10 = 0, 'BC', 'GC'), 50000, n % 50 / 100, -10, 10, 1, 0, REPEAT(SHA2(n, 224), 6) FROM c",
                series("c", customers)
            ));
        }
        fill.push(format!(
            "INSERT INTO stock WITH RECURSIVE {} SELECT {w}, n, 10 + n % 91, LEFT(SHA2(n, 224), 24), 0, 0, 0, LEFT(SHA2(-n, 224), 40) FROM s",
            series("s", items)
        ));
    }
    fill
}

/// Draws new-orders (about half), payments (nearly as many) and deliveries (one in 24, as many as can keep up with the orders).
#[derive(Debug, Clone, Copy)]
pub struct Shop {
    scale: Scale,
    /// Connection `n` is at home in warehouse `n`, modulo their number.
    home: u64,
}

impl Shop {
    pub fn new(scale: Scale, connection: u64) -> Self {
        Self {
            scale,
            home: connection % scale.warehouses + 1,
        }
    }
}

impl Load for Shop {
    fn draw(&mut self, random: &mut Random) -> Transaction {
        match random.below(24) {
            0..12 => self.new_order(random),
            12..23 => self.payment(random),
            _ => self.delivery(random),
        }
    }
}

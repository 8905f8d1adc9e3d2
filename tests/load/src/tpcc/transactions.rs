//! The transactions. Rows are taken in one order (stock by warehouse and item), so that deadlocks stay rare.

use std::fmt::Write;

use super::{DISTRICTS, Shop};
use crate::{Ends, Random, Transaction};

impl Shop {
    /// An order of 5 to 15 lines; one line in a hundred comes from another warehouse, one order in a hundred is rolled back.
    pub(super) fn new_order(&self, random: &mut Random) -> Transaction {
        let (w, d) = (self.home, 1 + random.below(DISTRICTS));
        let c = self.customer(random);
        let mut lines: Vec<(u64, u64, u64)> = (0..5 + random.below(11))
            .map(|_| {
                let supply = match random.below(100) {
                    0 => 1 + random.below(self.scale.warehouses),
                    _ => w,
                };
                let item = 1 + skewed(random, self.scale.items);
                (supply, item, 1 + random.below(10))
            })
            .collect();
        lines.sort_unstable();
        let local = u8::from(lines.iter().all(|(supply, ..)| *supply == w));
        let mut body = format!(
            "SET @o = (SELECT d_next_o_id FROM district WHERE d_w_id = {w} AND d_id = {d} FOR UPDATE);
             UPDATE district SET d_next_o_id = d_next_o_id + 1 WHERE d_w_id = {w} AND d_id = {d};
             INSERT INTO orders VALUES ({w}, {d}, @o, {c}, NOW(), NULL, {}, {local});
             INSERT INTO new_order VALUES ({w}, {d}, @o)",
            lines.len()
        );
        let mut rows = Vec::with_capacity(lines.len());
        for (number, (supply, item, quantity)) in (1..).zip(&lines) {
            let remote = u8::from(*supply != w);
            // Writing to a String can't fail.
            let _ = write!(
                body,
                "; UPDATE stock SET s_quantity = s_quantity - {quantity} + IF(s_quantity >= {quantity} + 10, 0, 91), s_ytd = s_ytd + {quantity},
                 s_order_cnt = s_order_cnt + 1, s_remote_cnt = s_remote_cnt + {remote} WHERE s_w_id = {supply} AND s_i_id = {item}"
            );
            rows.push(format!(
                "({w}, {d}, @o, {number}, {item}, {supply}, NULL, {quantity}, {quantity} * (SELECT i_price FROM product WHERE i_id = {item}), \
                 LEFT(SHA2({item}, 224), 24))"
            ));
        }
        let _ = write!(body, "; INSERT INTO order_line VALUES {}", rows.join(", "));
        Transaction {
            what: "new-order",
            body,
            ends: match random.below(100) {
                0 => Ends::RollBack,
                _ => Ends::Commit,
            },
        }
    }

    /// Every seventh of a customer of another warehouse.
    pub(super) fn payment(&self, random: &mut Random) -> Transaction {
        let (w, d) = (self.home, 1 + random.below(DISTRICTS));
        let (cw, cd) = match random.below(7) {
            0 => (
                1 + random.below(self.scale.warehouses),
                1 + random.below(DISTRICTS),
            ),
            _ => (w, d),
        };
        let c = self.customer(random);
        let cents = 100 + random.below(499_901);
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        Transaction::commit(
            "payment",
            format!(
                "UPDATE warehouse SET w_ytd = w_ytd + {amount} WHERE w_id = {w};
                 UPDATE district SET d_ytd = d_ytd + {amount} WHERE d_w_id = {w} AND d_id = {d};
                 UPDATE customer SET c_balance = c_balance - {amount}, c_ytd_payment = c_ytd_payment + {amount}, c_payment_cnt = c_payment_cnt + 1,
                 c_data = IF(c_credit = 'BC', LEFT(CONCAT('{c} {d} {w} {amount} ', c_data), 500), c_data)
                 WHERE c_w_id = {cw} AND c_d_id = {cd} AND c_id = {c};
                 INSERT INTO history VALUES ({cw}, {cd}, {c}, {w}, {d}, NOW(6), {amount}, 'house {w}  d {d}')"
            ),
        )
    }

    /// The oldest open order of each district.
    pub(super) fn delivery(&self, random: &mut Random) -> Transaction {
        let (w, carrier) = (self.home, 1 + random.below(10));
        let mut body = String::new();
        for d in 1..=DISTRICTS {
            let order = format!("o_w_id = {w} AND o_d_id = {d} AND o_id = @o");
            let lines = format!("ol_w_id = {w} AND ol_d_id = {d} AND ol_o_id = @o");
            // Where nothing is open @o is NULL, and the statements find no row.
            let _ = write!(
                body,
                "SET @o = (SELECT no_o_id FROM new_order WHERE no_w_id = {w} AND no_d_id = {d} ORDER BY no_o_id LIMIT 1 FOR UPDATE);
                 DELETE FROM new_order WHERE no_w_id = {w} AND no_d_id = {d} AND no_o_id = @o;
                 SET @c = (SELECT o_c_id FROM orders WHERE {order});
                 UPDATE orders SET o_carrier_id = {carrier} WHERE {order};
                 UPDATE order_line SET ol_delivery_d = NOW() WHERE {lines};
                 SET @a = (SELECT SUM(ol_amount) FROM order_line WHERE {lines});
                 UPDATE customer SET c_balance = c_balance + @a, c_delivery_cnt = c_delivery_cnt + 1
                 WHERE c_w_id = {w} AND c_d_id = {d} AND c_id = @c; "
            );
        }
        body += "SET @o = NULL";
        Transaction::commit("delivery", body)
    }

    fn customer(&self, random: &mut Random) -> u64 {
        1 + skewed(random, self.scale.customers)
    }
}

/// Below `end`; some far more often than others, as TPC-C's NURand does: bits of two draws together.
fn skewed(random: &mut Random, end: u64) -> u64 {
    let mask = (end / 4).next_power_of_two() - 1;
    ((random.below(end) & mask) | random.below(end)) % end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Load, tpcc::Scale};

    #[test]
    fn a_seed_brings_the_same_transactions_back() {
        let draw = |seed| {
            let (mut shop, mut random) = (Shop::new(Scale::default(), 3), Random::new(seed));
            (0..50)
                .map(|_| shop.draw(&mut random).body)
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(9));
    }

    #[test]
    fn skewed_stays_below() {
        let mut random = Random::new(1);
        for end in [1, 2, 3, 300, 5_000] {
            assert!((0..1000).all(|_| skewed(&mut random, end) < end));
        }
    }
}

//! Values for every type, the awkward ones among them. Written as SQL, so that the server makes them.

use crate::chance::Chance;

/// `column = value, …` for a few columns of `every_type`, or for all.
pub fn assignments(chance: &mut Chance, vector: bool) -> String {
    let all = chance.one_in(2);
    let mut chosen: Vec<String> = COLUMNS
        .iter()
        .chain(vector.then_some(&VECTOR))
        .filter_map(|(column, values)| {
            if !all && !chance.one_in(4) {
                return None;
            }
            let value = match chance.one_in(9) {
                true => "NULL",
                false => chance.of(values),
            };
            Some(format!("{column} = {value}"))
        })
        .collect();
    if chosen.is_empty() {
        chosen.push(format!("t_int = {}", chance.below(1_000_000)));
    }
    chosen.join(", ")
}

const VECTOR: (&str, &[&str]) = (
    "t_vector",
    &["TO_VECTOR('[1, -2.5, 3e10]')", "TO_VECTOR('[0, 0.1, -0]')"],
);

const COLUMNS: [(&str, &[&str]); 45] = [
    ("t_tinyint", &["-128", "127", "0"]),
    ("t_tinyint_u", &["255", "0"]),
    ("t_smallint", &["-32768", "32767"]),
    ("t_smallint_u", &["65535", "1"]),
    ("t_mediumint", &["-8388608", "8388607"]),
    ("t_mediumint_u", &["16777215", "2"]),
    (
        "t_int",
        &["-2147483648", "2147483647", "FLOOR(RAND() * 1e6)"],
    ),
    ("t_int_u", &["4294967295", "3"]),
    (
        "t_bigint",
        &["-9223372036854775808", "9223372036854775807", "-1"],
    ),
    (
        "t_bigint_u",
        &["18446744073709551615", "9223372036854775808", "0"],
    ),
    ("t_bool", &["TRUE", "FALSE"]),
    ("t_bit1", &["b'1'", "b'0'"]),
    ("t_bit17", &["b'10000000000000001'", "5"]),
    ("t_bit64", &["18446744073709551615", "0"]),
    ("t_float", &["1.1", "-3.402823e38", "1e-38", "RAND()"]),
    (
        "t_double",
        &["0.1", "-1.7976931348623157e308", "5e-324", "RAND()", "-0e0"],
    ),
    (
        "t_decimal",
        &["12345678901234567890.0123456789", "-0.0000000001", "0"],
    ),
    (
        "t_wide",
        &[
            "99999999999999999999999999999999999.999999999999999999999999999999",
            "-1.5",
        ],
    ),
    (
        "t_date",
        &[
            "'2024-02-29'",
            "'0000-00-00'",
            "'2020-00-00'",
            "'1000-01-01'",
            "'9999-12-31'",
        ],
    ),
    (
        "t_datetime",
        &["'2024-12-31 23:59:59'", "'0000-00-00 00:00:00'", "NOW()"],
    ),
    (
        "t_datetime6",
        &[
            "'9999-12-31 23:59:59.999999'",
            "'2020-01-00 01:02:03.000001'",
            "NOW(6)",
        ],
    ),
    (
        "t_timestamp",
        &[
            "'1970-01-02 00:00:01'",
            "'2038-01-18 03:14:07'",
            "0",
            "NOW()",
        ],
    ),
    ("t_timestamp6", &["'2025-03-30 02:30:00.123456'", "NOW(6)"]),
    ("t_time", &["'-838:59:59'", "'838:59:59'", "'00:00:00'"]),
    ("t_time6", &["'-00:00:00.000001'", "'23:59:59.999999'"]),
    ("t_year", &["1901", "2155", "0"]),
    ("t_char", &["'a  '", "'ñandú'", "''", "'𝕏'"]),
    (
        "t_varchar",
        &[
            "'trailing  '",
            "'line\\nbreak\\ttab'",
            "'\\0zero'",
            "REPEAT('ж', 300)",
        ],
    ),
    ("t_latin1", &["'café'", "'ÿ'", "''"]),
    ("t_tinytext", &["'tiny'", "'😀'"]),
    ("t_text", &["REPEAT('text ', 2000)", "''"]),
    ("t_mediumtext", &["REPEAT('m', 20000)", "'日本語'"]),
    (
        "t_longtext",
        &["REPEAT('long ', 8000)", "'\\\\ \\' \\\" ` %'"],
    ),
    (
        "t_binary",
        &["0x0102", "0x0000000000000000", "0xffffffffffffffff"],
    ),
    ("t_varbinary", &["0x00ff00", "''", "RANDOM_BYTES(40)"]),
    ("t_tinyblob", &["RANDOM_BYTES(200)", "0x00"]),
    ("t_blob", &["RANDOM_BYTES(1000)", "''"]),
    (
        "t_mediumblob",
        &["REPEAT(RANDOM_BYTES(1000), 50)", "0xe28082"],
    ),
    ("t_longblob", &["REPEAT(RANDOM_BYTES(500), 100)", "0x27"]),
    ("t_enum", &["'small'", "'medium'", "'large'"]),
    ("t_set", &["'red,blue'", "''", "'red,green,blue'"]),
    (
        "t_json",
        &[
            "JSON_OBJECT('a', 1, 'b', JSON_ARRAY(TRUE, NULL, -0.5, 'ü'), 'c', JSON_OBJECT())",
            "JSON_OBJECT('when', NOW(6), 'price', CAST('12.30' AS DECIMAL(10,2)), 'day', CURDATE())",
            "JSON_ARRAY(18446744073709551615, -9223372036854775808, 1e100, 0.1)",
            "'\"just text\"'",
            "'null'",
            "JSON_SET(COALESCE(t_json, '{}'), '$.again', RAND())",
        ],
    ),
    (
        "t_geometry",
        &[
            "ST_GeomFromText('POLYGON((0 0, 10 0, 10 10, 0 10, 0 0))', 4326)",
            "ST_GeomFromText('LINESTRING(0 0, 1 1)')",
        ],
    ),
    ("t_point", &["POINT(1.5, -2)", "ST_SRID(POINT(1, 2), 4326)"]),
    ("t_hidden", &["8", "-8"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn always_something_to_assign() {
        for seed in 0..500 {
            let text = assignments(&mut Chance::new(seed), true);
            assert!(text.starts_with("t_"), "{text}");
        }
    }
}

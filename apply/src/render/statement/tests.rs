//! Golden statements.

use std::sync::Arc;

use binferry_schemas::row::{Column, ColumnType, KeyPart, RowSchema, Width};

use super::*;
use crate::{
    render::name::Charset,
    target::{
        mapping::Mapping,
        table::{TargetColumn, TargetTable, UniqueKey},
    },
};

fn mapping(with_key: bool) -> Mapping {
    mapping_of(Dialect::MySql, with_key)
}

fn mapping_of(dialect: Dialect, with_key: bool) -> Mapping {
    let key = with_key.then_some(KeyPart {
        position: 0,
        prefix: 0,
    });
    let column = |name: &str, ty, key| Column {
        name: name.into(),
        ty,
        nullable: true,
        visible: true,
        key,
    };
    let schema = RowSchema {
        database: "d".into(),
        table: "t`x".into(),
        columns: vec![
            column(
                "id",
                ColumnType::Integer {
                    width: Width::Int,
                    unsigned: false,
                },
                key,
            ),
            column(
                "name",
                ColumnType::VarChar {
                    bytes: 20,
                    collation: 8,
                },
                None,
            ),
            column("doc", ColumnType::Json, None),
        ],
    };
    let there = |name: &str, data_type: &str, charset: Option<&str>| TargetColumn {
        name: name.into(),
        data_type: data_type.into(),
        column_type: data_type.into(),
        characters: Some(20),
        octets: Some(20),
        precision: None,
        scale: None,
        fsp: None,
        charset: charset.and_then(Charset::new),
        collation: charset.map(|_| Charset::new("latin1_swedish_ci").unwrap()),
        nullable: true,
        has_default: true,
        automatic: false,
        generated: false,
        on_update: false,
    };
    let target = TargetTable {
        dialect,
        columns: vec![
            there("id", "int", None),
            there("name", "varchar", Some("latin1")),
            match dialect {
                Dialect::MySql => there("doc", "json", None),
                Dialect::MariaDb => there("doc", "longtext", Some("utf8mb4")),
            },
        ],
        unique: vec![UniqueKey {
            name: "PRIMARY".into(),
            columns: vec![Some("id".into())],
            prefixes: vec![None],
        }],
        references: Vec::new(),
        referred: Vec::new(),
        cascades: Vec::new(),
        trigger: None,
        engine: "InnoDB".into(),
        view: false,
    };
    Mapping::new(Arc::new(schema), &target).unwrap()
}

fn text(render: impl FnOnce(&mut Vec<u8>) -> Result<(), Unrenderable>) -> String {
    let mut out = Vec::new();
    render(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

const BEFORE: [Option<Value<'_>>; 3] = [
    Some(Value::Int(1)),
    Some(Value::Text("a")),
    Some(Value::Text("{}")),
];
const AFTER: [Option<Value<'_>>; 3] = [
    Some(Value::Int(1)),
    Some(Value::Null),
    Some(Value::Text("{}")),
];

#[test]
fn inserts() {
    let mapping = mapping(true);
    let sql = text(|out| {
        begin_insert(out, &mapping, &AFTER);
        put_insert_row(out, &mapping, &AFTER)
    });
    assert_eq!(
        sql,
        "INSERT INTO `d`.`t``x` (`id`,`name`,`doc`) VALUES (1,NULL,'{}')"
    );
}

#[test]
fn single_rows() {
    let mapping = mapping(true);
    assert_eq!(
        text(|out| put_update(out, &mapping, &BEFORE, &AFTER)),
        "UPDATE `d`.`t``x` SET `name`=NULL WHERE `id`=1 \
         AND CAST(`name` AS BINARY)<=>CAST(CONVERT('a' USING latin1) AS BINARY) \
         AND CAST(CAST(`doc` AS CHAR) AS BINARY)<=>CAST('{}' AS BINARY)"
    );
    assert_eq!(
        text(|out| put_delete(out, &mapping, &AFTER)),
        "DELETE FROM `d`.`t``x` WHERE `id`=1 \
         AND CAST(`name` AS BINARY)<=>CAST(CONVERT(NULL USING latin1) AS BINARY) \
         AND CAST(CAST(`doc` AS CHAR) AS BINARY)<=>CAST('{}' AS BINARY)"
    );
}

#[test]
fn a_table_without_a_key() {
    let mapping = mapping(false);
    assert_eq!(
        text(|out| put_delete(out, &mapping, &AFTER)),
        "DELETE FROM `d`.`t``x` WHERE `id`<=>1 \
         AND CAST(`name` AS BINARY)<=>CAST(CONVERT(NULL USING latin1) AS BINARY) \
         AND CAST(CAST(`doc` AS CHAR) AS BINARY)<=>CAST('{}' AS BINARY) LIMIT 1"
    );
}

#[test]
fn joins() {
    let mapping = mapping(true);
    let rows = [(BEFORE.to_vec(), AFTER.to_vec())];
    assert_eq!(
        text(|out| put_update_join(out, &mapping, &rows)),
        "UPDATE (VALUES ROW(1,'a','{}',NULL)) AS v(b0,b1,b2,a1) STRAIGHT_JOIN `d`.`t``x` AS t FORCE INDEX (`PRIMARY`) \
         ON t.`id`=v.b0 AND CAST(t.`name` AS BINARY)<=>CAST(CONVERT(v.b1 USING latin1) AS BINARY) \
         AND CAST(CAST(t.`doc` AS CHAR) AS BINARY)<=>CAST(v.b2 AS BINARY) SET t.`name`=v.a1"
    );
    assert_eq!(
        text(|out| put_delete_join(out, &mapping, &[BEFORE.to_vec()])),
        "DELETE t FROM (VALUES ROW(1,'a','{}')) AS v(b0,b1,b2) STRAIGHT_JOIN `d`.`t``x` AS t FORCE INDEX (`PRIMARY`) \
         ON t.`id`=v.b0 AND CAST(t.`name` AS BINARY)<=>CAST(CONVERT(v.b1 USING latin1) AS BINARY) \
         AND CAST(CAST(t.`doc` AS CHAR) AS BINARY)<=>CAST(v.b2 AS BINARY)"
    );
}

#[test]
fn mariadb() {
    let mapping = mapping_of(Dialect::MariaDb, true);
    let document = Value::Json {
        text: "{}",
        binary: &[0, 0, 0, 4, 0],
    };
    let before = vec![Some(Value::Int(1)), Some(Value::Text("a")), Some(document)];
    assert!(is_plain_row(&mapping, &before));
    let mut after = before.clone();
    after[1] = Some(Value::Null);
    let rows = [
        (before.clone(), after),
        (BEFORE.to_vec(), AFTER.to_vec()),
        (BEFORE.to_vec(), AFTER.to_vec()),
    ];
    let on = "STRAIGHT_JOIN `d`.`t``x` AS t FORCE INDEX (`PRIMARY`) \
         ON t.`id`=v.b0 AND CAST(t.`name` AS BINARY)<=>CAST(CONVERT(v.b1 USING latin1) AS BINARY) \
         AND CAST(t.`doc` AS BINARY)<=>CAST(v.b2 AS BINARY)";
    assert_eq!(
        text(|out| put_update_join(out, &mapping, &rows)),
        format!(
            "UPDATE (SELECT 1 AS b0,'a' AS b1,'{{}}' AS b2,NULL AS a1 UNION ALL VALUES (1,'a','{{}}',NULL),(1,'a','{{}}',NULL)) AS v \
             {on} SET t.`name`=v.a1"
        )
    );
    assert_eq!(
        text(|out| put_delete_join(out, &mapping, &[before])),
        format!("DELETE t FROM (SELECT 1 AS b0,'a' AS b1,'{{}}' AS b2) AS v {on}")
    );
    assert_eq!(
        text(|out| put_delete(out, &mapping, &BEFORE)),
        "DELETE FROM `d`.`t``x` WHERE `id`=1 \
         AND CAST(`name` AS BINARY)<=>CAST(CONVERT('a' USING latin1) AS BINARY) \
         AND CAST(`doc` AS BINARY)<=>CAST('{}' AS BINARY)"
    );
}

#[test]
fn columns_that_images_lack() {
    let mut mapping = mapping(true);
    let before = vec![Some(Value::Int(1)), None, None];
    let after = vec![Some(Value::Int(1)), Some(Value::Null), None];
    assert_eq!(
        text(|out| put_update(out, &mapping, &before, &after)),
        "UPDATE `d`.`t``x` SET `name`=NULL WHERE `id`=1"
    );
    assert_eq!(
        text(|out| put_delete(out, &mapping, &before)),
        "DELETE FROM `d`.`t``x` WHERE `id`=1"
    );
    let on = "STRAIGHT_JOIN `d`.`t``x` AS t FORCE INDEX (`PRIMARY`) ON t.`id`=v.b0";
    let rows = [(before.clone(), after.clone())];
    assert_eq!(
        text(|out| put_update_join(out, &mapping, &rows)),
        format!("UPDATE (VALUES ROW(1,NULL)) AS v(b0,a1) {on} SET t.`name`=v.a1")
    );
    assert_eq!(
        text(|out| put_delete_join(out, &mapping, std::slice::from_ref(&before))),
        format!("DELETE t FROM (VALUES ROW(1)) AS v(b0) {on}")
    );
    // What would change by itself stays.
    mapping.columns[2].on_update = true;
    assert_eq!(
        text(|out| put_update(out, &mapping, &before, &after)),
        "UPDATE `d`.`t``x` SET `name`=NULL,`doc`=`doc` WHERE `id`=1"
    );
    assert_eq!(
        text(|out| put_update_join(out, &mapping, &rows)),
        format!("UPDATE (VALUES ROW(1,NULL)) AS v(b0,a1) {on} SET t.`name`=v.a1,t.`doc`=t.`doc`")
    );
    let insert = vec![Some(Value::Int(1)), None, Some(Value::Null)];
    let sql = text(|out| {
        begin_insert(out, &mapping, &insert);
        put_insert_row(out, &mapping, &insert)
    });
    assert_eq!(sql, "INSERT INTO `d`.`t``x` (`id`,`doc`) VALUES (1,NULL)");
}

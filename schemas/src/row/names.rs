//! MySQL names as Avro names: `[A-Za-z_][A-Za-z0-9_]*`, unique where Avro wants it.

use std::collections::HashSet;

/// Names that Avro, or a library in use, keeps for its own types.
const RESERVED: [&str; 16] = [
    "null", "boolean", "int", "long", "float", "double", "bytes", "string", "record", "error",
    "enum", "array", "map", "union", "fixed", "request",
];

/// Every character that Avro forbids becomes an underscore.
pub(super) fn mangle(name: &str) -> String {
    let mut mangled: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if mangled.is_empty() || mangled.starts_with(|c: char| c.is_ascii_digit()) {
        mangled.insert(0, '_');
    }
    mangled
}

/// A name for a record.
pub(super) fn mangle_type(name: &str) -> String {
    let mut mangled = mangle(name);
    if RESERVED.contains(&mangled.as_str()) {
        mangled.push('_');
    }
    mangled
}

/// Names for fields, in order. A name that needs no mangling is kept; others give way to it with a number at their end.
pub(super) fn mangle_fields<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
    let mut taken: HashSet<String> = names
        .clone()
        .filter(|name| mangle(name) == *name)
        .map(str::to_owned)
        .collect();
    let mut kept = HashSet::new();
    names
        .map(|name| {
            let mangled = mangle(name);
            if mangled == name && kept.insert(name) {
                return mangled;
            }
            let mut candidate = mangled.clone();
            let mut number = 2;
            while !taken.insert(candidate.clone()) {
                candidate = format!("{mangled}_{number}");
                number += 1;
            }
            candidate
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_characters_become_underscores() {
        assert_eq!(mangle("größe in €"), "gr__e_in__");
        assert_eq!(mangle("2nd"), "_2nd");
        assert_eq!(mangle(""), "_");
        assert_eq!(mangle_type("int"), "int_");
        assert_eq!(mangle_type("Int"), "Int");
    }

    #[test]
    fn fields_never_collide_and_plain_names_stay() {
        let fields = ["a b", "a_b", "a-b", "a_b_2", "a.b"];
        assert_eq!(
            mangle_fields(fields.into_iter()),
            ["a_b_3", "a_b", "a_b_4", "a_b_2", "a_b_5"]
        );
    }
}

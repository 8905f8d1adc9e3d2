//! The target's tables: what its catalog says of them, and how a source table's rows go into them.

pub mod catalog;
pub mod fit;
pub mod foreign;
pub mod mapping;
pub mod table;

//! Rows as SQL text: pure, straight into byte buffers.

pub mod checks;
pub mod compare;
pub mod copied;
pub mod forced;
pub mod json;
pub mod literal;
pub mod load;
pub mod name;
pub mod statement;

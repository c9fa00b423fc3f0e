//! Which route an exchange takes, which of its destinations, and what is changed on the way.

pub mod facts;
pub mod fields;
pub mod headers;
pub mod matcher;
pub mod missed;
pub mod named;
pub mod parameters;
pub mod rewrite;
pub mod split;
pub mod table;

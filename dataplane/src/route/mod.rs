//! Which route an exchange takes, and which of its destinations.

pub mod matcher;
pub mod split;
pub mod table;

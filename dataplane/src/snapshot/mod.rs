//! The compiled configuration: decoded and checked once, then only read.

pub mod address_lists;
pub mod authorization;
pub mod decode;
pub mod index;
pub mod model;
#[cfg(test)]
pub mod samples;

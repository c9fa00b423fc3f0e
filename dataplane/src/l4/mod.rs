//! What is carried without being read.

mod copy;
pub mod tcp;

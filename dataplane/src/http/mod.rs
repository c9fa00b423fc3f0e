//! HTTP as bytes and as streams: which protocol a connection speaks, its codecs, and the one Body type above them.

pub mod base64;
pub mod body;
pub mod check;
pub mod claims;
pub mod coding;
pub mod grpc;
pub mod grpc_web;
pub mod h1;
pub mod h2;
pub mod path;
pub mod pump;
pub mod sniff;
pub mod stall;
pub mod tunnel;
pub mod upgrade;

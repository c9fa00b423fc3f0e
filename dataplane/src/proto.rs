//! The generated messages of `protos/sidecar/wire`.

#![allow(missing_docs, reason = "generated; the .proto files are the documentation")]

include!(concat!(env!("OUT_DIR"), "/sidecar.wire.rs"));

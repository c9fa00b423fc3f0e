//! Compiles the wire contract with protox, so that no protoc is needed.

use std::io;
use std::path::Path;

const PROTOS: [&str; 3] = [
    "sidecar/wire/telemetry.proto",
    "sidecar/wire/snapshot.proto",
    "sidecar/wire/control.proto",
];

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protos");
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={}", root.join(proto).display());
    }
    let descriptors = protox::compile(PROTOS, [&root]).map_err(io::Error::other)?;
    prost_build::Config::new().compile_fds(descriptors)
}

//! Compiles the wire contract with protox, so that no protoc is needed.

use std::io;
use std::path::Path;

const PROTOS: [&str; 3] = [
    "sidecar/wire/telemetry.proto",
    "sidecar/wire/snapshot.proto",
    "sidecar/wire/control.proto",
];

fn main() -> io::Result<()> {
    // Asked at run time: a build directory that several clones share keeps this program, and its clone's path with `env!`.
    let package = std::env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let root = Path::new(&package).join("../protos");
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={}", root.join(proto).display());
    }
    let descriptors = protox::compile(PROTOS, [&root]).map_err(io::Error::other)?;
    prost_build::Config::new().compile_fds(descriptors)
}

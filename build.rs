//! Compiles proto/ to Rust types and to the descriptors that server reflection serves.
//! protox parses in Rust, so that no protoc has to be installed.

use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "proto/raftkv.proto",
        "proto/backup.proto",
        "proto/cluster.proto",
        "proto/peer.proto",
        "proto/command.proto",
        "proto/health.proto",
        "proto/reflection_v1.proto",
        "proto/reflection_v1alpha.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("descriptors.bin"),
        prost::Message::encode_to_vec(&descriptors),
    )?;
    prost_build::Config::new()
        .bytes(["."])
        .include_file("proto.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

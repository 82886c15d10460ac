//! Compiles the client API with tonic's generator; protox parses in Rust, so that no protoc has to
//! be installed.

const PROTO: &str = "../../proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let descriptors = protox::compile(["raftkv.proto"], [PROTO])?;
    tonic_prost_build::configure()
        .build_client(false)
        .compile_fds(descriptors)?;
    Ok(())
}

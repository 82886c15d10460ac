//! Compiles proto/ with rust-protobuf, whose parser is written in Rust: nothing of prost takes
//! part, and no protoc has to be installed.

const PROTO: &str = "../../proto";

fn main() {
    println!("cargo:rerun-if-changed={PROTO}");
    protobuf_codegen::Codegen::new()
        .pure()
        .include(PROTO)
        .inputs(
            ["raftkv", "cluster", "peer", "command"].map(|name| format!("{PROTO}/{name}.proto")),
        )
        .cargo_out_dir("oracle")
        .run_from_script();
}

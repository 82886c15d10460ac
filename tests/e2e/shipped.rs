//! What is in the programs that an operator gets, and what is not.

use raftkv_planted::MARKER;

use crate::support::program;

#[test]
fn the_shipped_program_has_no_planted_bug() {
    for name in ["raftkv", "raftkv-cli"] {
        let path = program().with_file_name(name);
        let bytes = std::fs::read(&path).expect("a program to read");
        let holds = |text: &str| bytes.windows(text.len()).any(|at| at == text.as_bytes());
        // What is surely in it is found, so what is not found is not in it.
        assert!(holds("raftkv.proto.KvService"), "{name}: no text is found");
        let path = path.display();
        assert!(!holds(MARKER), "{path} was built with planted-bugs");
    }
}

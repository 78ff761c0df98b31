//! The bench's own tests: what it computes out of what clients print and the kernel counts.

use std::io::ErrorKind;
use std::process::Command;

#[test]
fn the_bench_computes_as_it_says() {
    let tests = Command::new("python3")
        .args(["-B", "-m", "unittest", "discover", "bench"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let output = match tests {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            println!("skipped: python3 is not installed");
            return;
        }
        Err(error) => panic!("python3: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("Ran ") && !said.contains("Ran 0 tests"), "{said}");
}

//! Migrations are built in, and a new one is a new file that nothing names.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}

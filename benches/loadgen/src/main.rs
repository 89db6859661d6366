//! See `run` in the library.

fn main() {
    loadgen::run::main()
}

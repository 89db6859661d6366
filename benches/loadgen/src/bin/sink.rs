//! See `sink` in the library.

fn main() {
    loadgen::sink::main()
}

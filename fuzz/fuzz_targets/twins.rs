//! See `ironbrook_fuzz::twins`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironbrook_fuzz::twins::patches(data));

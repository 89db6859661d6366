//! See `ironbrook_fuzz::streams`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironbrook_fuzz::streams::format(data));

//! See `ironbrook_fuzz::mqtt`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironbrook_fuzz::mqtt::version_4(data));

//! See `ironbrook_fuzz::topics`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironbrook_fuzz::topics::lines(data));

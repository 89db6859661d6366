//! See `ironbrook_fuzz::hub`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironbrook_fuzz::hub::request(data));

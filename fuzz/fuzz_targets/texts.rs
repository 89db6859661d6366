//! See `ironbrook_fuzz::texts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironbrook_fuzz::texts::text(data));

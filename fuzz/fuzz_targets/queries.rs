//! See `ironbrook_fuzz::queries`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironbrook_fuzz::queries::text(data));

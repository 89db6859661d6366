//! See `ironbrook_fuzz::amqp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ironbrook_fuzz::amqp::bytes(data));

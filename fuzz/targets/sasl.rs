#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| waypost_fuzz::session::fuzz_sasl(octets));

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| waypost_fuzz::drive::fuzz_chunks(octets));

#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| waypost_fuzz::mail::fuzz_authors(octets));

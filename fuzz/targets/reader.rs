#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| waypost_fuzz::smtp::reader::fuzz_reader(octets));

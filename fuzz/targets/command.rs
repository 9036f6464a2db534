#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| waypost_fuzz::smtp::command::fuzz_command(octets));

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| binferry_fuzz::check(
    binferry_fuzz::Target::Payload,
    data
));

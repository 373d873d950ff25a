#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| assize_fuzz::run("adjudicator_checkpoint", input));

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (flumen_fuzz::target("telemetry").run)(data));

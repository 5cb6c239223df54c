#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| candle_deeplab_fuzz::targets::answers(data));

//! Units as people write them, right and wrong.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::{duration, percent, show_duration, show_size, size};

#[test]
fn durations_have_a_number_and_a_unit() {
    let nanos = |text: &str| duration(text).unwrap().as_nanos();
    assert_eq!(nanos("0ms"), 0);
    assert_eq!(nanos("250us"), 250_000);
    assert_eq!(nanos("100ms"), 100_000_000);
    assert_eq!(nanos("5s"), 5_000_000_000);
    assert_eq!(nanos("1.5h"), 5_400_000_000_000);
    assert_eq!(nanos("40.95s"), 40_950_000_000);
    assert_eq!(nanos("10m"), 600_000_000_000);
    assert_eq!(nanos("1d"), 86_400_000_000_000);
}

#[test]
fn other_spellings_get_the_right_one_as_a_hint() {
    let hint = |text: &str| duration(text).unwrap_err().suggestion;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(hint("5"), some("5s"));
    assert_eq!(hint("5 s"), some("5s"));
    assert_eq!(hint(" 5s"), some("5s"));
    assert_eq!(hint("5sec"), some("5s"));
    assert_eq!(hint("2 minutes"), some("2m"));
    assert_eq!(hint("10msec"), some("10ms"));
    assert_eq!(hint("1w"), None);
    for nothing in [
        "",
        "s",
        ".5s",
        "5.s",
        "1.2.3s",
        "-5s",
        "1h30m",
        "99999999999999999999s",
        "9999999999999d",
    ] {
        assert_eq!(hint(nothing), None, "{nothing}");
    }
}

#[test]
fn sizes_count_in_powers_of_two() {
    assert_eq!(size("512B").unwrap(), 512);
    assert_eq!(size("32KiB").unwrap(), 32_768);
    assert_eq!(size("64MiB").unwrap(), 67_108_864);
    assert_eq!(size("1GiB").unwrap(), 1_073_741_824);
    assert_eq!(size("0.5KiB").unwrap(), 512);
    assert_eq!(size("32K").unwrap_err().suggestion.unwrap(), "32KiB");
    assert_eq!(size("32 mb").unwrap_err().suggestion.unwrap(), "32MiB");
    assert_eq!(size("32").unwrap_err().suggestion.unwrap(), "32B");
    assert_eq!(size("99999999999GiB").unwrap_err().suggestion, None);
}

#[test]
fn percentages_end_at_a_hundred() {
    assert_eq!(percent("50%"), Ok(50));
    assert_eq!(percent("100%"), Ok(100));
    assert_eq!(percent("50").unwrap_err().suggestion.unwrap(), "50%");
    assert_eq!(percent("101%").unwrap_err().suggestion, None);
}

#[test]
fn values_are_shown_in_the_largest_unit_that_divides_them() {
    let shown = |millis| show_duration(Duration::from_millis(millis));
    assert_eq!(
        [shown(0), shown(1_500), shown(90_000), shown(3_600_000)],
        ["0s", "1500ms", "90s", "1h"]
    );
    assert_eq!([shown(172_800_000), shown(120_000)], ["2d", "2m"]);
    assert_eq!(show_duration(Duration::from_nanos(1)), "1ns");
    assert_eq!(
        [show_size(0), show_size(1025), show_size(32_768)],
        ["0B", "1025B", "32KiB"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shown_can_be_read(micros in 0u64..u64::MAX / 1000, bytes: u32) {
        let value = Duration::from_micros(micros);
        prop_assert_eq!(duration(&show_duration(value)).ok(), Some(value));
        prop_assert_eq!(size(&show_size(u64::from(bytes))).ok(), Some(u64::from(bytes)));
    }

    #[test]
    fn any_text_is_a_value_or_an_error(text in "\\PC{0,24}") {
        let _ = (duration(&text), size(&text), percent(&text));
    }

    #[test]
    fn a_hint_is_always_readable(number in "[0-9]{1,5}", unit in "[a-zA-Zµ]{0,8}") {
        if let Err(error) = duration(&format!("{number} {unit}"))
            && let Some(hint) = error.suggestion
        {
            prop_assert!(duration(&hint).is_ok(), "{}", hint);
        }
    }
}

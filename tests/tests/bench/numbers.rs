//! Figures as a reader sees them.

/// Returns the value that `percent` of all do not exceed; `None` if there are none.
pub(crate) fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied()
}

/// Returns a count as a number that can be divided.
pub(crate) fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// Returns three significant digits, and all digits before the point.
pub(crate) fn shown(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 || size == 0.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if value == 0.0 { "0".to_owned() } else { text }
}

/// Returns `a ÷ b`; a dash where that says nothing.
pub(crate) fn ratio(a: Option<f64>, b: Option<f64>) -> String {
    match (a, b) {
        (Some(a), Some(b)) if b > 0.0 && a >= 0.0 => format!("{} ×", shown(a / b)),
        _ => "–".to_owned(),
    }
}

#[test]
fn a_percentile_is_one_of_the_values() {
    let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    assert_eq!(percentile(&values, 50), Some(50.0));
    assert_eq!(percentile(&values, 99), Some(99.0));
    assert_eq!(percentile(&[7.0, 3.0], 99), Some(7.0));
    assert_eq!(percentile(&[7.0, 3.0], 50), Some(3.0));
    assert_eq!(percentile(&[], 50), None);
}

#[test]
fn three_digits_are_shown() {
    let all = [1234.5, 56.78, 7.891, 0.1234, 0.01234, 0.0].map(shown);
    assert_eq!(all, ["1234", "56.8", "7.89", "0.123", "0.0123", "0"]);
}

#[test]
fn a_ratio_by_nothing_is_a_dash() {
    assert_eq!(ratio(Some(3.0), Some(2.0)), "1.50 ×");
    assert_eq!(ratio(Some(3.0), Some(0.0)), "–");
    assert_eq!(ratio(None, Some(1.0)), "–");
}

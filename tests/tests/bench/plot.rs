//! Plots as SVG. They have a background of their own, and colours for a light and for a dark page.

use std::fmt::Write as _;

use crate::numbers::shown;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 80.0;
const TOP: f64 = 64.0;
const BAR: f64 = 16.0;
const GAP: f64 = 14.0;

const STYLE: &str = "\
text { font: 13px sans-serif; fill: #1f2328 } .title { font-weight: bold; font-size: 15px }
.page { fill: #ffffff } .axis { stroke: #8c959f; fill: none } .line { fill: none; stroke-width: 2 }
.s0 { fill: #0969da } .s1 { fill: #bc4c00 } .s2 { fill: #6e7781 }
.l0 { stroke: #0969da } .l1 { stroke: #bc4c00 } .l2 { stroke: #6e7781 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .page { fill: #161b22 } .axis { stroke: #6e7681 }
.s0 { fill: #58a6ff } .s1 { fill: #f0883e } .s2 { fill: #8b949e }
.l0 { stroke: #58a6ff } .l1 { stroke: #f0883e } .l2 { stroke: #8b949e }
}";

/// A plot of the values of several series, of which at most three can be told apart.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    /// Such as `s`.
    pub(crate) unit: &'a str,
    pub(crate) series: &'a [&'a str],
}

impl Plot<'_> {
    /// Returns a bar for each series of each group.
    pub(crate) fn bars(&self, groups: &[(String, Vec<f64>)]) -> String {
        let largest = largest(groups.iter().flat_map(|(_, values)| values));
        let mut body = String::new();
        let mut y = TOP;
        for (name, values) in groups {
            let middle = y + BAR * 0.5 * length(values.len());
            text(&mut body, LEFT - 10.0, middle + 4.0, "end", "", name);
            for (series, value) in values.iter().enumerate() {
                let width = (WIDTH - LEFT - RIGHT) * value / largest;
                let _ = writeln!(
                    body,
                    "<rect class=\"s{series}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" \
                     height=\"{:.1}\"/>",
                    BAR - 3.0
                );
                let label = format!("{} {}", shown(*value), self.unit);
                text(&mut body, LEFT + width + 5.0, y + 11.0, "start", "", &label);
                y += BAR;
            }
            y += GAP;
        }
        self.page(y, &body)
    }

    /// Returns a line for each series over the logarithm of `x`; each point has the values of the
    /// series that have one there.
    pub(crate) fn lines(&self, x_name: &str, points: &[(f64, Vec<Option<f64>>)]) -> String {
        const HEIGHT: f64 = 220.0;
        let values = points.iter().flat_map(|(_, values)| values.iter().flatten());
        let largest = largest(values);
        let logs = points.iter().map(|(x, _)| x.max(1.0).ln());
        let (from, to) = logs.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
        let span = if to > from { to - from } else { 1.0 };
        let x_of = |x: f64| LEFT + (WIDTH - LEFT - RIGHT) * (x.max(1.0).ln() - from) / span;
        let y_of = |value: f64| TOP + HEIGHT * (1.0 - value / largest);
        let (bottom, right) = (TOP + HEIGHT, WIDTH - RIGHT);
        let mut body = format!("<path class=\"axis\" d=\"M{LEFT} {TOP} V{bottom} H{right}\"/>\n");
        for part in [0.0, 0.5, 1.0] {
            let label = format!("{} {}", shown(largest * part), self.unit);
            text(&mut body, LEFT - 8.0, y_of(largest * part) + 4.0, "end", "", &label);
        }
        for (x, _) in points {
            text(&mut body, x_of(*x), bottom + 18.0, "middle", "", &format!("{x}"));
        }
        text(&mut body, f64::midpoint(LEFT, right), bottom + 38.0, "middle", "", x_name);
        for series in 0..self.series.len() {
            let of = |(x, values): &(f64, Vec<Option<f64>>)| {
                Some((x_of(*x), y_of((*values.get(series)?)?)))
            };
            let path: Vec<_> = points.iter().filter_map(of).collect();
            let coordinates: Vec<_> = path.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                body,
                "<polyline class=\"line l{series}\" points=\"{}\"/>",
                coordinates.join(" ")
            );
            for (x, y) in path {
                let _ = writeln!(
                    body,
                    "<circle class=\"s{series}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"
                );
            }
        }
        self.page(bottom + 54.0, &body)
    }

    fn page(&self, height: f64, body: &str) -> String {
        let mut head = String::new();
        text(&mut head, 16.0, 24.0, "start", "title", self.title);
        for (index, name) in self.series.iter().enumerate() {
            let x = LEFT + 110.0 * length(index);
            let _ = writeln!(
                head,
                "<rect class=\"s{index}\" x=\"{x}\" y=\"37\" width=\"12\" height=\"12\"/>"
            );
            text(&mut head, x + 18.0, 48.0, "start", "", name);
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}\n</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>\n{head}{body}</svg>\n",
            escaped(self.title)
        )
    }
}

fn largest<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    let largest = values.copied().fold(0.0, f64::max);
    if largest > 0.0 { largest } else { 1.0 }
}

fn length(count: usize) -> f64 {
    crate::numbers::number(count)
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, class: &str, said: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escaped(said)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLOT: Plot<'_> = Plot { title: "a < b & c", unit: "s", series: &["ours", "helm"] };

    #[test]
    fn the_longest_bar_fills_the_width_and_others_are_in_proportion() {
        let svg = PLOT.bars(&[("x".to_owned(), vec![10.0, 2.5])]);
        let full = WIDTH - LEFT - RIGHT;
        assert!(svg.contains(&format!("width=\"{full:.1}\"")), "{svg}");
        assert!(svg.contains(&format!("width=\"{:.1}\"", full / 4.0)), "{svg}");
        assert!(svg.contains("10.0 s") && svg.contains("2.50 s"), "{svg}");
    }

    #[test]
    fn text_is_escaped_and_both_modes_have_colours() {
        let svg = PLOT.bars(&[]);
        assert!(svg.contains("<title>a &lt; b &amp; c</title>"), "{svg}");
        assert!(svg.contains("prefers-color-scheme: dark"), "{svg}");
    }

    #[test]
    fn a_line_leaves_out_what_was_not_measured() {
        let points = [(100.0, vec![Some(4.0), Some(8.0)]), (1000.0, vec![Some(2.0), None])];
        let svg = PLOT.lines("releases", &points);
        let right = WIDTH - RIGHT;
        assert!(svg.contains(&format!("points=\"{LEFT:.1},174.0 {right:.1},229.0\"")), "{svg}");
        assert!(svg.contains(&format!("points=\"{LEFT:.1},64.0\"")), "{svg}");
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        assert!(!PLOT.lines("n", &[(5.0, vec![Some(0.0)])]).contains("NaN"));
        assert!(!PLOT.bars(&[("x".to_owned(), vec![0.0])]).contains("NaN"));
    }
}

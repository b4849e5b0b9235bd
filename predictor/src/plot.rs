//! Line charts as SVG: enough for curves, points, bars and bands, readable in any browser.

use std::fmt::Write as _;

/// Pixels of the whole, and of the margins left, right, top, bottom.
const SIZE: (f64, f64) = (680.0, 400.0);
const MARGIN: (f64, f64, f64, f64) = (58.0, 16.0, 34.0, 46.0);
/// Between two lines of the legend.
const LEGEND: f64 = 16.0;
/// Told apart also by those who see no red or no green (after Okabe and Ito).
pub const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c6d00", "#555555"];

/// One axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// From, to.
    pub range: (f64, f64),
}

/// What is drawn.
#[derive(Clone, Debug)]
pub enum Mark {
    /// Points joined by lines, with or without dots.
    Line { points: Vec<(f64, f64)>, dots: bool, bold: bool },
    /// The room between two curves: x, low, high.
    Band(Vec<(f64, f64, f64)>),
    /// From zero up: from, to, height.
    Bars(Vec<(f64, f64, f64)>),
    /// A line across, up at this x.
    Upright(f64),
    /// A line across at this y.
    Level(f64),
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// In the order of drawing: name for the legend (none if empty), colour, what.
    pub marks: Vec<(String, &'static str, Mark)>,
}

impl Chart {
    /// The chart as an SVG document.
    pub fn svg(&self) -> String {
        let (width, height) = SIZE;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
             <text x=\"{:.1}\" y=\"20\" text-anchor=\"middle\" font-size=\"14\">{}</text>\n",
            width / 2.0,
            escaped(&self.title)
        );
        self.frame(&mut out);
        self.marks.iter().for_each(|(_, colour, mark)| self.draw(&mut out, colour, mark));
        let named = self.marks.iter().filter(|(name, ..)| !name.is_empty());
        for (place, (name, colour, _)) in named.enumerate() {
            let (x, y) = (MARGIN.0 + 10.0, MARGIN.2 + 14.0 + place as f64 * LEGEND);
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{:.1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>\
                 <text x=\"{}\" y=\"{y:.1}\">{}</text>",
                y - 6.0,
                x + 20.0,
                escaped(name)
            );
        }
        out + "</svg>\n"
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let part = |value: f64, (from, to): (f64, f64)| {
            let part = (value - from) / (to - from);
            if part.is_finite() { part.clamp(0.0, 1.0) } else { 0.0 }
        };
        let (left, right, top, bottom) = MARGIN;
        let across = SIZE.0 - left - right;
        let up = SIZE.1 - top - bottom;
        (left + part(x, self.x.range) * across, SIZE.1 - bottom - part(y, self.y.range) * up)
    }

    fn frame(&self, out: &mut String) {
        let (left, right, top, bottom) = MARGIN;
        let (width, height) = SIZE;
        let _ = writeln!(
            out,
            "<rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#888\"/>",
            width - left - right,
            height - top - bottom
        );
        for tick in ticks(self.x.range) {
            let (x, y) = self.place(tick, self.y.range.0);
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
                y + 16.0
            );
        }
        for tick in ticks(self.y.range) {
            let (x, y) = self.place(self.x.range.0, tick);
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                x - 6.0,
                y + 4.0
            );
        }
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <text x=\"14\" y=\"{:.1}\" text-anchor=\"middle\" transform=\"rotate(-90 14 {:.1})\">{}</text>",
            width / 2.0,
            height - 10.0,
            escaped(&self.x.label),
            height / 2.0,
            height / 2.0,
            escaped(&self.y.label)
        );
    }

    fn draw(&self, out: &mut String, colour: &str, mark: &Mark) {
        let path = |points: &mut dyn Iterator<Item = (f64, f64)>| {
            let placed = points.map(|(x, y)| self.place(x, y));
            placed.map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
        };
        let _ = match mark {
            Mark::Line { points, dots, bold } => {
                let width = if *bold { 2.5 } else { 1.2 };
                let line = path(&mut points.iter().copied());
                let _ = writeln!(
                    out,
                    "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
                );
                for (x, y) in points.iter().filter(|_| *dots).map(|(x, y)| self.place(*x, *y)) {
                    let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
                }
                Ok(())
            }
            Mark::Band(points) => {
                let low = points.iter().map(|(x, low, _)| (*x, *low));
                let high = points.iter().rev().map(|(x, _, high)| (*x, *high));
                let around = path(&mut low.chain(high));
                writeln!(out, "<polygon points=\"{around}\" fill=\"{colour}\" fill-opacity=\"0.25\"/>")
            }
            Mark::Bars(bars) => bars.iter().try_for_each(|(from, to, height)| {
                let ((left, top), (right, base)) = (self.place(*from, *height), self.place(*to, 0.0));
                let (width, height) = ((right - left - 1.0).max(0.5), base - top);
                writeln!(
                    out,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>"
                )
            }),
            Mark::Upright(x) => {
                let line = path(&mut [(*x, self.y.range.0), (*x, self.y.range.1)].into_iter());
                writeln!(out, "<polyline points=\"{line}\" stroke=\"{colour}\" stroke-width=\"1.5\"/>")
            }
            Mark::Level(y) => {
                let line = path(&mut [(self.x.range.0, *y), (self.x.range.1, *y)].into_iter());
                writeln!(out, "<polyline points=\"{line}\" stroke=\"{colour}\" stroke-dasharray=\"5 4\"/>")
            }
        };
    }
}

/// Round numbers across a range, about six of them.
fn ticks((from, to): (f64, f64)) -> Vec<f64> {
    let wide = (to - from) / 6.0;
    if !(wide.is_finite() && wide > 0.0) {
        return vec![from];
    }
    let power = 10f64.powf(wide.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= wide).unwrap_or(wide);
    let first = (from / step).ceil() as i64;
    let last = (to / step).floor() as i64;
    // Rounded, so that 3 × 0.1 is shown as 0.3.
    (first..=last).map(|n| ((n as f64 * step) / power * 10.0).round() * power / 10.0).map(shortest).collect()
}

fn shortest(x: f64) -> f64 {
    (x * 1e9).round() / 1e9
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_stays_inside_and_is_escaped() {
        let axis = |label: &str, range| Axis { label: label.into(), range };
        let chart = Chart {
            title: "a < b & c".into(),
            x: axis("s", (0.0, 10.0)),
            y: axis("P", (0.0, 1.0)),
            marks: vec![
                (
                    "line".into(),
                    COLOURS[0],
                    Mark::Line { points: vec![(0.0, f64::NAN), (50.0, 2.0)], dots: true, bold: true },
                ),
                ("band".into(), COLOURS[1], Mark::Band(vec![(1.0, 0.2, 0.4), (2.0, 0.1, 0.9)])),
                (String::new(), COLOURS[2], Mark::Bars(vec![(1.0, 2.0, 0.5)])),
                (String::new(), COLOURS[3], Mark::Upright(3.0)),
                (String::new(), COLOURS[4], Mark::Level(0.7)),
            ],
        };
        let svg = chart.svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt; b &amp; c") && !svg.contains("NaN") && !svg.contains("inf"));
        assert!(svg.contains("<circle cx=\"664.0\" cy=\"34.0\""), "clamped to the frame: {svg}");
        assert_eq!(svg.matches("<text").count(), 1 + 6 + 6 + 2 + 2, "title, ticks, labels, legend: {svg}");
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(ticks((0.0, 1.0)), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(ticks((-3.0, 27.0)), [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]);
        assert_eq!(ticks((1.0, 1.0)), [1.0]);
    }
}

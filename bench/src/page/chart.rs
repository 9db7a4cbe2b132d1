//! A chart as inline SVG: axes, grid, lines or bars, a legend, and a title and description for those
//! who do not see it.

use std::fmt::Write as _;

use super::html::escape;

/// Size of a chart in its own units; on the page it is as wide as there is room.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;

/// Room for labels around the plot.
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 48.0;

/// So near to an end a label of the x axis ends, or begins, where its line is.
const LAST: f64 = 20.0;

/// Units of a letter at the size that a narrow screen gets.
const LETTER: f64 = 9.5;

/// Series have as many colours.
pub const COLOURS: usize = 8;

/// How numbers become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Linear,
    /// What is 0 or below lies at the axis' beginning.
    Log,
}

/// One axis.
#[derive(Debug, Clone)]
pub struct Axis {
    pub label: String,
    pub scale: Scale,
    pub min: f64,
    pub max: f64,
    /// Where there is a line, and what stands there.
    pub ticks: Vec<(f64, String)>,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    Line,
    /// From each point to the x of the next one.
    Bars,
}

/// Points of one thing.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    pub mark: Mark,
    pub points: Vec<(f64, f64)>,
}

/// See the module's first lines.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Unique on its page.
    pub id: String,
    pub title: String,
    pub description: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// From and to on the x axis, and what it is: drawn behind the series.
    pub shade: Option<(f64, f64, String)>,
}

impl Axis {
    /// A linear axis from 0 to a round number above `max`.
    pub fn from_zero(label: &str, max: f64) -> Axis {
        let max = if max > 0.0 { max } else { 1.0 };
        let step = round_step(max / 5.0);
        let count = (max / step).ceil() as u32;
        let ticks = (0..=count).map(|index| f64::from(index) * step);
        Axis {
            label: label.to_owned(),
            scale: Scale::Linear,
            min: 0.0,
            max: f64::from(count) * step,
            ticks: ticks.map(|tick| (tick, short(tick))).collect(),
        }
    }

    /// A logarithmic axis of whole decades around these.
    pub fn decades(label: &str, least: f64, greatest: f64) -> Axis {
        let least = if least > 0.0 { least } else { 0.001 };
        let from = least.log10().floor() as i32;
        let to = (greatest.max(least).log10().ceil() as i32).max(from + 1);
        let ticks = (from..=to).map(|decade| 10f64.powi(decade));
        Axis {
            label: label.to_owned(),
            scale: Scale::Log,
            min: 10f64.powi(from),
            max: 10f64.powi(to),
            ticks: ticks.map(|tick| (tick, short(tick))).collect(),
        }
    }

    /// From 0 at its beginning to 1 at its end.
    fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.min) / (self.max - self.min),
            Scale::Log if value <= 0.0 => 0.0,
            Scale::Log => (value / self.min).ln() / (self.max / self.min).ln(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= least * 0.999);
    factor.unwrap_or(10.0) * power
}

/// A number on an axis.
fn short(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        it if it >= 1e9 => (value / 1e9, " G"),
        it if it >= 1e6 => (value / 1e6, " M"),
        it if it >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let text = format!("{scaled:.6}");
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}

impl Chart {
    /// The SVG in a figure.
    pub fn html(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("a String takes everything");
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let id = escape(&self.id);
        let (title, description) = (escape(&self.title), escape(&self.description));
        writeln!(
            out,
            "<figure><svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n\
             <title id=\"{id}-title\">{title}</title>\n<desc id=\"{id}-desc\">{description}</desc>"
        )?;
        writeln!(out, "<text class=\"label\" x=\"4\" y=\"16\">{title}</text>")?;
        self.write_shade(out)?;
        self.write_axes(out)?;
        for (index, series) in self.series.iter().enumerate() {
            let colour = index % COLOURS;
            match series.mark {
                Mark::Line => self.write_line(out, series, colour)?,
                Mark::Bars => self.write_bars(out, series, colour)?,
            }
        }
        self.write_legend(out)?;
        writeln!(out, "</svg></figure>")
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn write_shade(&self, out: &mut String) -> std::fmt::Result {
        let Some((from, to, name)) = &self.shade else { return Ok(()) };
        let (from, to) = (self.x(*from), self.x(*to));
        if to - from < 1.0 {
            return Ok(());
        }
        let (width, height) = (to - from, HEIGHT - TOP - BOTTOM);
        writeln!(
            out,
            "<rect class=\"shade\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            from + 4.0,
            HEIGHT - BOTTOM - 6.0,
            escape(name)
        )
    }

    fn write_axes(&self, out: &mut String) -> std::fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, text) in &self.y.ticks {
            let y = self.y(*value);
            writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                escape(text)
            )?;
        }
        for (value, text) in &self.x.ticks {
            let x = self.x(*value);
            // The last one would stick out, the first one lie on a label of the other axis.
            let anchor = match x {
                _ if x > right - LAST => "end",
                _ if x < LEFT + LAST => "start",
                _ => "middle",
            };
            writeln!(
                out,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                bottom + 17.0,
                escape(text)
            )?;
        }
        writeln!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\n\
             <text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
             <text x=\"{right}\" y=\"16\" text-anchor=\"end\">{}</text>",
            HEIGHT - 10.0,
            escape(&self.x.label),
            escape(&self.y.label)
        )
    }

    fn write_line(&self, out: &mut String, series: &Series, colour: usize) -> std::fmt::Result {
        write!(out, "<polyline class=\"line c{colour}\" style=\"fill:none\" points=\"")?;
        for (x, y) in &series.points {
            write!(out, "{:.1},{:.1} ", self.x(*x), self.y(*y))?;
        }
        writeln!(out, "\"/>")
    }

    fn write_bars(&self, out: &mut String, series: &Series, colour: usize) -> std::fmt::Result {
        for pair in series.points.windows(2) {
            let [(from, height), (to, _)] = pair else { continue };
            let (from, to, top) = (self.x(*from), self.x(*to), self.y(*height));
            let (width, height) = ((to - from - 1.0).max(0.5), HEIGHT - BOTTOM - top);
            if height > 0.0 {
                writeln!(
                    out,
                    "<rect class=\"bar c{colour}\" style=\"stroke:none\" x=\"{from:.1}\" y=\"{top:.1}\" \
                     width=\"{width:.1}\" height=\"{height:.1}\"/>"
                )?;
            }
        }
        Ok(())
    }

    /// Below the axis: names of series, if there are several.
    fn write_legend(&self, out: &mut String) -> std::fmt::Result {
        if self.series.len() < 2 {
            return Ok(());
        }
        let mut x = 4.0;
        let y = HEIGHT - 12.0;
        for (index, series) in self.series.iter().enumerate() {
            let colour = index % COLOURS;
            writeln!(
                out,
                "<line class=\"line c{colour}\" x1=\"{x:.1}\" x2=\"{:.1}\" y1=\"{:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"label\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                x + 22.0,
                y - 4.0,
                y - 4.0,
                x + 27.0,
                escape(&series.name)
            )?;
            x += 43.0 + LETTER * series.name.chars().count() as f64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::html::page;
    use crate::page::wellformed;

    #[test]
    fn axes_end_at_round_numbers_and_hold_what_is_drawn() {
        let axis = Axis::from_zero("x", 348_069.0);
        assert_eq!((axis.max, axis.ticks.len()), (400_000.0, 5));
        assert_eq!(axis.ticks[2], (200_000.0, "200 k".to_owned()));
        assert_eq!(Axis::from_zero("x", 0.0).max, 1.0);
        let axis = Axis::decades("x", 0.03, 250.0);
        assert_eq!((axis.min, axis.max), (0.01, 1000.0));
        assert!((axis.place(0.01), axis.place(1000.0)) == (0.0, 1.0));
        assert!((axis.place(3.162_277) - 0.5).abs() < 0.01);
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!((0.0..=1.0).contains(&axis.place(odd)), "{odd}");
        }
    }

    #[test]
    fn a_chart_tells_those_who_do_not_see_it_what_it_shows() {
        let line = |name: &str| Series {
            name: name.to_owned(),
            mark: Mark::Line,
            points: vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 3.0)],
        };
        let chart = Chart {
            id: "a".to_owned(),
            title: "a < b & \"c\"".to_owned(),
            description: "what it is".to_owned(),
            x: Axis::from_zero("x", 2.0),
            y: Axis::from_zero("y", 3.0),
            series: vec![line("<one>"), line("two"), Series { mark: Mark::Bars, ..line("three") }],
            shade: Some((0.0, 1.0, "warm-up".to_owned())),
        };
        let html = page("t", &chart.html());
        let elements = wellformed::check(&html).expect("well-formed");
        let find = |name: &str| elements.iter().filter(|it| it.name == name).collect::<Vec<_>>();
        let labels = find("svg")[0].attribute("aria-labelledby").expect("labels").to_owned();
        assert_eq!(find("svg")[0].attribute("role"), Some("img"));
        for (name, text) in [("title", "a < b & \"c\""), ("desc", "what it is")] {
            let element = find(name).into_iter().find(|it| it.text == text).expect("a label");
            assert!(labels.split(' ').any(|id| Some(id) == element.attribute("id")));
        }
        assert_eq!(find("polyline").len(), 2);
        assert!(!html.contains("NaN"));
    }
}

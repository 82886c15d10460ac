//! Pictures of results, as SVG. Each says in itself what machine it is of.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 76.0;

/// Told apart by those who see fewer colours, too (Okabe and Ito).
const COLOURS: [&str; 6] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// Lines over two logarithmic axes.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Of which machine.
    pub machine: String,
    /// What goes to the right.
    pub x_label: String,
    /// What goes up.
    pub y_label: String,
    /// The lines.
    pub series: Vec<Series>,
}

impl Chart {
    /// The picture.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let across = Axis::over(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let up = Axis::over(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        let mut out = open(&self.title, &self.machine);
        for (value, at) in up.ticks() {
            line(&mut out, (LEFT, at), (WIDTH - RIGHT, at), "#ddd");
            text(&mut out, LEFT - 6.0, at + 4.0, "end", &short(value));
        }
        let mut xs: Vec<f64> = points().map(|point| point.0).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        for x in xs {
            let at = across.place(x);
            line(&mut out, (at, TOP), (at, HEIGHT - BOTTOM), "#eee");
            text(&mut out, at, HEIGHT - BOTTOM + 16.0, "middle", &short(x));
        }
        let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
        text(
            &mut out,
            middle,
            HEIGHT - BOTTOM + 36.0,
            "middle",
            &self.x_label,
        );
        text(&mut out, LEFT, TOP - 6.0, "start", &self.y_label);
        for (number, series) in self.series.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let places = series.points.iter();
            let places: Vec<(f64, f64)> = places
                .map(|(x, y)| (across.place(*x), up.place(*y)))
                .collect();
            for pair in places.windows(2) {
                line(&mut out, pair[0], pair[1], colour);
            }
            for (x, y) in places {
                let _ = writeln!(
                    out,
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#
                );
            }
            let y = TOP + 18.0 * number as f64;
            let x = WIDTH - RIGHT + 12.0;
            line(&mut out, (x, y), (x + 18.0, y), colour);
            text(&mut out, x + 24.0, y + 4.0, "start", &series.name);
        }
        out + "</svg>\n"
    }
}

/// Bars from left to right, one below the other, in groups.
#[derive(Clone, Debug)]
pub struct Bars {
    /// What it shows.
    pub title: String,
    /// Of which machine.
    pub machine: String,
    /// What the lengths are.
    pub unit: String,
    /// Names of the groups' members, by colour.
    pub members: Vec<String>,
    /// Each with a length for every member.
    pub groups: Vec<(String, Vec<f64>)>,
}

impl Bars {
    /// The picture.
    pub fn svg(&self) -> String {
        let left = 120.0;
        let lengths = self.groups.iter().flat_map(|(_, lengths)| lengths);
        let longest = lengths.copied().fold(f64::MIN_POSITIVE, f64::max);
        let scale = (WIDTH - RIGHT - left) / longest;
        let room = (HEIGHT - TOP - BOTTOM) / self.groups.len().max(1) as f64;
        let thick = (room - 6.0) / self.members.len().max(1) as f64;
        let mut out = open(&self.title, &self.machine);
        for (number, (name, lengths)) in self.groups.iter().enumerate() {
            let top = TOP + room * number as f64;
            text(&mut out, left - 8.0, top + room / 2.0 + 2.0, "end", name);
            for (member, length) in lengths.iter().enumerate() {
                let y = top + thick * member as f64;
                let wide = length * scale;
                let high = thick - 1.0;
                let fill = format!("fill=\"{}\"", COLOURS[member % COLOURS.len()]);
                let _ = writeln!(
                    out,
                    r#"<rect x="{left}" y="{y:.1}" width="{wide:.1}" height="{high:.1}" {fill}/>"#
                );
                text(
                    &mut out,
                    left + wide + 4.0,
                    y + thick / 2.0 + 4.0,
                    "start",
                    &short(*length),
                );
            }
        }
        for (number, member) in self.members.iter().enumerate() {
            let y = TOP + 18.0 * number as f64;
            let x = WIDTH - RIGHT + 60.0;
            line(
                &mut out,
                (x, y),
                (x + 18.0, y),
                COLOURS[number % COLOURS.len()],
            );
            text(&mut out, x + 24.0, y + 4.0, "start", member);
        }
        text(&mut out, left, HEIGHT - BOTTOM + 20.0, "start", &self.unit);
        out + "</svg>\n"
    }
}

/// A logarithmic axis.
struct Axis {
    least: f64,
    greatest: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Axis {
        let (mut least, mut greatest) = (f64::INFINITY, f64::MIN_POSITIVE);
        for value in values.filter(|value| *value > 0.0) {
            least = least.min(value);
            greatest = greatest.max(value);
        }
        Axis {
            least: least.min(greatest) / 1.15,
            greatest: greatest * 1.15,
            from,
            to,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value.max(self.least) / self.least).ln() / (self.greatest / self.least).ln();
        self.from + (self.to - self.from) * part
    }

    /// Round values with their places.
    fn ticks(&self) -> Vec<(f64, f64)> {
        let decades = self.least.log10().floor() as i32..=self.greatest.log10().ceil() as i32;
        let values = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|n| n * 10_f64.powi(decade)));
        let within = values.filter(|value| (self.least..=self.greatest).contains(value));
        within.map(|value| (value, self.place(value))).collect()
    }
}

fn open(title: &str, machine: &str) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    let _ = writeln!(
        out,
        r#"<text x="{}" y="18" text-anchor="middle" font-size="14">{}</text>"#,
        WIDTH / 2.0,
        escape(title)
    );
    let _ = writeln!(
        out,
        r##"<text x="8" y="{}" font-size="10" fill="#555">{}</text>"##,
        HEIGHT - 8.0,
        escape(machine)
    );
    out
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    let _ = writeln!(
        out,
        r#"<path d="M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}" stroke="{colour}" stroke-width="1.5"/>"#
    );
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        out,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
        escape(text)
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.3} M", value / 1e6)
            .replace(".000", "")
            .replace("00 M", " M"),
        value if value >= 1e4 => format!("{:.0} k", value / 1e3),
        value if value >= 10.0 => format!("{value:.0}"),
        value => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_names_its_machine_and_its_series_and_draws_each_point() {
        let series = |name: &str| Series {
            name: name.to_owned(),
            points: vec![(1.0, 10.0), (10.0, 1000.0)],
        };
        let chart = Chart {
            title: "a < b".to_owned(),
            machine: "this one".to_owned(),
            x_label: String::new(),
            y_label: String::new(),
            series: vec![series("one"), series("two")],
        };
        let svg = chart.svg();
        for part in ["a &lt; b", "this one", ">one<", ">two<"] {
            assert!(svg.contains(part), "{part}");
        }
        assert_eq!(svg.matches("<circle").count(), 4);
    }

    #[test]
    fn ten_times_as_much_is_as_far_everywhere() {
        let axis = Axis::over([1.0, 1000.0].into_iter(), 0.0, 100.0);
        let [a, b, c] = [1.0, 10.0, 100.0].map(|value| axis.place(value));
        assert!(((b - a) - (c - b)).abs() < 1e-9);
    }
}

//! The times as a picture: bars on a logarithmic scale, in SVG.

use std::fmt::Write as _;

use super::report::{Results, time};

/// Sizes in units of the picture.
const WIDTH: f64 = 980.0;
const LEFT: f64 = 400.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 24.0;
const TOP: f64 = 64.0;

/// The medians as bars, with the quartiles as lines across their ends.
pub(super) fn svg(results: &Results) -> String {
    let series = &results.measured;
    let least = series.iter().map(|one| one.quartiles.0).fold(f64::INFINITY, f64::min).max(1e-9).log10().floor();
    let most = series.iter().map(|one| one.quartiles.1).fold(1e-9, f64::max).log10().ceil().max(least + 1.0);
    let at = |seconds: f64| LEFT + (seconds.max(1e-9).log10() - least) / (most - least) * (WIDTH - LEFT - RIGHT);
    #[expect(clippy::cast_precision_loss, reason = "a few dozen rows")]
    let height = TOP + ROW * series.len() as f64 + 40.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"bold\">What isolation costs: medians, logarithmic scale</text>\n"
    );
    // Writing to a text cannot fail.
    let mut power = least;
    while power <= most {
        let (x, label) = (at(10_f64.powf(power)), time(10_f64.powf(power)));
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{label}</text>",
            height - 30.0,
            height - 12.0
        );
        power += 1.0;
    }
    let mut y = TOP;
    for one in series {
        let (middle, end, low, high) = (y + ROW / 2.0, at(one.median), at(one.quartiles.0), at(one.quartiles.1));
        let is_ours =
            ["task", "tool_call", "ambit_run", "load", "host_call"].iter().any(|own| one.name.starts_with(own));
        let fill = if is_ours { "#2563a8" } else { "#9aa5b1" };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\"/>\
             <line x1=\"{low:.1}\" y1=\"{middle:.1}\" x2=\"{high:.1}\" y2=\"{middle:.1}\" stroke=\"#111\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 8.0,
            middle + 4.0,
            escaped(&one.what),
            y + 4.0,
            (end - LEFT).max(1.0),
            ROW - 8.0,
            end.max(high) + 6.0,
            middle + 4.0,
            time(one.median)
        );
        y += ROW;
    }
    out.push_str("</svg>\n");
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

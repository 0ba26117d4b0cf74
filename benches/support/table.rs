//! What a bench prints: Markdown that can be quoted as it is.

use std::time::Duration;

/// Prints a heading, with what must be known to compare: the machine's processors.
pub(crate) fn heading(title: &str, command: &str) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("\n### {title}\n\n`{command}`, {cores} processors\n");
}

/// Prints a table; the first row is its head.
pub(crate) fn print(rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        println!("| {} |", cells.join(" | "));
        if number == 0 {
            let rules: Vec<String> = widths
                .iter()
                .enumerate()
                .map(|(column, width)| rule(column, *width))
                .collect();
            println!("| {} |", rules.join(" | "));
        }
    }
    println!();
}

/// Numbers, which all columns but the first hold, stand at the right.
fn rule(column: usize, width: usize) -> String {
    if column == 0 {
        "-".repeat(width)
    } else {
        format!("{}:", "-".repeat(width.saturating_sub(1)))
    }
}

/// A row of a table.
#[macro_export]
macro_rules! row {
    ($($cell:expr),+ $(,)?) => { vec![$($cell.to_string()),+] };
}

/// A claim, the ratio that was measured, and whether that is within the limit.
pub(crate) fn claim(text: &str, ratio: f64, holds: bool) {
    println!(
        "- {text}: {ratio:.2} ({})",
        if holds { "holds" } else { "does NOT hold" }
    );
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

/// Seconds.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Microseconds for each of `count`.
pub(crate) fn us_each(time: Duration, count: u64) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6 / count as f64)
}

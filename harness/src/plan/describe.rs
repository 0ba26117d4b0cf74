//! `--list` and `--plan`: the plan as text.

use std::collections::BTreeMap;
use std::fmt;

use super::{Plan, Skipped};
use crate::matrix::SkipKind;

/// How `--list` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListFormat {
    /// Names, and a line that counts them.
    Pretty,
    /// Names alone; what cargo-nextest asks for.
    Terse,
}

/// Writes every chosen case, also those that would be skipped, as libtest lists tests: `name: test`.
///
/// # Errors
/// Those of `out`.
pub fn list(plan: &Plan, format: ListFormat, out: &mut impl fmt::Write) -> fmt::Result {
    let jobs = plan.jobs.iter().map(|job| (job.scenario, Some(job.cell)));
    let skipped = plan
        .skipped
        .iter()
        .map(|skipped| (skipped.scenario, skipped.cell));
    let mut all: Vec<(u32, Option<u64>)> = jobs.chain(skipped).collect();
    all.sort_unstable();
    let mut name = String::new();
    for (scenario, cell) in &all {
        name.clear();
        plan.write_name(*scenario, *cell, &mut name);
        writeln!(out, "{name}: test")?;
    }
    if format == ListFormat::Pretty {
        if !all.is_empty() {
            writeln!(out)?;
        }
        writeln!(out, "{}, 0 benchmarks", count(all.len(), "test"))?;
    }
    Ok(())
}

/// Writes what would run, and what would not with the reasons: the text of `--plan`.
///
/// # Errors
/// Those of `out`.
pub fn describe(plan: &Plan, out: &mut impl fmt::Write) -> fmt::Result {
    let required = plan.skipped.iter().filter(|skipped| skipped.required).count();
    let skipped = plan.skipped.len() - required;
    write!(
        out,
        "{} would run, {skipped} would be skipped",
        count(plan.jobs.len(), "case")
    )?;
    if required > 0 {
        write!(out, ", {required} would be an error")?;
    }
    writeln!(out, ", {} filtered out", plan.filtered_out)?;

    let varied = plan.matrices.iter().filter(|matrix| matrix.has_variants());
    for (number, matrix) in varied.enumerate() {
        if number == 0 {
            writeln!(out, "\nvariants: {}", matrix.mode().name())?;
        }
        let narrowed: Vec<String> = matrix.narrowed_variants().into_iter().collect();
        if !narrowed.is_empty() {
            writeln!(out, "  {}: {}", matrix.name, narrowed.join(", "))?;
        }
    }

    let mut name = String::new();
    if !plan.jobs.is_empty() {
        writeln!(out, "\nwould run:")?;
    }
    for job in &plan.jobs {
        name.clear();
        let matrix = plan.matrix(*job);
        matrix.write_case_name(job.cell, &mut name);
        write!(out, "  {name}")?;
        for (known, of_all) in matrix.known_failures_of_some(job.cell) {
            let at_times = if known.intermittent { ", at times" } else { "" };
            let rule = &known.rule;
            let variants = rule.when.iter().filter(|(name, _)| !of_all && name.contains('.'));
            let variants: Vec<String> = variants.map(|(name, value)| format!("{name}={value}")).collect();
            let with = if variants.is_empty() { "" } else { " with " };
            let (variants, because) = (variants.join(", "), rule.because);
            write!(out, " (known failure{at_times}{with}{variants}: {because})")?;
        }
        writeln!(out)?;
    }
    for (title, required) in [("would be skipped", false), ("would be an error", true)] {
        let mut groups: BTreeMap<(SkipKind, &str), Vec<&Skipped>> = BTreeMap::new();
        for skipped in plan.skipped.iter().filter(|skipped| skipped.required == required) {
            let group = groups.entry((skipped.kind, &skipped.reason)).or_default();
            group.push(skipped);
        }
        for ((kind, reason), group) in groups {
            let kind = kind.name();
            let because = if required { ", required" } else { "" };
            writeln!(
                out,
                "\n{title} ({kind}{because}): {reason} ({})",
                count(group.len(), "case")
            )?;
            for skipped in group {
                name.clear();
                plan.write_name(skipped.scenario, skipped.cell, &mut name);
                writeln!(out, "  {name}")?;
            }
        }
    }
    Ok(())
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

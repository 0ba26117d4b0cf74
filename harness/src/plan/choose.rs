//! From matrices and a selection to jobs and skips.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Job, Plan};
use crate::matrix::{Matrix, Skip, SkipKind};
use crate::require::Require;
use crate::selection::{Ignored, Selection, case_filter};

impl Plan {
    /// Chooses among the cells of `matrices`, in their order. [`super::prepare`] also expands the matrices.
    ///
    /// # Panics
    /// With 2^32 matrices.
    pub fn new(matrices: Vec<Matrix>, selection: &Selection, require: &Require) -> Self {
        let mut plan = Self {
            jobs: Vec::with_capacity(matrices.len()),
            skipped: Vec::new(),
            filtered_out: 0,
            warnings: Vec::new(),
            not_found: false,
            matrices: Vec::new(),
        };
        let names = Names::new(selection);
        for (index, matrix) in matrices.iter().enumerate() {
            let scenario = u32::try_from(index).expect("fewer than 2^32 scenarios");
            let chooser = Chooser {
                scenario,
                matrix,
                selection,
                require,
                names: &names,
                ignored: ignored(matrix, selection),
            };
            let before = plan.jobs.len() + plan.skipped.len();
            let mut there = matrix.cells();
            if selection.chooses_tags(matrix.scenario.options.tags) {
                there = chooser.choose(&mut plan);
            }
            let chosen = (plan.jobs.len() + plan.skipped.len() - before) as u64;
            plan.filtered_out += there.max(1).saturating_sub(chosen);
        }
        plan.matrices = matrices;
        plan
    }
}

/// What the selection says about names.
pub(super) struct Names<'a> {
    exact: bool,
    filters: Vec<Cow<'a, str>>,
    skip: Vec<Cow<'a, str>>,
}

/// The cells of a matrix that a question is about.
enum Cells {
    All,
    /// Sorted, each once.
    These(Vec<u64>),
}

impl Cells {
    fn contains(&self, cell: u64) -> bool {
        match self {
            Self::All => true,
            Self::These(cells) => cells.binary_search(&cell).is_ok(),
        }
    }
}

impl<'a> Names<'a> {
    pub(super) fn new(selection: &'a Selection) -> Self {
        let filters = |texts: &'a [String]| texts.iter().map(|text| case_filter(text)).collect();
        Self {
            exact: selection.exact,
            filters: filters(&selection.filters),
            skip: filters(&selection.skip),
        }
    }

    /// The cells that whole names stand for: a case's, or a scenario's for all of its cases.
    fn exactly(matrix: &Matrix, names: &[Cow<'_, str>]) -> Cells {
        if names.iter().any(|name| *name == matrix.name) {
            return Cells::All;
        }
        let mut cells: Vec<u64> = names.iter().filter_map(|name| matrix.find(name)).collect();
        cells.sort_unstable();
        cells.dedup();
        Cells::These(cells)
    }
}

/// How a list of parts of names is asked of the cells of one matrix.
enum Parts {
    /// Every cell has one of the parts, or none has: no name is needed.
    Same(bool),
    /// It depends on the case's name.
    ByName,
}

impl Parts {
    fn new(matrix: &Matrix, parts: &[Cow<'_, str>]) -> Self {
        if parts.is_empty() {
            Self::Same(false)
        } else if parts.iter().any(|part| matrix.name.contains(&**part)) {
            Self::Same(true)
        } else {
            Self::ByName
        }
    }

    fn found(&self, parts: &[Cow<'_, str>], case_name: &str) -> bool {
        match self {
            Self::Same(found) => *found,
            Self::ByName => parts.iter().any(|part| case_name.contains(&**part)),
        }
    }
}

/// Why the cases of a scenario are ignored in this run, if they are.
fn ignored(matrix: &Matrix, selection: &Selection) -> Option<Arc<str>> {
    if selection.benchmarks_only {
        return Some(Arc::from("not a benchmark (`--bench`)"));
    }
    let reason = matrix.scenario.options.ignore?;
    (selection.ignored == Ignored::Skip).then(|| Arc::from(reason))
}

struct Chooser<'a> {
    scenario: u32,
    matrix: &'a Matrix,
    selection: &'a Selection,
    require: &'a Require,
    names: &'a Names<'a>,
    /// The reason of the cases that are ignored, where those are skipped.
    ignored: Option<Arc<str>>,
}

impl Chooser<'_> {
    /// Returns among how many cells it chose.
    fn choose(&self, plan: &mut Plan) -> u64 {
        let mut there = self.matrix.cells();
        let (matrix, names) = (self.matrix, self.names);
        let mut candidates = Cells::All;
        let mut filter = Parts::Same(true);
        let mut skip = Parts::Same(false);
        let mut skipped_cells = Cells::These(Vec::new());
        if names.exact {
            skipped_cells = Names::exactly(matrix, &names.skip);
            if !names.filters.is_empty() {
                candidates = Names::exactly(matrix, &names.filters);
            }
        } else {
            skip = Parts::new(matrix, &names.skip);
            if !names.filters.is_empty() {
                filter = Parts::new(matrix, &names.filters);
            }
        }
        let Some(empty) = matrix.empty() else {
            if let Some(last_failed) = &self.selection.last_failed {
                candidates = self.among(last_failed.iter().map(String::as_str), candidates);
            }
            if matches!(candidates, Cells::All)
                && let Some(cells) = matrix.thinned()
            {
                there = cells.len() as u64;
                candidates = Cells::These(cells);
            }
            let needs_name = self.selection.shard.is_some()
                || matches!(filter, Parts::ByName)
                || matches!(skip, Parts::ByName);
            let mut name = String::new();
            let mut offer = |cell| {
                if needs_name {
                    name.clear();
                    matrix.write_case_name(cell, &mut name);
                }
                if filter.found(&names.filters, &name)
                    && !skip.found(&names.skip, &name)
                    && !skipped_cells.contains(cell)
                    && self.in_shard(&name)
                {
                    self.classify(cell, plan);
                }
            };
            match candidates {
                Cells::All => (0..matrix.cells()).for_each(offer),
                Cells::These(cells) => cells.into_iter().for_each(&mut offer),
            }
            return there;
        };

        let name = &matrix.name;
        let last_failed = self.selection.last_failed.as_ref();
        if matches!(candidates, Cells::All)
            && filter.found(&names.filters, name)
            && !skip.found(&names.skip, name)
            && !matches!(skipped_cells, Cells::All)
            && last_failed.is_none_or(|failed| failed.contains(name))
            && self.in_shard(name)
        {
            // Required where everything is: no single name stands for what is missing here.
            let required = *self.require == Require::All;
            if !required || self.selection.ignored != Ignored::Only {
                plan.skip(self.scenario, None, empty, required);
            }
        }
        there
    }

    /// Those of `cells` that have one of the names.
    fn among<'n>(&self, names: impl Iterator<Item = &'n str>, cells: Cells) -> Cells {
        let mut found: Vec<u64> = names
            .filter_map(|name| self.matrix.find(name))
            .filter(|cell| cells.contains(*cell))
            .collect();
        found.sort_unstable();
        found.dedup();
        Cells::These(found)
    }

    fn in_shard(&self, case_name: &str) -> bool {
        let shard = self.selection.shard;
        shard.is_none_or(|shard| shard.contains(case_name))
    }

    /// Runs, is skipped, or is left out because `--ignored` asks for what would not run otherwise.
    fn classify(&self, cell: u64, plan: &mut Plan) {
        let scenario = self.scenario;
        let ignore = self.matrix.scenario.options.ignore.is_some();
        if let Some(reason) = &self.ignored {
            let skip = Skip {
                kind: SkipKind::Ignored,
                reason: Arc::clone(reason),
            };
            return plan.skip(scenario, Some(cell), skip, false);
        }
        let left_out = !ignore && self.selection.ignored == Ignored::Only;
        match self.matrix.skip_reason(cell) {
            Some(skip) => match self.required(cell, &skip) {
                Some(reason) if !left_out => plan.skip(scenario, Some(cell), Skip { reason, ..skip }, true),
                Some(_) => {}
                None => plan.skip(scenario, Some(cell), skip, false),
            },
            None if !left_out => plan.jobs.push(Job { scenario, cell }),
            None => {}
        }
    }

    /// The reason of the first value that is not available and must be.
    fn required(&self, cell: u64, skip: &Skip) -> Option<Arc<str>> {
        if skip.kind != SkipKind::Unavailable || *self.require == Require::Nothing {
            return None;
        }
        let mut unavailable = self.matrix.unavailable_values(cell);
        let (_, reason) = unavailable.find(|(value, _)| self.require.covers(&value.label))?;
        Some(Arc::clone(reason))
    }
}

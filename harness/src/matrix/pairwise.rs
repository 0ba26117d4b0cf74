//! A part of the cells that has every pair of values: a covering array of strength two, for `--variants pairwise`.
//!
//! Greedy, one cell after another: the first pair that no cell has yet, then for each other axis the value that
//! brings most new pairs (Cohen et al., "The AETG System", 1997). Exclusions are kept to by search, so that a pair
//! is left out only where no cell that runs can have it. Always the same cells for the same matrix; the product
//! is never gone through.
//!
//! Knows kinds, plain values and variants as variables alike; a variant is there where its kind is.

use super::Matrix;
use crate::variant::Whole;

/// Something that is chosen for a cell.
struct Variable {
    axis: usize,
    /// Of a variant: the kind's position on the axis, and which of the variants that are expanded.
    of: Option<(usize, usize)>,
    /// How many values there are.
    values: usize,
    /// Those that can be chosen in a cell that runs, in order.
    usable: Vec<usize>,
}

/// A value of each variable; `None` where it is not chosen, or not there.
type Row = Vec<Option<usize>>;

/// Values that no cell that runs has together: variable and value. A kind stands before its variants.
type Clause = Vec<(usize, usize)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pair {
    /// No cell has it yet.
    Open,
    Covered,
    /// No cell that runs can have it.
    Impossible,
}

impl Matrix {
    /// Cells, sorted: with every pair of values that a cell that runs can have, in such a cell, and one cell at least
    /// for each other value, which tells why it does not run.
    pub(super) fn pairwise(&self) -> Vec<u64> {
        let model = Model::new(self);
        let mut rows = model.cover();
        model.add_missing(&mut rows);
        let mut cells: Vec<u64> = rows.iter().map(|row| model.cell(row)).collect();
        cells.sort_unstable();
        cells.dedup();
        cells
    }

    /// Whether a value can be in a cell that runs, as far as it alone tells.
    fn is_usable(&self, axis: usize, position: usize) -> bool {
        let unmet = |(of, reasons): &(usize, Vec<_>)| *of == axis && Option::is_some(&reasons[position]);
        let variants = self.variants.as_ref();
        self.unavailable[axis][position].is_none()
            && !self.requires.iter().any(unmet)
            && variants.is_none_or(|variants| variants.skip(axis, position).is_none())
    }
}

struct Model<'a> {
    matrix: &'a Matrix,
    /// The axes, in order, then the variants of their kinds.
    variables: Vec<Variable>,
    clauses: Vec<Clause>,
}

impl<'a> Model<'a> {
    fn new(matrix: &'a Matrix) -> Self {
        let mut variables: Vec<Variable> = Vec::new();
        for (axis, values) in matrix.axes.iter().enumerate() {
            let values = values.values.len();
            let usable = (0..values).filter(|&position| matrix.is_usable(axis, position));
            variables.push(Variable {
                axis,
                of: None,
                values,
                usable: usable.collect(),
            });
        }
        for axis in 0..matrix.axes.len() {
            for position in 0..variables[axis].values {
                let kind = matrix
                    .variants
                    .as_ref()
                    .and_then(|variants| variants.kind(axis, position));
                let expanded = kind.iter().flat_map(|kind| kind.expanded()).enumerate();
                variables.extend(expanded.map(|(number, settled)| Variable {
                    axis,
                    of: Some((position, number)),
                    values: settled.values.len(),
                    usable: (0..settled.values.len()).collect(),
                }));
            }
        }
        let mut model = Self {
            matrix,
            variables,
            clauses: Vec::new(),
        };
        model.clauses = model.clauses();
        model
    }

    fn clauses(&self) -> Vec<Clause> {
        let mut clauses = Vec::new();
        for rule in &self.matrix.exclude {
            let kinds = rule.when.iter().map(|&(axis, position)| (axis, position));
            let mut partial: Vec<Clause> = vec![kinds.collect()];
            for is in &rule.variants {
                let clauses = partial.into_iter();
                partial = clauses
                    .flat_map(|clause| self.with_variant(&clause, is.axis, is.variant, is.value))
                    .collect();
            }
            clauses.extend(partial);
        }
        let unsuited = self.matrix.unsuited.iter();
        clauses.extend(unsuited.map(|unsuited| unsuited.kinds.to_vec()));
        clauses
    }

    /// The clause with one more thing in it, that a parameter has a variant: one for each kind that can have it.
    fn with_variant(&self, clause: &Clause, axis: usize, variant: &str, value: &str) -> Vec<Clause> {
        let Some(variants) = &self.matrix.variants else {
            return Vec::new();
        };
        let said = clause
            .iter()
            .find(|(variable, _)| *variable == axis)
            .map(|(_, kind)| *kind);
        let kinds = (0..self.variables[axis].values).filter(|&kind| said.is_none_or(|said| said == kind));
        let mut found = Vec::new();
        for position in kinds {
            let Some(kind) = variants.kind(axis, position) else {
                continue;
            };
            // Several where each node has one of its own.
            for settled in kind.axes.iter().filter(|settled| settled.name == variant) {
                let mut more = clause.clone();
                if said.is_none() {
                    more.insert(0, (axis, position));
                }
                if settled.nodes.values().any(|given| given == value) {
                    found.push(more);
                    continue;
                }
                match &settled.whole {
                    Whole::Expanded => {
                        let number = kind.expanded().position(|other| std::ptr::eq(other, settled));
                        let variable = number.and_then(|number| self.variant(axis, position, number));
                        let value = settled.values.iter().position(|known| known == value);
                        if let (Some(variable), Some(value)) = (variable, value) {
                            more.push((variable, value));
                            found.push(more);
                        }
                    }
                    Whole::Is(own, _) if own == value => found.push(more),
                    _ => {}
                }
            }
        }
        found
    }

    /// The variable of a variant.
    fn variant(&self, axis: usize, kind: usize, number: usize) -> Option<usize> {
        let mut variables = self.variables.iter();
        variables.position(|variable| variable.axis == axis && variable.of == Some((kind, number)))
    }

    /// Whether the variable is there, as far as kinds are chosen; `None` where its kind is not.
    fn is_there(&self, variable: usize, row: &Row) -> Option<bool> {
        let Variable { axis, of, .. } = self.variables[variable];
        match of {
            None => Some(true),
            Some((kind, _)) => row[axis].map(|chosen| chosen == kind),
        }
    }

    /// Puts a value into the row, and for a variant its kind. Returns whether both are free or the same.
    fn put(&self, row: &mut Row, variable: usize, value: usize) -> bool {
        let Variable { axis, of, .. } = self.variables[variable];
        let mut free = |at: usize, value| *row[at].get_or_insert(value) == value;
        let kind_fits = of.is_none_or(|(kind, _)| free(axis, kind));
        kind_fits && free(variable, value)
    }

    fn cover(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        // Where a parameter has no kind that could run, no cell runs.
        if self.variables.iter().any(|variable| variable.usable.is_empty()) {
            return rows;
        }
        let mut pairs = Pairs::new(&self.variables);
        for first in 0..self.variables.len() {
            for second in first + 1..self.variables.len() {
                for &one in &self.variables[first].usable {
                    for &other in &self.variables[second].usable {
                        if *pairs.of(first, one, second, other) != Pair::Open {
                            continue;
                        }
                        let mut row = vec![None; self.variables.len()];
                        let fits = self.put(&mut row, first, one) && self.put(&mut row, second, other);
                        if !fits || !self.is_usable(&row) || !self.can_run(&mut row) {
                            *pairs.of(first, one, second, other) = Pair::Impossible;
                            continue;
                        }
                        self.fill(&mut row, &mut pairs);
                        pairs.cover(&row);
                        rows.push(row);
                    }
                }
            }
        }
        rows
    }

    /// Whether what is chosen is usable, value for value.
    fn is_usable(&self, row: &Row) -> bool {
        let mut chosen = self.variables.iter().zip(row);
        chosen
            .all(|(variable, value)| value.is_none_or(|value| variable.usable.binary_search(&value).is_ok()))
    }

    /// Chooses the rest: of each variable the value with most new pairs that leaves a cell that runs.
    fn fill(&self, row: &mut Row, pairs: &mut Pairs) {
        for variable in 0..self.variables.len() {
            if row[variable].is_some() || self.is_there(variable, row) == Some(false) {
                continue;
            }
            let gain = |value: usize, pairs: &mut Pairs| {
                let others = row.iter().enumerate();
                let open = others.filter(|(other, chosen)| {
                    chosen.is_some_and(|chosen| {
                        *other != variable && *pairs.of(variable, value, *other, chosen) == Pair::Open
                    })
                });
                open.count()
            };
            let usable = &self.variables[variable].usable;
            let mut order: Vec<(usize, usize)> = Vec::new();
            let mut best: Option<(usize, usize)> = None;
            for &value in usable {
                let gain = gain(value, pairs);
                if !self.clauses.is_empty() {
                    order.push((gain, value));
                } else if best.is_none_or(|(most, _)| gain > most) {
                    best = Some((gain, value));
                }
            }
            order.sort_by_key(|(gain, _)| std::cmp::Reverse(*gain));
            for (_, value) in best.into_iter().chain(order) {
                row[variable] = Some(value);
                if self.can_run(row) {
                    break;
                }
                row[variable] = None;
            }
        }
    }

    /// Whether the rest can be chosen such that no clause holds. Leaves the row as it was.
    fn can_run(&self, row: &mut Row) -> bool {
        let mut branch: Option<usize> = None;
        for clause in &self.clauses {
            let is_false = |&(variable, value): &(usize, usize)| {
                self.is_there(variable, row) == Some(false)
                    || row[variable].is_some_and(|chosen| chosen != value)
            };
            if clause.iter().any(is_false) {
                continue;
            }
            match clause.iter().find(|(variable, _)| row[*variable].is_none()) {
                None => return false,
                Some((variable, _)) => {
                    branch.get_or_insert(*variable);
                }
            }
        }
        let Some(variable) = branch else {
            return true;
        };
        // A value that no clause names makes nothing worse.
        let named = |value: usize| {
            self.clauses
                .iter()
                .flatten()
                .any(|literal| *literal == (variable, value))
        };
        let usable = &self.variables[variable].usable;
        let free = usable.iter().copied().find(|value| !named(*value));
        let values = match free {
            Some(value) => vec![value],
            None => usable.clone(),
        };
        let found = values.into_iter().any(|value| {
            row[variable] = Some(value);
            self.can_run(row)
        });
        row[variable] = None;
        found
    }

    /// Adds a row for each value that none has, one that runs where there can be one.
    fn add_missing(&self, rows: &mut Vec<Row>) {
        let model = rows.first().cloned();
        let mut seen: Vec<Vec<bool>> = self
            .variables
            .iter()
            .map(|variable| vec![false; variable.values])
            .collect();
        let note = |seen: &mut Vec<Vec<bool>>, row: &Row| {
            for (seen, value) in seen.iter_mut().zip(row) {
                if let Some(value) = value {
                    seen[*value] = true;
                }
            }
        };
        rows.iter().for_each(|row| note(&mut seen, row));
        for variable in 0..self.variables.len() {
            let Variable { axis, of, .. } = self.variables[variable];
            // The variants of a kind that cannot run would all be skipped for the kind.
            if of.is_some_and(|(kind, _)| !self.variables[axis].usable.contains(&kind)) {
                continue;
            }
            for value in 0..self.variables[variable].values {
                if seen[variable][value] {
                    continue;
                }
                let mut row = vec![None; self.variables.len()];
                self.put(&mut row, variable, value);
                let runs = self.is_usable(&row) && self.can_run(&mut row);
                self.complete(&mut row, model.as_ref(), runs);
                note(&mut seen, &row);
                rows.push(row);
            }
        }
    }

    /// Chooses the rest as in a row that runs, or the first that can be.
    fn complete(&self, row: &mut Row, model: Option<&Row>, runs: bool) {
        for variable in 0..self.variables.len() {
            if row[variable].is_some() || self.is_there(variable, row) == Some(false) {
                continue;
            }
            let wanted = model.and_then(|model| model[variable]);
            let usable = self.variables[variable].usable.iter().copied();
            for value in wanted.into_iter().chain(usable) {
                row[variable] = Some(value);
                if !runs || self.can_run(row) {
                    break;
                }
            }
            row[variable].get_or_insert(0);
        }
    }

    /// The cell of a row, in which everything is chosen that is there.
    fn cell(&self, row: &Row) -> u64 {
        let mut cell = 0;
        for axis in 0..self.matrix.axes.len() {
            let position = row[axis].unwrap_or(0);
            let mut place = position as u64;
            if let Some(variants) = &self.matrix.variants {
                let own = self.variables.iter().zip(row);
                let own = own.filter(|(variable, _)| {
                    variable.axis == axis && variable.of.is_some_and(|(kind, _)| kind == position)
                });
                let expansion = own.fold(0, |expansion, (variable, value)| {
                    expansion * variable.values as u64 + value.unwrap_or(0) as u64
                });
                place = variants.start(axis, position) + expansion;
            }
            cell += place * self.matrix.strides[axis];
        }
        cell
    }
}

/// What became of each pair of values.
struct Pairs {
    /// For each pair of variables, the earlier one's values times the later one's.
    tables: Vec<Vec<Pair>>,
    values: Vec<usize>,
}

impl Pairs {
    fn new(variables: &[Variable]) -> Self {
        let values: Vec<usize> = variables.iter().map(|variable| variable.values).collect();
        let mut tables = Vec::new();
        for (second, of) in values.iter().enumerate() {
            tables.extend(values[..second].iter().map(|other| vec![Pair::Open; other * of]));
        }
        Self { tables, values }
    }

    fn of(&mut self, first: usize, one: usize, second: usize, other: usize) -> &mut Pair {
        if first > second {
            return self.of(second, other, first, one);
        }
        let table = second * (second - 1) / 2 + first;
        &mut self.tables[table][one * self.values[second] + other]
    }

    fn cover(&mut self, row: &Row) {
        for (second, other) in row.iter().enumerate() {
            let Some(other) = *other else { continue };
            for (first, one) in row[..second].iter().enumerate() {
                if let Some(one) = *one {
                    *self.of(first, one, second, other) = Pair::Covered;
                }
            }
        }
    }
}

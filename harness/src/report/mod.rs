//! From events to reports.
//!
//! Every report is a function of the run's events. [`log`] keeps them and [`recording`] reads them; a
//! [`suite`] is its runs, their [`plan`] and the [`aggregate`] of verdicts, one [`case`] report a case.
//! [`junit`] (parts of it at a time, `ordered`), [`html`] and [`console`] ([`pretty`], [`terse`], [`json`])
//! render that. [`Reporter`] does so while a run goes on, with [`live`] status lines on a terminal;
//! [`rebuild()`] does it afterwards. None of them knows how cases are run.

pub mod aggregate;
mod bytes;
pub mod case;
pub mod console;
pub(crate) mod detached;
mod errors;
pub mod file;
pub mod html;
pub mod json;
mod json_bytes;
pub mod junit;
mod line;
pub mod live;
pub mod log;
pub(crate) mod opening;
mod ordered;
mod output;
pub mod plan;
pub mod pretty;
mod rebuild;
pub mod recording;
mod reporter;
pub mod suite;
pub mod terse;
pub mod totals;

pub use aggregate::Aggregate;
pub use console::{FormatKind, Style};
pub use errors::ReportError;
pub use log::EventLog;
pub use opening::ReporterOptions;
pub use output::ConsoleOptions;
pub use rebuild::{RebuildOptions, rebuild};
pub use recording::{ReadError, Recording, read};
pub use reporter::{Finished, Progress, Reporter};
pub use totals::{Status, Totals};

#[cfg(test)]
pub(crate) mod fixture;

//! The names of addresses: function, file and line, from the debug information of what is mapped. Without any, from
//! the table of functions.

use std::collections::BTreeMap;

use addr2line::Loader;

use crate::probe::{Address, Stacks};

/// A frame of a stack. One address has several where functions were inlined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// As in the source; where it is not known, file and offset.
    pub(crate) function: String,
    /// The path, as the compiler had it.
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// Names addresses of one process; what it read of a file it keeps.
#[derive(Default)]
pub(crate) struct Symbols {
    loaders: BTreeMap<String, Option<Loader>>,
}

impl Symbols {
    /// Innermost first.
    pub(crate) fn name(&mut self, stacks: &Stacks, stack: &[Address]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for address in stack {
            let module = address
                .module
                .and_then(|module| stacks.modules.get(module as usize));
            match module {
                Some(path) => self.frames(path, address.offset, &mut frames),
                None => frames.push(Frame {
                    function: format!("{:#x}", address.offset),
                    ..Frame::default()
                }),
            }
        }
        frames
    }

    fn frames(&mut self, path: &str, offset: u64, frames: &mut Vec<Frame>) {
        let before = frames.len();
        let loader = self.loaders.entry(path.to_owned()).or_insert_with(|| {
            // This process runs the same program, also where its file was replaced or is gone.
            let own = std::fs::read_link("/proc/self/exe").is_ok_and(|own| own.as_os_str() == path);
            Loader::new(if own { "/proc/self/exe" } else { path }).ok()
        });
        if let Some(loader) = loader {
            if let Ok(mut found) = loader.find_frames(offset) {
                while let Ok(Some(frame)) = found.next() {
                    let Some(function) = frame.function else { continue };
                    let place = frame.location;
                    frames.push(Frame {
                        function: function.demangle().map(Into::into).unwrap_or_default(),
                        file: place
                            .as_ref()
                            .and_then(|it| it.file)
                            .unwrap_or_default()
                            .to_owned(),
                        line: place.as_ref().and_then(|it| it.line).unwrap_or(0),
                        column: place.as_ref().and_then(|it| it.column).unwrap_or(0),
                    });
                }
            }
            if frames.len() == before
                && let Some(symbol) = loader.find_symbol(offset)
            {
                let function = addr2line::demangle_auto(symbol.into(), None).into_owned();
                frames.push(Frame {
                    function,
                    ..Frame::default()
                });
            }
        }
        if frames.len() == before {
            let file = path.rsplit('/').next().unwrap_or(path);
            frames.push(Frame {
                function: format!("{file}+{offset:#x}"),
                ..Frame::default()
            });
        }
        for frame in &mut frames[before..] {
            frame.function = without_hash(&frame.function).to_owned();
        }
    }
}

/// A name without the `::h0123456789abcdef` that the compiler adds.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((rest, hash)) if hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()) => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_goes_and_nothing_else() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::hello"), "a::hello");
        assert_eq!(without_hash("h"), "h");
    }
}

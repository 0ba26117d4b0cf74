//! XML walked from tag to tag and copied but for what is changed.
//!
//! CDATA sections are passed over whole and attributes go from quote to quote, so nothing in them is taken for a
//! tag. It reads what `junit-report` writes: elements, attributes in double quotes that one space comes before,
//! CDATA and a declaration. Anything else is an error.

use super::RenderError;
use super::text::{line_reference, push_attribute};

const CDATA: &str = "<![CDATA[";

/// An element that nobody changes, of which there are many: its tags are passed over.
const PLAIN: (&[u8], &[u8]) = (b"<system-out>", b"</system-out>");

/// Line breaks and tabs: in attributes they are not what they are elsewhere.
const LINES: [u8; 3] = *b"\n\r\t";

/// Which bytes cannot be in a name: a table, because every byte of every name is asked for.
static ENDS_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let (ends, mut at) = (b" /=><\"", 0);
    while at < ends.len() {
        table[ends[at] as usize] = true;
        at += 1;
    }
    table
};

/// What was come to.
pub(super) enum Token<'a> {
    Start(Tag<'a>),
    End(EndTag<'a>),
}

/// `<name attribute="value">` or `<name/>`.
pub(super) struct Tag<'a> {
    pub(super) name: &'a str,
    start: usize,
    /// Where `>` or `/>` is.
    close: usize,
    is_empty: bool,
}

/// `</name>`.
pub(super) struct EndTag<'a> {
    pub(super) name: &'a str,
    start: usize,
}

/// See the module.
pub(super) struct Walk<'a> {
    text: &'a str,
    at: usize,
    /// Up to where the text is in `out`, or is left out of it.
    copied: usize,
    /// Those of the last tag.
    attributes: Vec<Attribute<'a>>,
    out: Vec<u8>,
}

/// ` name="value"`.
struct Attribute<'a> {
    name: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Walk<'a> {
    /// `more` is about how many bytes are going to be added.
    pub(super) fn new(text: &'a str, more: usize) -> Self {
        Self {
            text,
            at: 0,
            copied: 0,
            attributes: Vec::new(),
            out: Vec::with_capacity(text.len() + more),
        }
    }

    /// The next tag, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Token<'a>>, RenderError> {
        let bytes = self.text.as_bytes();
        while self.at < bytes.len() {
            if bytes[self.at] != b'<' {
                self.at = self.find('<', self.at).unwrap_or(bytes.len());
                continue;
            }
            match bytes.get(self.at + 1) {
                Some(b'!') => self.pass_over_cdata()?,
                Some(b'?') => self.at = self.place_of('>', self.at)? + 1,
                Some(b's') if bytes[self.at..].starts_with(PLAIN.0) => self.at += PLAIN.0.len(),
                Some(b'/') if bytes[self.at..].starts_with(PLAIN.1) => self.at += PLAIN.1.len(),
                Some(b'/') => return self.end_tag().map(|tag| Some(Token::End(tag))),
                _ => return self.tag().map(|tag| Some(Token::Start(tag))),
            }
        }
        Ok(None)
    }

    /// The whole text with its changes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.copy_until(self.text.len());
        self.out
    }

    /// Sets attributes of the last tag to other values, or adds them; the values are clean. Line breaks and tabs
    /// in the others become references: as they are, every reader makes spaces of them.
    pub(super) fn set(&mut self, tag: &Tag<'_>, set: &[(&str, String)]) {
        let is_set = |attribute: &str| set.iter().any(|(name, _)| *name == attribute);
        self.replace(tag, is_set, |out| {
            for (name, value) in set {
                push_attribute(out, name, value);
            }
        });
    }

    /// [`Walk::set`] where `write` appends the attributes, and `is_set` tells which of those that are there go.
    pub(super) fn replace(
        &mut self,
        tag: &Tag<'_>,
        is_set: impl Fn(&str) -> bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let attributes = std::mem::take(&mut self.attributes);
        let text = &self.text.as_bytes()[..tag.close];
        // Looking for one byte is quick, and nearly always the end of it.
        let has_lines = LINES.iter().any(|byte| text[tag.start..].contains(byte));
        for attribute in &attributes {
            if is_set(attribute.name) {
                self.copy_until(attribute.start);
                self.copied = attribute.end;
            } else if has_lines {
                let mut from = attribute.start;
                let is_line = |byte| LINES.contains(byte);
                while let Some(at) = text[from..attribute.end].iter().position(is_line) {
                    from += at + 1;
                    self.copy_until(from - 1);
                    self.out
                        .extend_from_slice(line_reference(text[from - 1]).as_bytes());
                    self.copied = from;
                }
            }
        }
        self.copy_until(tag.close);
        write(&mut self.out);
        self.attributes = attributes;
    }

    /// Writes something as the first thing within the last tag.
    pub(super) fn put_within(&mut self, tag: &Tag<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        self.copy_until(tag.close);
        self.copied = self.at;
        self.out.push(b'>');
        write(&mut self.out);
        if tag.is_empty {
            self.out.extend_from_slice(b"</");
            self.out.extend_from_slice(tag.name.as_bytes());
            self.out.push(b'>');
        }
    }

    /// Writes something before the end of an element.
    pub(super) fn put_before(&mut self, tag: &EndTag<'_>, write: impl FnOnce(&mut Vec<u8>)) {
        self.copy_until(tag.start);
        write(&mut self.out);
    }

    fn copy_until(&mut self, end: usize) {
        if self.copied < end {
            self.out
                .extend_from_slice(&self.text.as_bytes()[self.copied..end]);
            self.copied = end;
        }
    }

    fn find(&self, what: char, from: usize) -> Option<usize> {
        self.text.get(from..)?.find(what).map(|at| from + at)
    }

    fn place_of(&self, what: char, from: usize) -> Result<usize, RenderError> {
        self.find(what, from).ok_or(RenderError::Xml("it ends too early"))
    }

    fn pass_over_cdata(&mut self) -> Result<(), RenderError> {
        if !self.text[self.at..].starts_with(CDATA) {
            return Err(RenderError::Xml("there is `<!` without CDATA"));
        }
        let start = self.at + CDATA.len();
        let mut from = start;
        loop {
            let end = self.place_of('>', from)?;
            from = end + 1;
            if self.text.as_bytes()[start..end].ends_with(b"]]") {
                self.at = from;
                return Ok(());
            }
        }
    }

    fn end_tag(&mut self) -> Result<EndTag<'a>, RenderError> {
        let start = self.at;
        let end = self.name_end(start + 2);
        if self.text.as_bytes().get(end) != Some(&b'>') {
            return Err(RenderError::Xml("an end has more than a name"));
        }
        self.at = end + 1;
        let name = &self.text[start + 2..end];
        Ok(EndTag { name, start })
    }

    fn tag(&mut self) -> Result<Tag<'a>, RenderError> {
        let (text, bytes) = (self.text, self.text.as_bytes());
        let start = self.at;
        let mut at = self.name_end(start + 1);
        let name = &text[start + 1..at];
        self.attributes.clear();
        while bytes.get(at) == Some(&b' ') {
            let equals = self.name_end(at + 1);
            if !bytes[equals..].starts_with(b"=\"") {
                return Err(RenderError::Xml("an attribute has no value"));
            }
            let end = self.place_of('"', equals + 2)? + 1;
            self.attributes.push(Attribute {
                name: &text[at + 1..equals],
                start: at,
                end,
            });
            at = end;
        }
        let is_empty = bytes.get(at) == Some(&b'/');
        self.at = at + 1 + usize::from(is_empty);
        if name.is_empty() || bytes.get(self.at - 1) != Some(&b'>') {
            return Err(RenderError::Xml("a tag does not end"));
        }
        Ok(Tag {
            name,
            start,
            close: at,
            is_empty,
        })
    }

    /// Where the name that begins at `at` ends.
    fn name_end(&self, mut at: usize) -> usize {
        let bytes = self.text.as_bytes();
        while at < bytes.len() && !ENDS_NAME[bytes[at] as usize] {
            at += 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, RenderError> {
        let mut walk = Walk::new(text, 0);
        let mut names = Vec::new();
        while let Some(token) = walk.next()? {
            names.push(match token {
                Token::Start(tag) => tag.name.to_owned(),
                Token::End(tag) => format!("/{}", tag.name),
            });
        }
        assert_eq!(walk.finish(), text.as_bytes());
        Ok(names)
    }

    #[test]
    fn cdata_and_attributes_hold_no_tags() {
        let text =
            "<?xml version=\"1.0\"?><a b=\"> <c d='/>\"><![CDATA[]]]]><![CDATA[><e>]>]]>x<f g=\"\"/></a>\n";
        assert_eq!(names(text).unwrap(), ["a", "f", "/a"]);
        assert!(names("").unwrap().is_empty());
    }

    #[test]
    fn what_is_not_whole_is_an_error() {
        for text in [
            "<",
            "<a",
            "<a b",
            "<a b=",
            "<a b=\"",
            "<a b='c'>",
            "<a b=\"c\"",
            "<a b=\"c\"d=\"\">",
            "<a /b>",
            "</a",
            "</a b>",
            "<!-- -->",
            "<![CDATA[]>",
            "<![CDATA[>",
            "<![CDATA[]]",
            "<?xml",
            "<>",
            "<a/",
            "<a//>",
            "<a<b>",
        ] {
            assert!(names(text).is_err(), "{text}");
        }
    }

    #[test]
    fn attributes_are_set_added_and_keep_their_lines() {
        let mut walk = Walk::new("<a t=\"x t=\" time=\"1\" n=\"1\n2\t3\r\"/><b/>", 0);
        while let Some(token) = walk.next().unwrap() {
            let Token::Start(tag) = token else { panic!() };
            let set = [("time", "<\n".to_owned()), ("new", String::new())];
            walk.set(&tag, if tag.name == "a" { &set } else { &[] });
            walk.put_within(&tag, |out| out.extend_from_slice(b"<p/>"));
        }
        let text = String::from_utf8(walk.finish()).unwrap();
        assert_eq!(
            text,
            "<a t=\"x t=\" n=\"1&#xA;2&#x9;3&#xD;\" time=\"&lt;&#xA;\" new=\"\"><p/></a><b><p/></b>"
        );
    }
}

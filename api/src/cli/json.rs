//! Pretty-printed JSON that is safe to print on a terminal.

use std::io::{self, Write};

use serde_json::ser::{Formatter, PrettyFormatter};
use session_pipeline_host::fault::is_unsafe_for_terminal;

/// Escapes characters that JSON strings can contain but that control a terminal: DEL, C1 codes and
/// bidirectional overrides. A JSON parser decodes the same string.
#[derive(Default)]
pub(super) struct TerminalSafe(PrettyFormatter<'static>);

impl Formatter for TerminalSafe {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (index, c) in fragment
            .char_indices()
            .filter(|(_, c)| is_unsafe_for_terminal(*c))
        {
            let before = fragment.get(plain..index).unwrap_or_default();
            writer.write_all(before.as_bytes())?;
            // All of these characters are in the Basic Multilingual Plane.
            write!(writer, "\\u{:04x}", u32::from(c))?;
            plain = index + c.len_utf8();
        }
        let rest = fragment.get(plain..).unwrap_or_default();
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

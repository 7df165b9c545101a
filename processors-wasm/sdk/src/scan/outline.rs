//! The positions of all parts of one JSON value.
//!
//! A reader of a line asks for fields, then for fields of these, and so on. Without an outline, each
//! question scans the text of the value again.

/// The most parts of an outline: 1 MiB. A value with more parts has no outline, so that a hostile
/// line does not fill the memory of the guest.
const NODES_MAX: usize = 1 << 16;

/// A value or a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// Positions in bytes, from the beginning of the outermost value.
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// The number of nodes of the value, with itself and all of its parts.
    pub(crate) nodes: u32,
    /// Whether the value is a string with escapes.
    pub(crate) is_escaped: bool,
}

/// Receives the parts of an array or object, in order. All positions are in bytes.
pub(super) trait Visitor {
    /// A key, or a value without parts.
    fn leaf(&mut self, start: usize, end: usize, is_escaped: bool);
    /// The beginning of an array or object with parts.
    fn open(&mut self, start: usize);
    /// The end of the array or object that was opened last.
    fn close(&mut self, end: usize);
}

/// For values that are only skipped.
pub(super) struct NoOutline;

impl Visitor for NoOutline {
    #[inline(always)]
    fn leaf(&mut self, _: usize, _: usize, _: bool) {}

    #[inline(always)]
    fn open(&mut self, _: usize) {}

    #[inline(always)]
    fn close(&mut self, _: usize) {}
}

/// The outline of a value: its node, followed by those of its parts. The parts of an object are a
/// key and a value for each field.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    nodes: Vec<Node>,
    /// The nodes of the arrays and objects that are not closed yet.
    open: Vec<u32>,
    /// The position of the outermost value in its text.
    origin: usize,
    is_complete: bool,
}

impl Outline {
    /// Starts the outline of a value at this position.
    pub(super) fn begin(&mut self, origin: usize) {
        self.nodes.clear();
        self.open.clear();
        self.origin = origin;
        self.is_complete = true;
    }

    /// The nodes of the value. Empty if it has no outline.
    pub(super) fn nodes(&self) -> &[Node] {
        if self.is_complete { &self.nodes } else { &[] }
    }

    #[inline(always)]
    fn position(&self, at: usize) -> u32 {
        // A line that is too long for this has too many bytes for an outline.
        (at - self.origin) as u32
    }
}

impl Visitor for Outline {
    #[inline(always)]
    fn leaf(&mut self, start: usize, end: usize, is_escaped: bool) {
        self.is_complete &= self.nodes.len() < NODES_MAX && end - self.origin <= u32::MAX as usize;
        if self.is_complete {
            self.nodes.push(Node {
                start: self.position(start),
                end: self.position(end),
                nodes: 1,
                is_escaped,
            });
        }
    }

    #[inline(always)]
    fn open(&mut self, start: usize) {
        if self.is_complete {
            self.open.push(self.nodes.len() as u32);
            self.leaf(start, start, false);
        }
    }

    #[inline(always)]
    fn close(&mut self, end: usize) {
        if !self.is_complete {
            return;
        }
        let end = self.position(end);
        if let Some(first) = self.open.pop()
            && let nodes = self.nodes.len() as u32 - first
            && let Some(node) = self.nodes.get_mut(first as usize)
        {
            node.end = end;
            node.nodes = nodes;
        }
    }
}

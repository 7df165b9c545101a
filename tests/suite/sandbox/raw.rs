//! Handwritten guests: a core module in the WebAssembly text format, with the interface of the
//! contract.
//!
//! No toolchain produces components with invalid texts and lists, with host calls in an allocation,
//! or with eight memories. These guests define each byte. Such a guest records one row per session.
//! It misbehaves at sessions that are longer than [`QUIET`](super::QUIET).

use std::fmt::Write;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};

/// The address of the fixed data of a guest. Tests use the memory below it.
const BASE: u32 = 1024;

/// A handwritten guest. Its parts are in the WebAssembly text format. By default, it behaves well.
#[derive(Clone, Debug)]
pub struct RawGuest {
    /// The name in its manifest.
    pub name: &'static str,
    /// The table in its manifest.
    pub table: String,
    /// The names of the columns of the table: a number and a text.
    pub columns: [&'static str; 2],
    /// The table that it inserts into, if it is not `table`.
    pub writes_into: Option<String>,
    /// The exported memory.
    pub memory: &'static str,
    /// Additional fields of the module.
    pub fields: String,
    /// Code that runs when the host allocates `$size` bytes, before the allocation.
    pub realloc: String,
    /// Code that runs at a session that is longer than a quiet one.
    pub misbehave: String,
}

impl RawGuest {
    /// A guest that behaves well.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            table: "lines".to_owned(),
            columns: ["line", "text"],
            writes_into: None,
            memory: r#"(memory (export "memory") 4)"#,
            fields: String::new(),
            realloc: String::new(),
            misbehave: String::new(),
        }
    }

    /// The name and the component.
    pub fn component(&self) -> (&'static str, &'static [u8]) {
        (self.name, with_contract(&self.text()).leak())
    }

    fn text(&self) -> String {
        let mut image = Image::default();
        let described = self.put_manifest(&mut image);
        let table = image.text(self.writes_into.as_ref().unwrap_or(&self.table));
        let [text, text_bytes] = image.text("raw");
        // A row with the number 1 and a text.
        let values = image.put(8, &[2, 0, 1, 0, 4, 0, text, text_bytes]);
        let rows = image.put(4, &[values, 2]);
        // A successful result with one item.
        let summary = image.put(8, &[0, 0, 1, 0, 0, 0]);
        let mut data = String::new();
        for byte in &image.bytes {
            write!(data, "\\{byte:02x}").unwrap();
        }
        let Self {
            memory,
            fields,
            realloc,
            misbehave,
            ..
        } = self;
        let [table, table_bytes] = table;
        format!(
            r#"(module
              (import "session-pipeline:processor/records@1.0.0" "insert"
                (func $insert (param i32 i32 i32 i32)))
              (import "session-pipeline:processor/transcript@1.0.0" "read-lines"
                (func $read-lines (param i32 i32)))
              (import "session-pipeline:processor/log@1.0.0" "log"
                (func $log (param i32 i32 i32)))
              {memory}
              (global $top (mut i32) (i32.const 65536))
              (data (i32.const {BASE}) "{data}")
              (func (export "cabi_realloc")
                (param $old i32) (param $old-size i32) (param $align i32) (param $size i32)
                (result i32) (local $at i32)
                {realloc}
                (local.set $at (i32.and
                  (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
                  (i32.sub (i32.const 0) (local.get $align))))
                (global.set $top (i32.add (local.get $at) (local.get $size)))
                (local.get $at))
              (func (export "session-pipeline:processor/guest@1.0.0#describe")
                (param i32 i32) (result i32)
                (i32.const {described}))
              (func (export "session-pipeline:processor/guest@1.0.0#process")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (param $bytes i64)
                (param i32 i32 i32 i32) (result i32)
                (call $insert
                  (i32.const {table}) (i32.const {table_bytes}) (i32.const {rows}) (i32.const 1))
                (if (i64.gt_u (local.get $bytes) (i64.const 16)) (then {misbehave}))
                (i32.const {summary}))
              {fields})"#
        )
    }

    /// Adds the manifest that `describe` returns, and returns its address.
    fn put_manifest(&self, image: &mut Image) -> u32 {
        let mut columns = Vec::new();
        for (name, kind) in self.columns.iter().zip([1, 3]) {
            columns.extend(image.text(name));
            columns.push(kind);
        }
        let columns = image.put(4, &columns);
        let [table, table_bytes] = image.text(&self.table);
        let tables = image.put(4, &[table, table_bytes, 0, 0, 0, columns, 2]);
        let [name, name_bytes] = image.text(self.name);
        let [description, description_bytes] = image.text("Written by hand.");
        let manifest = [
            0,
            name,
            name_bytes,
            1,
            description,
            description_bytes,
            60,
            0,
            tables,
            1,
            0,
            0,
        ];
        image.put(4, &manifest)
    }
}

/// The memory of a guest from [`BASE`].
#[derive(Default)]
struct Image {
    bytes: Vec<u8>,
}

impl Image {
    fn put(&mut self, align: usize, words: &[u32]) -> u32 {
        let length = self.bytes.len().next_multiple_of(align);
        self.bytes.resize(length, 0);
        let bytes = words.iter().flat_map(|word| word.to_le_bytes());
        self.bytes.extend(bytes);
        BASE + u32::try_from(length).unwrap()
    }

    /// Adds a text and returns its address and length.
    fn text(&mut self, text: &str) -> [u32; 2] {
        let at = BASE + u32::try_from(self.bytes.len()).unwrap();
        self.bytes.extend(text.as_bytes());
        [at, u32::try_from(text.len()).unwrap()]
    }
}

/// The contract under the number of its first version. So these guests also show that the host runs
/// components that were built for it: a minor version only adds interfaces.
fn first_contract() -> tempfile::TempDir {
    let current = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/wit");
    let first = tempfile::tempdir().unwrap();
    for file in current.read_dir().unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("processor@1.1.0"), "{}", path.display());
        let text = text.replace("processor@1.1.0", "processor@1.0.0");
        std::fs::write(first.path().join(path.file_name().unwrap()), text).unwrap();
    }
    first
}

/// Creates a component from a core module that implements the first version of the contract.
pub fn with_contract(module: &str) -> Vec<u8> {
    let wit = first_contract();
    let mut resolve = wit_parser::Resolve::default();
    let (package, _) = resolve.push_dir(wit.path()).unwrap();
    let world = resolve.select_world(&[package], Some("processor")).unwrap();
    let mut bytes = wat::parse_str(module).unwrap_or_else(|error| panic!("{error}\n{module}"));
    wit_component::embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
        .unwrap();
    ComponentEncoder::default()
        .module(&bytes)
        .and_then(|mut encoder| encoder.encode())
        .unwrap_or_else(|error| panic!("{error:#}\n{module}"))
}

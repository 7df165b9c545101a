//! Libraries of other projects: each file is the one that its table names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use toml::de::{DeTable, DeValue};

/// Checks the files of a folder against a table. Returns the licenses.
fn check(table: &str, folder: &str) -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join(table)).unwrap();
    let parsed = DeTable::parse(&text).unwrap();
    let libraries = parsed.get_ref()["library"].get_ref().as_array().unwrap();
    let libraries: Vec<&DeValue<'_>> = libraries.iter().map(|library| library.get_ref()).collect();
    let value = |library: &DeValue<'_>, name: &str| {
        let value = library.get(name).and_then(|value| value.get_ref().as_str());
        value
            .unwrap_or_else(|| panic!("{table}: `{name}` is missing"))
            .to_owned()
    };
    for library in &libraries {
        let (file, version) = (value(library, "file"), value(library, "version"));
        let bytes = fs::read(root.join(folder).join(&file)).unwrap();
        let hash: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hash,
            value(library, "sha256"),
            "{table}: `{file}` is not the file of the table; if you updated it, update the table"
        );
        let text = String::from_utf8_lossy(&bytes);
        let name = value(library, "name");
        assert!(text.contains(&version), "{name} is not version {version}");
        assert!(value(library, "source").starts_with("npm package "));
        // A browser with open developer tools would request the map.
        assert!(!text.contains("sourceMappingURL"), "{file}");
    }
    let listed: BTreeSet<String> = libraries
        .iter()
        .map(|library| value(library, "file"))
        .collect();
    let scripts = fs::read_dir(root.join(folder)).unwrap().flatten();
    let scripts: BTreeSet<String> = scripts
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".js"))
        .collect();
    assert_eq!(listed, scripts, "{table}");
    let licenses = libraries.iter().map(|library| value(library, "license"));
    licenses.collect()
}

#[test]
fn vendored_libraries_are_the_files_of_their_table() {
    let served = check("api/assets/vendored.toml", "api/assets/vendor");
    let permissive: BTreeSet<String> = ["0BSD", "MIT"].map(str::to_owned).into();
    assert!(served.is_subset(&permissive), "{served:?}");
    check("tests/fixtures/vendored.toml", "tests/fixtures");
}

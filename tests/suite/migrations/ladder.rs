//! The list of migrations: numbers, files, checksums, and the resulting schema.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use session_pipeline_migrations::{
    CURRENT, Condition, LADDER, OLDEST, Statement, StatementKind, Step, describe, verify,
};

use super::{database, migrate, migrations_dir};

#[test]
fn migration_numbers_have_no_gaps() {
    let numbers: Vec<u32> = LADDER.iter().map(|step| step.number).collect();
    assert_eq!(numbers, (OLDEST..=CURRENT).collect::<Vec<_>>());
    for step in LADDER {
        for statement in step.statements {
            let folder = format!("{:04}-{}/", step.number, step.name);
            assert!(
                statement.file.starts_with(&folder),
                "{} is not in {folder}",
                statement.file
            );
        }
    }
}

#[test]
fn every_sql_file_on_disk_belongs_to_a_migration() {
    let listed: BTreeSet<String> = LADDER
        .iter()
        .flat_map(|step| step.statements)
        .map(|statement| statement.file.to_owned())
        .chain(["0028-legacy/layout.sql".to_owned()])
        .collect();
    let sql = migrations_dir().join("sql");
    let mut on_disk = BTreeSet::new();
    for folder in fs::read_dir(&sql).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            on_disk.insert(
                path.strip_prefix(&sql)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
    assert_eq!(
        on_disk, listed,
        "list new files in `migrations/src/ladder.rs`"
    );
}

#[test]
fn the_checksum_of_a_released_migration_never_changes() {
    let found: Vec<(u32, String)> = LADDER
        .iter()
        .map(|step| (step.number, step.checksum()))
        .collect();
    // If you added a step, add its line. If you changed a step, restore its file and add a new step
    // instead. Databases that ran the old text would be rejected. A step that is in no release can
    // be changed.
    let expected = [
        (
            28,
            "34b4fea84da329c3de26135b5f0b729681e70eafda8b4660472ebf083480773b",
        ),
        (
            29,
            "06c369db9c9895ee210c58b17ee0c8d046f0aecc435846c0c5c3b934e1b5a858",
        ),
        (
            30,
            "a11da8bf5dc1b9f53e49ffbc896a1638454f1f88584e636f31e497827c53c3c2",
        ),
        (
            31,
            "5e455ac357e15dbf2d4ceffe64cad067c87063f952aa23e3e78c4b7283dfffbb",
        ),
        (
            32,
            "e0c8b237ba6eb15e01a709edddc2aca4f074ab26291f33fa71ddfe1c11302423",
        ),
        (
            33,
            "786b4afc2ea2a061d89b10b452f18b27737d8fb5e4ce1aa82d0643e2289c3170",
        ),
        (
            34,
            "1d37516da31ad088b399b4510298198a498f7c7cabb471d031cde157f48fbac8",
        ),
        (
            35,
            "f60bce612465aa300ae88873c67951a6c7a6605b309f1f5b70d2aea2c3423dda",
        ),
        (
            36,
            "86500b2fbec0002a69536fbedf12793295bd576a32f4e3f98096b4af56d2313d",
        ),
        (
            37,
            "9f1d487d6eabdc22703aa76f5e1c240c136920f1ef0e5f50d939c55d50bfb32e",
        ),
        (
            38,
            "4356333605485a74716e2e4a720b08963788fc497333e7a0331e72a551ef3b64",
        ),
        (
            39,
            "e88f1f27ed140d886e431fd7f74bfb0f103d54dc024d8bee037e2111ff91695b",
        ),
        (
            40,
            "08abb6f9728e8388febe7b232a3236bddfcc45f3fba712f0e303ce1ba6005147",
        ),
    ];
    let expected: Vec<(u32, String)> = expected
        .map(|(number, checksum)| (number, checksum.to_owned()))
        .to_vec();
    assert_eq!(found, expected);
}

#[test]
fn line_endings_do_not_affect_the_checksum() {
    static UNIX: [Statement; 1] = [statement("SELECT 1\n-- one\n")];
    static WINDOWS: [Statement; 1] = [statement("SELECT 1\r\n-- one\r\n")];
    static OTHER: [Statement; 1] = [statement("SELECT 1\n-- two\n")];
    const fn statement(sql: &'static str) -> Statement {
        Statement {
            file: "one.sql",
            sql,
            task: StatementKind::Change,
            only: Condition::Always,
        }
    }
    let checksum = |statements| {
        let step = Step {
            number: 1,
            name: "one",
            statements,
        };
        step.checksum()
    };
    assert_eq!(checksum(&UNIX), checksum(&WINDOWS));
    assert_ne!(checksum(&UNIX), checksum(&OTHER));
}

/// Detects a table that `verify` does not check, and an outdated `schema.sql`.
#[test]
fn a_fresh_database_matches_schema_sql() {
    let mut conn = database("");
    migrate(&mut conn).unwrap();
    let text = format!(
        "-- The schema of a database after all migrations.\n\
         -- Generated. If this file is outdated, the failing test prints the command that updates it.\n\n{}",
        describe(&conn).unwrap()
    );
    let path = migrations_dir().join("schema.sql");
    if fs::read_to_string(&path).ok().as_ref() == Some(&text) {
        return;
    }
    let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schema.sql");
    fs::write(&found, &text).unwrap();
    panic!(
        "`schema.sql` is outdated; if the change is intended, run: cp {} {}",
        found.display(),
        path.display()
    );
}

#[test]
fn schema_sql_creates_the_same_tables_as_the_migrations() {
    let mut migrated = database("");
    migrate(&mut migrated).unwrap();
    let from_file = database(&fs::read_to_string(migrations_dir().join("schema.sql")).unwrap());
    assert_eq!(describe(&from_file).unwrap(), describe(&migrated).unwrap());
    verify(&from_file).unwrap();
}

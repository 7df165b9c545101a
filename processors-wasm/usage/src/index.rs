//! Hash tables of numbers, in the state of a checkpoint.
//!
//! A [`HashTable`] does not contain the hashes of its values: they depend on data elsewhere. So a table
//! is stored as its values, and [`rebuild`] inserts them again once the other data is loaded.
//! Use the module with `#[serde(with = "crate::index")]`.

use std::hash::Hash;

use hashbrown::HashTable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::strings::hash;

/// Stores the values in order, so that equal tables have equal states.
pub fn serialize<T, S>(table: &HashTable<T>, serializer: S) -> Result<S::Ok, S::Error>
where
    T: Copy + Ord + Serialize,
    S: Serializer,
{
    let mut values: Vec<T> = table.iter().copied().collect();
    values.sort_unstable();
    values.serialize(serializer)
}

/// Loads the values. The table can only be passed to [`rebuild`].
pub fn deserialize<'de, T, D>(deserializer: D) -> Result<HashTable<T>, D::Error>
where
    T: Hash + Deserialize<'de>,
    D: Deserializer<'de>,
{
    let values = Vec::<T>::deserialize(deserializer)?;
    let mut table = HashTable::with_capacity(values.len());
    for value in values {
        table.insert_unique(hash(&value), value, |value| hash(value));
    }
    Ok(table)
}

/// Inserts all values again, with their real hashes.
pub fn rebuild<T: Copy + Ord>(table: &mut HashTable<T>, hash_of: impl Fn(&T) -> u64) {
    let mut values: Vec<T> = table.iter().copied().collect();
    values.sort_unstable();
    table.clear();
    for value in values {
        table.insert_unique(hash_of(&value), value, &hash_of);
    }
}

//! A sample by chance that a seed gives again.

use std::collections::BTreeMap;

use super::Mutants;

/// Chooses so many of all mutants, each as likely as any other.
pub fn choose(mutants: Mutants, size: usize, seed: u64) -> Mutants {
    let mut all: Vec<(String, String)> = mutants
        .into_iter()
        .flat_map(|(word, mutants)| mutants.into_iter().map(move |name| (word.clone(), name)))
        .collect();
    let mut state = seed;
    let mut chosen = BTreeMap::<String, Vec<String>>::new();
    for _ in 0..size.min(all.len()) {
        let index = usize::try_from(next(&mut state) % all.len() as u64).unwrap_or_default();
        let (word, name) = all.swap_remove(index);
        chosen.entry(word).or_default().push(name);
    }
    chosen.into_iter().collect()
}

/// splitmix64: no secret hangs on it.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutants() -> Mutants {
        let of = |word: &str| {
            let names = (0..50).map(|number| format!("{word} {number}"));
            (word.to_owned(), names.collect())
        };
        vec![of("scan"), of("content")]
    }

    #[test]
    fn a_seed_gives_the_same_sample_again_and_none_twice() {
        let chosen = choose(mutants(), 30, 7);
        assert_eq!(chosen, choose(mutants(), 30, 7));
        assert_ne!(chosen, choose(mutants(), 30, 8));
        let mut names: Vec<&String> = chosen.iter().flat_map(|(_, names)| names).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 30);
    }

    #[test]
    fn more_than_there_are_is_all_of_them() {
        let chosen = choose(mutants(), 1000, 1);
        assert_eq!(
            chosen.iter().map(|(_, names)| names.len()).sum::<usize>(),
            100
        );
    }
}

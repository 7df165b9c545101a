//! What makes a statement more or less likely to be worth keeping, as data.
//!
//! The table in `docs/verification.md` is generated from [`SIGNS`] ([`super::docs`]).

/// A property of a statement that changes its score.
#[derive(Clone, Copy, Debug)]
pub struct Sign {
    /// What the sign means, for the documentation.
    pub meaning: &'static str,
    /// How the score changes, in percentage points.
    pub effect: i32,
    /// What the statement has to contain.
    pub test: Test,
}

/// The test of a sign.
#[derive(Clone, Copy, Debug)]
pub enum Test {
    /// One of these phrases, anywhere.
    Has(&'static [&'static str]),
    /// One of these words as its first word.
    Begins(&'static [&'static str]),
    /// A name: in backticks, with capitals, or written like code.
    Names,
    /// A verb that describes a state, after a subject that is not a pronoun.
    States(&'static [&'static str]),
    /// Fewer words than this.
    Shorter(usize),
    /// More words than this.
    Longer(usize),
    /// A question in the same turn.
    Asks,
    /// One of these names in the same turn.
    Mentions(&'static [&'static str]),
    /// One of these words, exactly as written.
    Stresses(&'static [&'static str]),
    /// A link, or the word for a document.
    Cites(&'static [&'static str]),
}

/// Words that refer to something that was said before.
const PRONOUNS: &[&str] = &[
    "it", "it's", "its", "that", "that's", "this", "these", "those", "they", "they're", "them",
    "he", "she", "there", "there's", "which", "then",
];

/// Words that begin a statement whose subject is not a thing.
pub const NO_SUBJECT: &[&str] = &[
    "i", "i'm", "i'd", "i've", "i'll", "you", "you're", "it", "it's", "that", "that's", "this",
    "these", "those", "they", "they're", "he", "she", "there", "there's", "and", "but", "so", "if",
    "when", "because", "just", "let's", "lets", "please", "can", "could", "do", "don't",
];

/// The signs. Each one that a statement has is added to its score once.
pub const SIGNS: &[Sign] = &[
    Sign {
        meaning: "it holds at all times",
        effect: 10,
        test: Test::Has(&[
            "always",
            "never",
            "ever",
            "every",
            "each",
            "all",
            "any",
            "whenever",
            "everywhere",
            "must",
            "by default",
            "from now on",
            "in general",
            "going forward",
            "as a rule",
        ]),
    },
    Sign {
        meaning: "it is about the team or the product",
        effect: 5,
        test: Test::Has(&[
            "we",
            "our",
            "us",
            "company",
            "team",
            "customer",
            "customers",
            "policy",
            "convention",
            "everyone",
            "nobody",
        ]),
    },
    Sign {
        meaning: "it says how a thing is",
        effect: 10,
        test: Test::States(&[
            "is", "are", "has", "have", "means", "belongs", "lives", "contains", "holds", "uses",
            "runs", "comes", "owns", "covers", "excludes", "includes", "counts", "goes", "go",
        ]),
    },
    Sign {
        meaning: "it has a name",
        effect: 5,
        test: Test::Names,
    },
    Sign {
        meaning: "it cites a document",
        effect: 15,
        test: Test::Cites(&["doc", "docs", "documentation", "specification", "rfc"]),
    },
    Sign {
        meaning: "it stresses a word with capitals",
        effect: 10,
        test: Test::Stresses(&[
            "ALWAYS", "NEVER", "NOT", "ONLY", "MUST", "ALL", "EVERY", "ANY",
        ]),
    },
    Sign {
        meaning: "it gives a reason",
        effect: 10,
        test: Test::Has(&["because", "since", "otherwise"]),
    },
    Sign {
        meaning: "the same turn is about a file with rules for agents",
        effect: 15,
        test: Test::Mentions(&["claude.md", "agents.md", "gemini.md", ".cursorrules"]),
    },
    Sign {
        meaning: "it reports a state",
        effect: -15,
        test: Test::Has(&[
            "failing",
            "fails",
            "failed",
            "broken",
            "missing",
            "passing",
            "passes",
            "done",
            "ready",
            "fine",
            "ok",
            "okay",
            "stuck",
            "empty",
            "outdated",
            "running",
            "working",
            "works",
            "happening",
        ]),
    },
    Sign {
        meaning: "it refers to this moment or to this task",
        effect: -10,
        test: Test::Has(&[
            "this",
            "these",
            "here",
            "above",
            "below",
            "now",
            "current",
            "currently",
            "today",
            "yesterday",
            "tomorrow",
            "again",
            "already",
            "still",
            "yet",
            "just",
            "recently",
            "earlier",
            "last time",
            "branch",
            "pr",
            "commit",
            "commits",
            "plan",
            "comment",
            "comments",
            "next step",
            "later",
            "anymore",
            "diff",
            "change",
            "changes",
        ]),
    },
    Sign {
        meaning: "its subject is in another sentence",
        effect: -5,
        test: Test::Begins(PRONOUNS),
    },
    Sign {
        meaning: "the speaker is its subject",
        effect: -15,
        test: Test::Has(&["i", "i'm", "i've", "i'd", "i'll", "me", "my"]),
    },
    Sign {
        meaning: "it speaks to the agent",
        effect: -5,
        test: Test::Has(&["you", "your", "you're", "you've", "u"]),
    },
    Sign {
        meaning: "it asks for something",
        effect: -15,
        test: Test::Has(&[
            "please",
            "can you",
            "could you",
            "let's",
            "lets",
            "i want",
            "i wanted",
            "we want",
            "want you",
            "would like",
            "i'd like",
            "need to",
            "needs to",
            "go ahead",
            "feel free",
            "try",
        ]),
    },
    Sign {
        meaning: "it is about the past",
        effect: -10,
        test: Test::Has(&[
            "was", "were", "wasn't", "weren't", "did", "didn't", "had", "got", "tried", "changed",
            "removed", "added", "worked", "happened", "broke", "fixed",
        ]),
    },
    Sign {
        meaning: "it is about the future",
        effect: -5,
        test: Test::Has(&["will", "won't", "would", "wouldn't", "going to", "could"]),
    },
    Sign {
        meaning: "the speaker is not sure",
        effect: -25,
        test: Test::Has(&[
            "think",
            "believe",
            "guess",
            "probably",
            "seems",
            "seem",
            "looks",
            "likely",
            "assume",
            "assuming",
            "feel",
            "hope",
            "kinda",
            "kind of",
            "sort of",
            "somehow",
            "wondering",
        ]),
    },
    Sign {
        meaning: "it has fewer than 5 words",
        effect: -10,
        test: Test::Shorter(5),
    },
    Sign {
        meaning: "it has more than 40 words",
        effect: -10,
        test: Test::Longer(40),
    },
    Sign {
        meaning: "the same turn asks a question",
        effect: -5,
        test: Test::Asks,
    },
];

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
    /// One of the first phrases, not directly before one of the second words.
    HasNotBefore(&'static [&'static str], &'static [&'static str]),
    /// One of these words as its first word.
    Begins(&'static [&'static str]),
    /// A name: in backticks, with capitals, or written like code.
    Names,
    /// A sentence in the present, about all things of a kind, a certain thing or the team.
    States,
    /// A sentence about all things of a kind, or about a thing with a name.
    IsGeneral,
    /// An instruction, without one of these words.
    Orders(&'static [&'static str]),
    /// A verb in the past after a person.
    Reports,
    /// Fewer words than this.
    Shorter(usize),
    /// More words than this.
    Longer(usize),
    /// Its paragraph begins with one of these phrases.
    ParagraphBegins(&'static [&'static str]),
    /// One of these names in the same turn.
    Mentions(&'static [&'static str]),
    /// One of these words, exactly as written.
    Stresses(&'static [&'static str]),
    /// A link, or the word for a document.
    Cites(&'static [&'static str]),
}

/// Files with rules for agents.
pub const RULE_FILES: &[&str] = &["claude.md", "agents.md", "gemini.md", ".cursorrules"];

/// Words of a speaker who is not sure.
pub const HEDGES: &[&str] = &[
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
    "basically",
    "usually",
];

/// Words that refer to something that was said before.
const PRONOUNS: &[&str] = &[
    "it", "it's", "its", "that", "that's", "this", "these", "those", "they", "they're", "them",
    "he", "she", "there", "there's", "which", "then", "one", "same",
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
            "nobody",
            "whenever",
            "everywhere",
            "must",
            "mustn't",
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
        test: Test::States,
    },
    Sign {
        meaning: "it is about all things of a kind",
        effect: 10,
        test: Test::IsGeneral,
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
        test: Test::Has(&[
            "because",
            "since",
            "otherwise",
            "on purpose",
            "by design",
            "that's why",
            "the reason",
        ]),
    },
    Sign {
        meaning: "it names where it applies",
        effect: 10,
        test: Test::Has(&[
            "in this/our/the codebase/repo/repository/project/product/company/team/domain",
            "in our _",
            "everywhere else",
            "in all _",
        ]),
    },
    Sign {
        meaning: "the same turn is about a file with rules for agents",
        effect: 15,
        test: Test::Mentions(RULE_FILES),
    },
    Sign {
        meaning: "it reports a state",
        effect: -15,
        test: Test::Has(&[
            "broken",
            "complains",
            "crash",
            "crashes",
            "done",
            "empty",
            "failed",
            "failing",
            "fails",
            "fine",
            "green",
            "gone",
            "hangs",
            "happening",
            "jumps",
            "killed",
            "missing",
            "off",
            "ok",
            "okay",
            "outdated",
            "passes",
            "passing",
            "prints",
            "ready",
            "red",
            "running",
            "shows",
            "slow",
            "stuck",
            "weird",
            "working",
            "works",
            "wrong",
        ]),
    },
    Sign {
        meaning: "it repeats what someone else says",
        effect: -15,
        test: Test::Has(&[
            "say",
            "says",
            "said",
            "claim",
            "claims",
            "claimed",
            "told",
            "wrote",
            "suggests",
            "suggested",
            "recommends",
        ]),
    },
    Sign {
        meaning: "it refers to this moment",
        effect: -10,
        test: Test::Has(&[
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
            "so far",
            "for now",
            "last time",
            "next step",
            "later",
            "anymore",
        ]),
    },
    Sign {
        meaning: "it refers to this task",
        effect: -10,
        test: Test::HasNotBefore(
            &[
                "this",
                "these",
                "here",
                "above",
                "below",
                "the/my/your/that/last/next/first branch/change/changes/comment/comments/commit/commits/diff/plan/pr/task/ticket",
            ],
            &[
                "codebase",
                "repo",
                "repository",
                "project",
                "product",
                "company",
                "team",
                "domain",
            ],
        ),
    },
    Sign {
        meaning: "it points at a thing in view",
        effect: -15,
        test: Test::Has(&[
            "the/that/those/my/your button/error/file/files/folder/footer/function/header/line/lines/loop/method/page/screen/section/test/tests/text/variable",
            "that/those _ file/files/folder/function/line/lines/method/test/tests/variable",
            "that/the/other/another/first/second/last one",
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
        meaning: "it is an instruction, and not for all times",
        effect: -10,
        test: Test::Orders(&["always", "never", "ever", "make sure"]),
    },
    Sign {
        meaning: "it asks for something",
        effect: -15,
        test: Test::Has(&[
            "please",
            "can you",
            "could you",
            "let's",
            "i want",
            "i wanted",
            "we want",
            "want you",
            "would like",
            "i'd like",
            "we need to",
            "you need to",
            "go ahead",
            "feel free",
            "try",
        ]),
    },
    Sign {
        meaning: "its paragraph begins with a request to make something",
        effect: -30,
        test: Test::ParagraphBegins(&[
            "add/build/create/design/draft/generate/implement/make/write a/an/another/me/some/the",
            "you are/act as/be a/an/the/my",
            "continue from/with",
        ]),
    },
    Sign {
        meaning: "it is about the past",
        effect: -10,
        test: Test::Has(&[
            "was", "were", "wasn't", "weren't", "did", "didn't", "had", "got", "tried", "worked",
            "happened", "broke",
        ]),
    },
    Sign {
        meaning: "it reports what someone did",
        effect: -15,
        test: Test::Reports,
    },
    Sign {
        meaning: "it is about the future",
        effect: -5,
        test: Test::Has(&["will", "won't", "would", "wouldn't", "going to", "could"]),
    },
    Sign {
        meaning: "the speaker is not sure",
        effect: -25,
        test: Test::Has(HEDGES),
    },
    Sign {
        meaning: "it compares options",
        effect: -15,
        test: Test::Has(&[
            "the/this/that/your/another/other/one/first/second/last/better alternative/approach/idea/option/proposal",
            "potential",
            "potentially",
            "better",
            "easier",
            "simpler",
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
];

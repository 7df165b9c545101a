//! The people and the program that use the agent, and their habits.

/// The largest team.
pub const USERS_MAX: usize = PEOPLE.len();

/// A person or a program that uses the agent.
#[derive(Debug)]
pub(super) struct Person {
    /// The folder of the sessions, and the first part of the e-mail address.
    pub(super) name: &'static str,
    /// The distance of the time zone from UTC. The zone does not change in summer, which would only
    /// shift some hours.
    pub(super) zone_minutes: i32,
    /// How much later than others this person works.
    pub(super) hours_later: i64,
    /// The share of all sessions.
    pub(super) weight: u64,
    /// Where the repositories are. Most people work in containers, in which the path is the same.
    pub(super) home: &'static str,
    /// How often a session uses each family of models, in the order of [`super::models::FAMILIES`].
    pub(super) models: [u64; 5],
    /// Whether the agent keeps the cache for an hour.
    pub(super) has_long_cache: bool,
    /// The effort level, if the person set one.
    pub(super) effort: Option<&'static str>,
    /// The program that runs the agent.
    pub(super) entrypoint: &'static str,
    /// How strongly each project is preferred, by its number.
    pub(super) projects: [u64; 6],
    /// Whether this is a program.
    pub(super) is_program: bool,
}

const CONTAINER: &str = "/workspaces";

const SOMEONE: Person = Person {
    name: "",
    zone_minutes: 0,
    hours_later: 0,
    weight: 1,
    home: CONTAINER,
    models: [50, 40, 4, 6, 0],
    has_long_cache: true,
    effort: None,
    entrypoint: "cli",
    projects: [1; 6],
    is_program: false,
};

/// The heaviest users are not the first, so that a small team has ordinary people, too.
pub(super) const PEOPLE: &[Person] = &[
    Person {
        name: "grace",
        zone_minutes: -5 * 60,
        weight: 17,
        models: [62, 20, 2, 16, 0],
        effort: Some("high"),
        projects: [9, 1, 3, 3, 0, 1],
        ..SOMEONE
    },
    Person {
        name: "ben",
        weight: 9,
        models: [30, 64, 6, 0, 0],
        projects: [2, 9, 0, 0, 4, 1],
        ..SOMEONE
    },
    Person {
        name: "ci-bot",
        weight: 12,
        models: [4, 66, 30, 0, 0],
        has_long_cache: false,
        entrypoint: "sdk-cli",
        projects: [4, 4, 3, 5, 1, 1],
        is_program: true,
        ..SOMEONE
    },
    Person {
        name: "ada",
        zone_minutes: 60,
        weight: 21,
        models: [76, 12, 2, 10, 0],
        effort: Some("high"),
        projects: [8, 3, 6, 1, 1, 2],
        ..SOMEONE
    },
    Person {
        name: "hiro",
        zone_minutes: 9 * 60,
        weight: 8,
        home: "/home/hiro/src",
        models: [16, 40, 6, 0, 38],
        has_long_cache: false,
        projects: [1, 0, 9, 4, 0, 1],
        ..SOMEONE
    },
    Person {
        name: "elif",
        zone_minutes: 3 * 60,
        weight: 7,
        models: [40, 50, 10, 0, 0],
        effort: Some("medium"),
        projects: [0, 4, 0, 0, 9, 1],
        ..SOMEONE
    },
    Person {
        name: "dev",
        zone_minutes: 330,
        weight: 11,
        models: [55, 38, 4, 3, 0],
        projects: [2, 1, 7, 8, 0, 0],
        ..SOMEONE
    },
    Person {
        name: "kim",
        zone_minutes: -8 * 60,
        hours_later: 2,
        weight: 5,
        home: "/Users/kim/code",
        models: [70, 26, 0, 4, 0],
        effort: Some("max"),
        projects: [1, 6, 0, 1, 5, 2],
        ..SOMEONE
    },
    Person {
        name: "carla",
        zone_minutes: 60,
        weight: 4,
        entrypoint: "claude-vscode",
        projects: [1, 8, 1, 0, 3, 4],
        ..SOMEONE
    },
    Person {
        name: "jonas",
        zone_minutes: -7 * 60,
        hours_later: -1,
        weight: 3,
        has_long_cache: false,
        projects: [3, 0, 2, 9, 0, 0],
        ..SOMEONE
    },
    Person {
        name: "ines",
        weight: 2,
        entrypoint: "claude-desktop",
        models: [25, 70, 5, 0, 0],
        effort: Some("low"),
        projects: [0, 2, 2, 0, 0, 9],
        ..SOMEONE
    },
    Person {
        name: "felix",
        zone_minutes: 60,
        weight: 1,
        home: "/Users/felix/code",
        projects: [2, 2, 1, 1, 1, 1],
        ..SOMEONE
    },
];

/// The names of the people of the team, which are the folders of their sessions.
pub fn users() -> impl Iterator<Item = &'static str> {
    let people = PEOPLE.iter().filter(|person| !person.is_program);
    people.map(|person| person.name)
}

/// The e-mail address of a person.
pub fn email(user: &str) -> String {
    format!("{user}@northwind.example")
}

//! Who works on what, when, and with which model.

use session_pipeline_host::clock::UtcMicros;

use super::DemoOptions;
use super::calendar::Calendar;
use super::models::{self, Model};
use super::projects::{PROJECTS, Project};
use super::random::{Random, Spread};
use super::runaway;
use super::scene::Scene;
use super::team::{PEOPLE, Person};
use crate::session::uuid;

/// The newest version of the agent, `2.1.N`.
const NEWEST_VERSION: u64 = 330;
/// The version that began to write types of lines that are not known yet.
const UNKNOWN_TYPES_SINCE: u64 = 316;

/// Responses in a session of each extent.
const QUESTION: Spread = [1, 2, 3, 4, 6, 8, 10, 14];
const ORDINARY: Spread = [4, 9, 15, 26, 41, 60, 82, 110];
const LONG: Spread = [80, 90, 105, 120, 140, 160, 180, 200];
const MARATHON: Spread = [200, 215, 230, 250, 280, 310, 340, 380];
const AUTOMATED: Spread = [2, 4, 6, 11, 19, 30, 44, 60];

/// The plan of all sessions.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    seed: u64,
    calendar: Calendar,
    people: &'static [Person],
    projects: &'static [&'static Project],
}

/// Everything that is decided before a session begins.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The number of the session. Rare events depend on it, so that they occur in small data, too.
    pub(super) number: u64,
    pub(super) random: Random,
    pub(super) person: &'static Person,
    pub(super) scene: Scene,
    pub(super) start: UtcMicros,
    /// The time after which nothing happens.
    pub(super) end: UtcMicros,
    /// The part of the period before the session, per mille.
    pub(super) elapsed: u64,
    pub(super) model: &'static Model,
    /// The number of responses of the conversation.
    pub(super) responses: u64,
    pub(super) has_unknown_types: bool,
    pub(super) version: String,
    pub(super) id: String,
    pub(super) cwd: String,
    pub(super) branch: String,
}

impl Plan {
    pub(super) fn new(options: &DemoOptions) -> Self {
        let people = options.users.clamp(1, PEOPLE.len());
        let projects = options.projects.clamp(1, PROJECTS.len());
        Self {
            seed: options.seed,
            calendar: Calendar::new(options.seed, options.days, options.end),
            people: &PEOPLE[..people],
            projects: &PROJECTS[..projects],
        }
    }

    pub(super) fn session(&self, number: u64) -> Setting {
        let mut random = Random::new(self.seed, number);
        let random_id = random.next();
        let weights: Vec<u64> = self.people.iter().map(|person| person.weight).collect();
        let program = self.people.iter().find(|person| person.is_program);
        let person = match program.filter(|_| runaway::begins(number)) {
            Some(program) => program,
            None => &self.people[random.weighted(&weights)],
        };
        let project = self.project(&mut random, person);
        let start = self.calendar.start(&mut random, person);
        let elapsed = self.calendar.elapsed(start);
        let scene = Scene::new(&mut random, project, self.calendar.day(start));
        // People update some days after a release.
        let version = NEWEST_VERSION
            .saturating_sub(self.calendar.days_left(start))
            .saturating_sub(random.below(9));
        let branch = match person.is_program {
            true => "main".to_owned(),
            false => scene.branch(person.name),
        };
        Setting {
            number,
            model: models::of_session(&mut random, person, elapsed),
            responses: random.spread(extent(number, person)),
            has_unknown_types: version >= UNKNOWN_TYPES_SINCE,
            version: format!("2.1.{version}"),
            id: uuid::random(random_id, number),
            cwd: format!("{}/{}", person.home, project.name),
            end: self.calendar.end(),
            random,
            person,
            scene,
            start,
            elapsed,
            branch,
        }
    }

    fn project(&self, random: &mut Random, person: &Person) -> &'static Project {
        let weights = self.projects.iter().zip(person.projects);
        let weights: Vec<u64> = weights
            .map(|(project, preference)| project.weight * preference)
            .collect();
        // In a small demo, a person can have no preferred project.
        match weights.iter().sum::<u64>() {
            0 => random.pick(self.projects),
            _ => self.projects[random.weighted(&weights)],
        }
    }
}

impl Setting {
    /// The folder of the session below the sessions root.
    pub(super) fn folder(&self) -> String {
        let project = self.cwd.replace(['/', '.'], "-");
        format!("{}/{project}", self.person.name)
    }
}

fn extent(number: u64, person: &Person) -> &'static Spread {
    match number {
        _ if person.is_program => &AUTOMATED,
        number if number % 61 == 11 => &MARATHON,
        number if number % 17 == 4 => &LONG,
        number if number % 5 == 2 => &QUESTION,
        _ => &ORDINARY,
    }
}

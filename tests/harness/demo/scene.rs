//! What a session is about: the values of the slots in texts.

use super::projects::{Project, Task};
use super::random::Random;

/// The subject of a session.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) project: &'static Project,
    pub(super) task: &'static Task,
    pub(super) file: &'static str,
    other: &'static str,
    component: &'static str,
    symbol: &'static str,
    entity: &'static str,
    pub(super) ticket: String,
    pub(super) pull_request: u64,
}

impl Scene {
    /// `day` is the day of the period. Numbers of tickets and pull requests increase with it.
    pub(super) fn new(random: &mut Random, project: &'static Project, day: u64) -> Self {
        let task = &project.tasks[random.below(project.tasks.len() as u64) as usize];
        let tests: Vec<&'static str> = project.files.iter().copied().filter(is_test).collect();
        let sources: Vec<&'static str> = project.files.iter().copied().filter(is_source).collect();
        let other = match tests.is_empty() {
            true => random.pick(&sources),
            false => random.pick(&tests),
        };
        let number = project.weight * 40 + day * (1 + project.weight / 8) + random.below(5);
        Self {
            project,
            task,
            file: random.pick(&sources),
            other,
            component: random.pick(project.components),
            symbol: random.pick(project.symbols),
            entity: random.pick(project.entities),
            ticket: format!("{}-{}", project.tickets, number * 2 + 311),
            pull_request: number,
        }
    }

    /// Fills the slots of a text.
    pub(super) fn fill(&self, text: &str) -> String {
        let number = self.pull_request.to_string();
        let slots = [
            ("{file}", self.file),
            ("{other}", self.other),
            ("{component}", self.component),
            ("{symbol}", self.symbol),
            ("{entity}", self.entity),
            ("{ticket}", &self.ticket),
            ("{pr}", &number),
        ];
        let mut text = text.to_owned();
        for (slot, value) in slots {
            if text.contains(slot) {
                text = text.replace(slot, value);
            }
        }
        text
    }

    /// Fills the slots of the output of a program, numbers included.
    pub(super) fn output(&self, random: &mut Random, text: &str) -> String {
        let text = self.fill(text);
        let numbers = [
            ("{count}", random.between(3, 180).to_string()),
            ("{line}", random.between(12, 240).to_string()),
            (
                "{seconds}",
                format!("{}.{:02}", random.below(90), random.below(100)),
            ),
        ];
        numbers
            .iter()
            .fold(text, |text, (slot, number)| text.replace(slot, number))
    }

    /// The name of the branch.
    pub(super) fn branch(&self, user: &str) -> String {
        match self.task.branch {
            "main" => "main".to_owned(),
            branch => format!("{user}/{}", self.fill(branch).to_ascii_lowercase()),
        }
    }

    /// Another file of the project.
    pub(super) fn any_file(&self, random: &mut Random) -> &'static str {
        random.pick(self.project.files)
    }
}

fn is_test(file: &&'static str) -> bool {
    let file = file.to_ascii_lowercase();
    file.contains("test") || file.contains("spec")
}

fn is_source(file: &&'static str) -> bool {
    !is_test(file)
}

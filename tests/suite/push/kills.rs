//! Kills of the program at each point, and several runs at the same time.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::Command;

use session_pipeline_harness::{DataDir, tally};

use super::{Machine, PushOutput, check_equal, start};

/// The points at which the program can be killed, in `api/push/src/kill_point.rs`.
const POINTS: [&str; 8] = [
    "state locked",
    "manifest received",
    "part sent",
    "record half written",
    "record written",
    "before rename",
    "after rename",
    "status updated",
];

/// The folder of the state of the only server.
fn state_folder(machine: &Machine) -> PathBuf {
    let mut folders = fs::read_dir(machine.state()).unwrap();
    folders.next().unwrap().unwrap().path()
}

/// Runs the program, which is killed at a point.
fn push_and_die(machine: &Machine, url: &str, point: &str) {
    let record = machine.home().join("killed-at");
    let _ = fs::remove_file(&record);
    let mut command = machine.command(url, &[]);
    let plan = format!("{point}:{}", record.display());
    command.env("SESSION_PIPELINE_PUSH_KILL_POINT", plan);
    let output = command.output().unwrap();
    assert_eq!(output.status.signal(), Some(9), "{point}: {output:?}");
    assert_eq!(fs::read_to_string(&record).unwrap(), point);
    tally(&format!("program killed at: {point}"), 1);
}

#[test]
fn a_kill_at_any_point_loses_nothing_and_repeats_at_most_one_part() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    let line = |number: usize| format!("{{\"n\":{number},\"text\":\"{}\"}}\n", "x".repeat(1000));
    for (number, point) in POINTS.into_iter().enumerate() {
        // A session that grows, and a new one.
        let new = format!("p/new-{number}.jsonl");
        if number == 0 {
            machine.write("p/s1.jsonl", "");
        }
        machine.append("p/s1.jsonl", line(number));
        machine.write(&new, line(number));
        push_and_die(&machine, &server.url, point);
        let output = machine.push_all(&server.url, &[]);
        let added = 2 * line(number).len() as u64;
        assert!(output.figure("sent_bytes") <= added, "{point}: {output:?}");
        check_equal(&dir, &machine);
    }
    // With a journal that is long enough to be rewritten.
    for point in ["before rename", "after rename"] {
        let journal = state_folder(&machine).join("files.jsonl");
        let text = fs::read_to_string(&journal).unwrap();
        fs::write(&journal, text.repeat(1 + 4000 / text.lines().count())).unwrap();
        machine.append("p/s1.jsonl", "{}\n");
        push_and_die(&machine, &server.url, point);
        let output = machine.push_all(&server.url, &[]);
        assert_eq!(output.figure("sent_bytes"), 3, "{point}: {output:?}");
        assert!(
            fs::read_to_string(&journal).unwrap().lines().count() < 1000,
            "{point}"
        );
        check_equal(&dir, &machine);
    }
    // No file of a dead process is left in the way.
    fs::remove_dir_all(machine.state()).unwrap();
    assert_eq!(machine.push_all(&server.url, &[]).figure("sent_bytes"), 0);
}

#[test]
fn a_full_disk_of_the_machine_is_an_error_and_nothing_is_lost() {
    let dir = DataDir::new();
    let (server, machine) = start(&dir);
    // A record of this path is longer than a block.
    let path = format!("p/{}.jsonl", "s".repeat(180));
    machine.write(&path, "{}\n");
    machine.push_all(&server.url, &[]);
    machine.append(&path, "{\"a\":1}\n");
    let journal = state_folder(&machine).join("files.jsonl");
    let blocks = fs::metadata(journal).unwrap().len() / 512 + 1;
    // No file can grow beyond a number of blocks of 512 bytes, as on a full disk.
    for (blocks, text) in [
        (0, "cannot use the state"),
        (blocks, "cannot write the state"),
    ] {
        let program = machine.command(&server.url, &[]);
        let mut limited = Command::new("/bin/sh");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        limited.arg("-c").arg(script).arg(program.get_program());
        limited
            .args(program.get_args())
            .env_clear()
            .current_dir(machine.home());
        for (name, value) in program.get_envs() {
            limited.env(name, value.unwrap_or_default());
        }
        let output: PushOutput = limited.output().unwrap().into();
        assert_eq!(output.code, 3, "{output:?}");
        assert!(output.stderr.contains(text), "{output:?}");
    }
    machine.push_all(&server.url, &[]);
    check_equal(&dir, &machine);
}

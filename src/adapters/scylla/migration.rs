//! The changes that make the tables, in order, and what of them a keyspace has.

use std::fmt;

use sha2::{Digest, Sha256};

use super::SchemaError;
use crate::domain::{Timestamp, hex};

/// The table that notes what was applied.
pub(super) const NOTES: &str = "schema_migrations";

/// Every migration of this program, in order.
pub(super) const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, name: "001_results", text: include_str!("../../../schemas/cql/001_results.cql") }];

/// One file of `schemas/cql`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its place in the order.
    pub version: i32,
    /// The file's name without its ending.
    pub name: &'static str,
    /// Its statements.
    pub(super) text: &'static str,
}

impl Migration {
    /// The sum of the file, by which a later change of it is noticed.
    pub(super) fn sha256(&self) -> String {
        hex(&Sha256::digest(self.text))
    }

    /// The statements, without comments.
    pub(super) fn statements(&self) -> Vec<String> {
        statements(self.text)
    }
}

/// A migration as a keyspace notes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub version: i32,
    pub name: String,
    pub sha256: String,
    pub applied_at: Timestamp,
}

/// One migration, and whether the keyspace has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The migration's name.
    pub name: String,
    /// Whether the keyspace has it.
    pub state: State,
}

/// Whether a keyspace has a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was applied then.
    Applied(Timestamp),
    /// It is to be applied.
    Pending(Migration),
    /// It was applied by a newer facemill.
    Newer(Timestamp),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.state {
            State::Applied(at) => write!(f, "{name:<24} applied {at}"),
            State::Pending(_) => write!(f, "{name:<24} to apply"),
            State::Newer(at) => write!(f, "{name:<24} applied {at} by a newer facemill"),
        }
    }
}

/// What is to be done where these are applied, in the order of the versions.
///
/// # Errors
/// When a migration was applied with another text.
pub(super) fn steps(applied: &[Applied]) -> Result<Vec<Step>, SchemaError> {
    let mut steps = Vec::new();
    for migration in MIGRATIONS {
        let state = match applied.iter().find(|applied| applied.version == migration.version) {
            None => State::Pending(*migration),
            Some(applied) if applied.sha256 == migration.sha256() => State::Applied(applied.applied_at),
            Some(applied) => {
                return Err(SchemaError::Changed {
                    name: migration.name.to_owned(),
                    applied: applied.sha256.clone(),
                    ours: migration.sha256(),
                });
            }
        };
        steps.push(Step { name: migration.name.to_owned(), state });
    }
    let last = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    let mut newer: Vec<_> = applied.iter().filter(|applied| applied.version > last).collect();
    newer.sort_by_key(|applied| applied.version);
    steps.extend(
        newer.into_iter().map(|applied| Step { name: applied.name.clone(), state: State::Newer(applied.applied_at) }),
    );
    Ok(steps)
}

/// Splits CQL at its semicolons, and drops comments; quoted text stays as it is.
fn statements(text: &str) -> Vec<String> {
    let (mut all, mut current, mut rest) = (Vec::new(), String::new(), text);
    while let Some(next) = rest.chars().next() {
        let (kept, length) = match next {
            '-' if rest.starts_with("--") => ("", until(rest, "\n")),
            '/' if rest.starts_with("//") => ("", until(rest, "\n")),
            '/' if rest.starts_with("/*") => (" ", past(rest, 2, "*/")),
            '\'' | '"' => whole(rest, past(rest, 1, next.encode_utf8(&mut [0; 4]))),
            '$' if rest.starts_with("$$") => whole(rest, past(rest, 2, "$$")),
            ';' => {
                all.push(std::mem::take(&mut current));
                ("", 1)
            }
            _ => whole(rest, next.len_utf8()),
        };
        current.push_str(kept);
        rest = rest.get(length..).unwrap_or_default();
    }
    all.push(current);
    all.into_iter().map(|statement| statement.trim().to_owned()).filter(|statement| !statement.is_empty()).collect()
}

/// Where `end` begins, or where the text ends.
fn until(text: &str, end: &str) -> usize {
    text.find(end).unwrap_or(text.len())
}

/// Where `end` ends that comes after `opening` bytes, or where the text ends.
fn past(text: &str, opening: usize, end: &str) -> usize {
    let inner = text.get(opening..).unwrap_or_default();
    inner.find(end).map_or(text.len(), |at| opening + at + end.len())
}

fn whole(text: &str, length: usize) -> (&str, usize) {
    (text.get(..length).unwrap_or(text), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(migration: &Migration) -> Applied {
        Applied {
            version: migration.version,
            name: migration.name.to_owned(),
            sha256: migration.sha256(),
            applied_at: Timestamp::from_micros(0),
        }
    }

    #[test]
    fn every_file_is_a_migration_and_versions_follow_each_other() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/cql");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let named: Vec<_> = MIGRATIONS.iter().map(|migration| format!("{}.cql", migration.name)).collect();
        assert_eq!(files, named);
        for (version, migration) in (1..).zip(MIGRATIONS) {
            assert_eq!(migration.version, version);
            assert!(migration.name.starts_with(&format!("{version:03}_")), "{}", migration.name);
        }
    }

    #[test]
    fn an_applied_migration_never_changes() {
        // Somebody's database notes this sum. A change of the schema is a new file.
        let sums: Vec<_> = MIGRATIONS.iter().map(Migration::sha256).collect();
        assert_eq!(sums, ["73b4342e56e19a01108ab58f68b123dfe09636508df14cae470ed1e5d6b2eab1"]);
    }

    #[test]
    fn statements_can_run_twice_and_name_no_keyspace() {
        for migration in MIGRATIONS {
            let statements = migration.statements();
            assert!(!statements.is_empty());
            for statement in statements {
                assert!(statement.starts_with("CREATE TABLE IF NOT EXISTS "), "{statement}");
                assert!(!statement.contains('.') && !statement.contains("--"), "{statement}");
            }
        }
    }

    #[test]
    fn splitting_knows_comments_and_quotes() {
        let text = "-- a; b\nCREATE 'x;--y' ; // c;\n/* d; */INSERT \"a;b\" $$ ; $$;\n;\nlast 'it''s; ü'";
        assert_eq!(statements(text), ["CREATE 'x;--y'", "INSERT \"a;b\" $$ ; $$", "last 'it''s; ü'"]);
        assert_eq!(statements(" -- nothing"), Vec::<String>::new());
        assert_eq!(statements("open 'end; "), ["open 'end;"]);
    }

    #[test]
    fn what_was_applied_is_not_to_be_applied_again() {
        let pending = steps(&[]).unwrap();
        assert!(pending.iter().all(|step| matches!(step.state, State::Pending(_))) && !pending.is_empty());
        assert_eq!(pending[0].to_string(), "001_results              to apply");
        let all: Vec<_> = MIGRATIONS.iter().map(noted).collect();
        assert!(steps(&all).unwrap().iter().all(|step| matches!(step.state, State::Applied(_))));
        let newer = Applied { version: 99, name: "099_later".to_owned(), ..noted(&MIGRATIONS[0]) };
        let steps = steps(&[newer, noted(&MIGRATIONS[0])]).unwrap();
        assert_eq!((steps[1].name.as_str(), steps.len()), ("099_later", 2));
        assert!(steps[1].to_string().ends_with("by a newer facemill"), "{}", steps[1]);
    }

    #[test]
    fn a_migration_that_was_changed_after_it_was_applied_is_an_error() {
        let changed = Applied { sha256: "0".repeat(64), ..noted(&MIGRATIONS[0]) };
        let error = steps(&[changed]).unwrap_err().to_string();
        assert!(error.contains("001_results") && error.contains("another text"), "{error}");
    }
}

//! Which files of the server a user may name. An admin may name any; whoever trains, reviews or looks may name what the workbench
//! itself holds, or else a path in an argument would read the server's secrets with the program's own rights.

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;
use tb_core::{ApiError, ErrorCode, user::Role};

use crate::{
    Ctx,
    bases::{self, MODELS},
    ctx::blocking,
    hub::DOWNLOADS,
};

/// Arguments that are paths, wherever they stand.
const PATHS: &[&str] =
    &["adapter", "base_model", "data", "eval_data", "model", "out", "path", "problems_path", "test_path"];

/// Arguments whose insides are none of ours: names of columns, values of fields.
const OPAQUE: &[&str] = &["answers", "changes", "hyperparameters", "mapping", "messages"];

/// Folders in the home folder that hold no secret.
const FOLDERS: [&str; 7] = ["datasets", "exports", DOWNLOADS, MODELS, "runs", "sample", "uploads"];

/// Fails if an argument names a file that is not for this actor.
///
/// # Errors
/// `forbidden`, with the path as it was given; whether it exists is not told.
pub(crate) async fn check(ctx: &Ctx, command: &str, arguments: &Value) -> Result<(), ApiError> {
    if ctx.actor().role.covers(Role::Admin) {
        return Ok(());
    }
    let mut paths = BTreeSet::new();
    collect(arguments, &mut paths);
    if paths.is_empty() {
        return Ok(());
    }
    let listed = bases::listed(ctx).await?;
    let (home, command) = (ctx.home().to_owned(), command.to_owned());
    blocking(move || match paths.iter().find(|path| !is_within_reach(path, &home, &listed)) {
        None => Ok(()),
        Some(path) => Err(ApiError::new(
            ErrorCode::Forbidden,
            format!(
                "Nothing was done: with your role {command} takes no file outside the workbench, such as {}.",
                path.display()
            ),
        )
        .hint("Upload the file, choose a base model of the list, or ask an admin.")),
    })
    .await
}

fn collect(value: &Value, paths: &mut BTreeSet<PathBuf>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter().filter(|(key, _)| !OPAQUE.contains(&key.as_str())) {
                match value {
                    Value::String(text) if PATHS.contains(&key.as_str()) => {
                        paths.insert(PathBuf::from(text));
                    }
                    other => collect(other, paths),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, paths)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a path is, behind all links, below a folder of the workbench or a base model that is listed.
fn is_within_reach(path: &Path, home: &Path, listed: &[PathBuf]) -> bool {
    if listed.iter().any(|base| base == path) {
        return true;
    }
    let Some(path) = real(path) else { return false };
    let folders = FOLDERS.iter().map(|name| home.join(name));
    folders.chain(listed.iter().cloned()).filter_map(|place| real(&place)).any(|place| path.starts_with(&place))
}

/// The path without links. Of what is not there yet, such as a folder to write, the part that is.
fn real(path: &Path) -> Option<PathBuf> {
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    let there = path.ancestors().find(|part| part.symlink_metadata().is_ok())?;
    Some(there.canonicalize().ok()?.join(path.strip_prefix(there).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_are_found_wherever_they_stand() {
        let mut paths = BTreeSet::new();
        let arguments = json!({
            "path": "/a", "test_path": null, "name": "/not", "sides": [{"base_model": "/b"}, {"adapter": "/c"}],
            "mapping": {"data": "a column"}, "hyperparameters": {"model": "x"}, "prompt": "/not",
        });
        collect(&arguments, &mut paths);
        assert_eq!(paths.into_iter().collect::<Vec<_>>(), [Path::new("/a"), Path::new("/b"), Path::new("/c")]);
    }

    /// A path in a new argument that stands on no list here would lead anywhere.
    #[test]
    fn every_field_that_is_a_path_is_known_as_one() {
        let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
        let mut seen = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let fields = text.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(": "));
                let fields = fields.filter(|(name, _)| !name.contains(' '));
                seen.extend(fields.filter(|(_, kind)| kind.contains("PathBuf")).map(|(name, _)| name.to_owned()));
            }
        }
        let unknown: Vec<&String> = seen.iter().filter(|name| !PATHS.contains(&name.as_str())).collect();
        assert!(unknown.is_empty() && seen.len() >= 6, "{unknown:?} of {seen:?}");
    }

    #[cfg(unix)]
    #[test]
    fn only_what_the_workbench_holds_is_within_reach() {
        let place = tempfile::tempdir().unwrap();
        let (home, outside) = (place.path().join("home"), place.path().join("outside"));
        for folder in [home.join("uploads/u"), home.join("runs"), outside.join("base"), outside.join("other")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for file in [home.join("access-token"), home.join("uploads/u/rows.csv"), outside.join("base/config.json")] {
            std::fs::write(file, "x").unwrap();
        }
        std::os::unix::fs::symlink(&outside, home.join("uploads/u/link")).unwrap();
        let listed = vec![outside.join("base"), PathBuf::from("/gone/base")];
        let reach = |path: &Path| is_within_reach(path, &home, &listed);
        for good in [
            home.join("uploads/u/rows.csv"),
            home.join("exports/not-there-yet"),
            home.join("runs"),
            outside.join("base/config.json"),
            PathBuf::from("/gone/base"),
        ] {
            assert!(reach(&good), "{}", good.display());
        }
        for bad in [
            home.join("access-token"),
            home.join("uploads/../access-token"),
            home.join("uploads/u/link/other"),
            home.clone(),
            outside.join("other"),
            PathBuf::from("/etc/passwd"),
            PathBuf::from("uploads/u/rows.csv"),
            PathBuf::from("/nowhere"),
            PathBuf::new(),
        ] {
            assert!(!reach(&bad), "{}", bad.display());
        }
    }
}

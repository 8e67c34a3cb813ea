//! `soak import FILE...`: public preference sets, as they are, go in and come out again. The files are read a second time here, by rules
//! of this file alone: every row is either stored with its very texts or named as one that cannot be used, and none is both.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{in_new_home, tonebridge};

/// Runs it, each file in a home of its own.
pub fn soak(files: &[String]) -> Result<()> {
    for file in files {
        println!("{file}");
        in_new_home("soak-import", |program, home| import(program, home, file))?;
    }
    Ok(())
}

fn import(program: &Path, home: &Path, file: &str) -> Result<()> {
    let records = records(file)?;
    let report = tonebridge(program, home, &["feedback", "import", file])?;
    let count = |field: &str| report[field].as_u64().with_context(|| format!("the report has no '{field}': {report}"));
    let (stored, known, bad) = (count("stored")?, count("known")?, count("num_problems")?);
    ensure!(known == 0, "{known} rows are said to be known, in a new home");
    let problems = match report["problems_path"].as_str() {
        Some(path) => lines(path)?,
        None => Vec::new(),
    };
    let mut named = BTreeSet::new();
    let mut reasons: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for problem in &problems {
        let line = problem["line"].as_u64().context("a problem names no line")?;
        ensure!(records.contains_key(&line), "a problem names line {line}, where nothing stands");
        ensure!(named.insert(line), "line {line} is named twice");
        let kind = problem["kind"].as_str().unwrap_or_default().to_owned();
        reasons.entry(kind).or_insert((0, line)).0 += 1;
    }
    ensure!(named.len() as u64 == bad, "{bad} rows are said to be bad, {} are named", named.len());
    ensure!(
        stored + bad == records.len() as u64,
        "the file has {} rows, {stored} were stored and {bad} named as bad",
        records.len()
    );

    let out = home.join("out.jsonl");
    let path = out.to_str().context("the path is no UTF-8")?;
    tonebridge(program, home, &["feedback", "export", path])?;
    let mut rows = lines(path)?;
    ensure!(rows.len() as u64 == stored, "{stored} rows were stored, {} came out", rows.len());
    // Ids grow with the file's lines.
    rows.sort_by_key(|row| row["id"].as_str().unwrap_or_default().to_owned());
    let whole = records.iter().filter(|(line, _)| !named.contains(line));
    for ((line, record), row) in whole.zip(&rows) {
        let record = record.as_ref().with_context(|| format!("line {line} is no JSON object, and was stored"))?;
        says(record, row).with_context(|| format!("line {line} came out otherwise, as {}", row["id"]))?;
    }
    println!("  {} rows: {stored} stored with their very texts, {bad} named as bad", records.len());
    for (kind, (times, first)) in reasons {
        println!("  {times:>6}  {kind}, first in line {first}");
    }
    Ok(())
}

/// The rows of a jsonl file by their line, or the elements of a json file by their number; none for what is no object.
fn records(file: &str) -> Result<BTreeMap<u64, Option<Value>>> {
    let bytes = fs::read(file).with_context(|| format!("{file} cannot be read"))?;
    let object = |value: Value| Some(value).filter(Value::is_object);
    if file.ends_with(".json") {
        let Value::Array(all) = serde_json::from_slice(&bytes)? else { bail!("{file} is no list") };
        return Ok((1..).zip(all.into_iter().map(object)).collect());
    }
    let lines = (1..).zip(bytes.split(|byte| *byte == b'\n'));
    let filled = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
    Ok(filled.map(|(at, line)| (at, serde_json::from_slice(line).ok().and_then(object))).collect())
}

/// The objects of a jsonl file that this program wrote.
fn lines(path: &str) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("{path} cannot be read"))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Whether a stored row holds what a record of a public set says: the last turn of each answer, and before it every turn of the prompt.
fn says(record: &Value, row: &Value) -> Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (input, output) = (text(&row["input_text"]), text(&row["output_text"]));
    let other = text(&row["choice"]["other_text"]);
    let column = |names: &[&str]| names.iter().map(|name| &record[*name]).find(|value| !value.is_null());
    let chosen = column(&["chosen", "chosen_messages"]);
    let rejected = column(&["rejected", "rejected_messages"]);
    let prompt = column(&["prompt", "question", "conversations", "instruction", "messages"]);
    let answers = match (chosen, rejected) {
        (Some(Value::String(better)), Some(Value::String(worse))) if prompt.is_none() => {
            // Dialogues that are written out: prompt and answer together.
            ensure!(format!("{input}{output}") == *better, "the better dialogue differs");
            ensure!(format!("{input}{other}") == *worse, "the worse dialogue differs");
            return Ok(());
        }
        (Some(better), Some(worse)) => vec![(better, &output), (worse, &other)],
        // One answer with a label: it ends the conversation, or has a column of its own.
        _ => match record.get("completion").or(prompt) {
            Some(answer) => vec![(answer, &output)],
            None => bail!("it has no answer"),
        },
    };
    for (said, stored) in answers {
        ensure!(turns(said).last().copied() == Some(stored.as_str()), "an answer differs");
    }
    let asked = prompt.map(turns).unwrap_or_default();
    let asked = asked.iter().filter(|turn| **turn != output);
    ensure!(asked.clone().all(|turn| input.contains(turn)), "a turn of the prompt is missing");
    Ok(())
}

/// What was said in turns: a text is one, messages are each their content.
fn turns(said: &Value) -> Vec<&str> {
    match said {
        Value::String(text) => vec![text],
        Value::Array(messages) => messages.iter().flat_map(turns).collect(),
        Value::Object(message) => {
            ["content", "value", "text"].iter().find_map(|key| message.get(*key)).map(turns).unwrap_or_default()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

//! The command line, exactly as documented; scripts rely on these names.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use tb_core::{
    recipe::Method,
    run_folder::{ExportFormat, Framing},
};

/// Teach language models to rewrite text, on this machine.
#[derive(Debug, Parser)]
#[command(name = "tonebridge", version, max_term_width = 100)]
pub struct Args {
    /// Folder where everything lives [default: the platform's data folder]
    #[arg(long, global = true, env = "TONEBRIDGE_HOME", value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Override a setting by its name, such as `lora_r=16`
    #[arg(long, global = true, value_name = "NAME=VALUE")]
    pub setting: Vec<String>,
    /// Print one JSON object last, and nothing else on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do
    #[command(subcommand)]
    pub task: Task,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Run the main job on the built-in sample, from start to end
    Demo(Demo),
    /// Fine-tune a model
    Train(Train),
    /// Train a small base model from random weights
    Pretrain(Pretrain),
    /// Write per-token log-probabilities of completions
    Score(Score),
    /// Generate from a prompt
    Generate(Generate),
    /// Measure a model on held-out rows
    Evaluate(Evaluate),
    /// Write a model in another form
    Export(Export),
    /// Serve the interface for browsers, and the API
    Serve(Serve),
    /// Check this installation
    Doctor,
    /// Datasets: preview, import, list, get, rows, stats, problems, tokens, delete
    Data(Words),
    /// Base models: list, inspect
    Base(Words),
    /// Jobs: estimate, start, list, get, page, log, pause, resume, stop, move, metrics, chart
    Job(Words),
    /// Models: list, get, stage, archive, restore
    Model(Words),
    /// Evaluations: start, list
    Eval(Words),
    /// The built-in sample: install, start, baselines
    Sample(Words),
    /// Settings: get, set, fields, devices, status, storage
    Settings(Words),
    /// Keys and tokens: set, clear; the value is read from standard input
    Secret(Words),
    /// Users of a team's server: list, add, set-role, set-password, disable, enable, whoami; passwords are read from the terminal
    User(Words),
    /// Access tokens of users: create, list, revoke
    Token(Words),
    /// Browsers in which users are signed in: list, revoke
    Session(Words),
    /// Who changed what: list
    Audit(Words),
    /// Feedback: submit, list, get, stats, withdraw, import, export; text diff, provenance and marks of what learned from it
    Feedback(Words),
    /// Labelling projects: project-create, project-list, take, submit, agreement, items, adjudicate
    Label(Words),
    /// Training data made of feedback: preview, build
    Preference(Words),
    /// The event stream: after
    Events(Words),
}

/// A verb of the command table and its arguments.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Words {
    /// VERB [ID or PATH] [--name value]...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Hyperparameter to change, such as `max_steps=50`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Held-out rows to measure at most; 0 takes all
    #[arg(long, default_value_t = 0)]
    pub limit: u32,
}

/// Options of `train`.
#[derive(Debug, clap::Args)]
pub struct Train {
    /// Folder of the base model
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Rows to learn from: json, jsonl, csv or parquet
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Held-out rows to watch the loss on
    #[arg(long, value_name = "FILE")]
    pub eval_data: Option<PathBuf>,
    /// How to teach
    #[arg(long, default_value = "sft", value_parser = parse::<Method>)]
    pub method: Method,
    /// Adapter to continue from
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Folder that receives the adapter and events.jsonl
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Name of the run and its model [default: the data's name]
    #[arg(long)]
    pub name: Option<String>,
    /// Device, such as cpu [default: the first]
    #[arg(long)]
    pub device: Option<String>,
    /// Column mapping as JSON, such as '{"shape":"text","text":"body"}' [default: found from the rows]
    #[arg(long, value_name = "JSON")]
    pub map: Option<String>,
    /// Hyperparameter to change, such as `lora_r=16`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Put the run into the queue and return at once
    #[arg(long)]
    pub detach: bool,
}

/// Options of `pretrain`.
#[derive(Debug, clap::Args)]
pub struct Pretrain {
    /// Folder that receives the sample's data, tokenizer and base model
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Seed of text, weights and order
    #[arg(long, default_value_t = tb_api::SAMPLE_SEED)]
    pub seed: u64,
    /// Hyperparameter to change, such as `max_steps=50`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// The model of a one-shot task.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Folder of the base model
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Adapter on it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
}

/// Options of `score`.
#[derive(Debug, clap::Args)]
pub struct Score {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Rows with prompt and completion
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The jsonl file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Longest row in tokens
    #[arg(long, default_value_t = 1024)]
    pub max_length: u32,
    /// Rows computed at once
    #[arg(long, default_value_t = 8)]
    pub batch_size: u32,
}

/// Options of `generate`.
#[derive(Debug, clap::Args)]
pub struct Generate {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,
    /// The prompt
    #[arg(long)]
    pub prompt: String,
    /// Put the prompt through the chat template as a user's message
    #[arg(long)]
    pub chat: bool,
    /// Longest answer in tokens
    #[arg(long, default_value_t = 256)]
    pub max_new_tokens: u32,
    /// 0 takes the likeliest token; higher draws more freely
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f64,
    /// Draw from the likeliest tokens that together have this probability
    #[arg(long, default_value_t = 1.0)]
    pub top_p: f64,
    /// Draw from so many likeliest tokens; 0 draws from all
    #[arg(long, default_value_t = 0)]
    pub top_k: u32,
    /// Seed of the draws
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Print the answer word by word
    #[arg(long)]
    pub stream: bool,
}

impl Generate {
    /// How the prompt reaches the model.
    pub fn framing(&self) -> Framing {
        if self.chat { Framing::Chat } else { Framing::Plain }
    }
}

/// Options of `evaluate`.
#[derive(Debug, clap::Args)]
pub struct Evaluate {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,
    /// Held-out rows: prompt and completion
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// Metrics, comma-separated [default: all that the rows allow]
    #[arg(long, value_delimiter = ',')]
    pub metrics: Vec<String>,
    /// Rows to measure at most; 0 takes all
    #[arg(long, default_value_t = 0)]
    pub limit: u32,
    /// Longest answer in tokens
    #[arg(long, default_value_t = 256)]
    pub max_new_tokens: u32,
    /// Rows generated at once
    #[arg(long, default_value_t = 16)]
    pub batch_size: u32,
    /// Folder that receives every row's answer (items.jsonl)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Options of `export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    /// Folder of the base model, or a GGUF file
    #[arg(long, value_name = "PATH")]
    pub model: PathBuf,
    /// Adapter to export; without one the base itself takes the other form
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// The form
    #[arg(long, value_enum)]
    pub format: Format,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Rows on which the written model is compared with the original; built-in texts if none
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Largest weight file of a merged model, in MB
    #[arg(long, value_name = "MB")]
    pub max_shard_mb: Option<u64>,
    /// What the model is called inside a GGUF file
    #[arg(long)]
    pub name: Option<String>,
}

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    pub host: String,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = tb_server::DEFAULT_PORT)]
    pub port: u16,
    /// Let other machines reach it: needed with an address that is not this machine's own
    #[arg(long)]
    pub expose: bool,
    /// Another name by which it is reached, such as a proxy's; may be repeated
    #[arg(long, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Largest file that may be uploaded, in MiB
    #[arg(long, default_value_t = 16384, value_name = "MIB")]
    pub max_upload_mib: u32,
    /// Serve the built interface in this folder instead of the program's own
    #[arg(long, env = "TONEBRIDGE_UI", value_name = "DIR")]
    pub ui: Option<PathBuf>,
}

/// Forms in which a model leaves.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// PEFT's adapter files
    Peft,
    /// The base with the adapter merged in
    Merged,
    /// The merged model as one GGUF file for llama.cpp, in f16
    #[value(name = "gguf-f16")]
    GgufF16,
    /// The same in blocks of 8 bits
    #[value(name = "gguf-q8_0")]
    GgufQ8_0,
    /// The same in llama.cpp's mixture of 4 and 6 bits
    #[value(name = "gguf-q4_k_m")]
    GgufQ4KM,
}

impl From<Format> for ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Peft => Self::Peft,
            Format::Merged => Self::Merged,
            Format::GgufF16 => Self::GgufF16,
            Format::GgufQ8_0 => Self::GgufQ8_0,
            Format::GgufQ4KM => Self::GgufQ4KM,
        }
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_documented_lines_parse() {
        for line in [
            "tonebridge demo --json",
            "tonebridge train --model m --data d --method sft --adapter a --out o --set lora_r=4 --set seed=1 --json",
            "tonebridge score --model m --adapter a --data d --out o",
            "tonebridge generate --model m --prompt hi --chat --max-new-tokens 5 --temperature 0.5 --seed 3 --json",
            "tonebridge evaluate --model m --data d --metrics chrf,bleu --json",
            "tonebridge export --model m --adapter a --format merged --out o",
            "tonebridge export --model m.gguf --format gguf-q4_k_m --out o --data d --max-shard-mb 100 --name n",
            "tonebridge data import f.csv --name x",
            "tonebridge serve",
            "tonebridge serve --host 127.0.0.1 --port 4310 --allow-host a.example --allow-host b.example",
            "tonebridge base list",
            "tonebridge settings set lora_r=16",
            "tonebridge secret set huggingface_token",
            "tonebridge user add yuki --role reviewer --password -",
            "tonebridge token create nightly --user yuki --expires-in-days 90",
            "tonebridge audit list --actor yuki",
            "tonebridge feedback import rows.csv --dry-run true",
            "tonebridge feedback export rows.jsonl --model-id m --since 2026-01-01",
            "tonebridge feedback submit --input-text a --output-text b --rating 4",
            "tonebridge feedback withdraw fbk_1 --reason mistake",
            "tonebridge doctor",
        ] {
            Args::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }
}

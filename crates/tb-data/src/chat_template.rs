//! Chat templates, rendered as transformers renders them (`utils/chat_template_utils.py`), with limits for hostile ones.
//!
//! `{% generation %}` becomes a filter block, so that the whitespace around it is treated as around any block; the filter marks
//! what it gets, and the marks become spans.

pub(crate) mod clock;
mod python;
mod sum;

use std::{fmt, io, ops::Range};

use minijinja::{
    Environment, ErrorKind, UndefinedBehavior,
    syntax::SyntaxConfig,
    value::{Serde, Value as Jinja},
};
use serde_json::{Map, Value, json};
use tb_core::dataset::Message;

use crate::{
    error::{Error, Result},
    guard::no_panic,
};

/// What one rendering may cost: a step, or 64 bytes of anything that it makes or looks through. It thus bounds time and memory (24 MB of text).
const FUEL: u64 = 380_000;
/// What a rendering may cost on the caller's stack; nearly every conversation costs less. A template can nest a value as deep as it has
/// fuel, and even letting go of such a value takes stack: what needs more is done again on a stack with room for it.
const LIGHT_FUEL: u64 = 4_000;
/// Room for the deepest value that [`FUEL`] pays for. Only what is used of it takes memory.
const DEEP_STACK_BYTES: usize = 256 << 20;
/// Size of a rendered conversation.
const MAX_OUTPUT_BYTES: usize = 16 << 20;
/// Size of a template.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;
const MAX_RECURSION: usize = 64;
/// Unicode noncharacters: never part of a text.
const START: char = '\u{fdd0}';
const END: char = '\u{fdd1}';
const NAME: &str = "chat_template";

/// A compiled chat template.
pub struct ChatTemplate {
    light: Environment<'static>,
    full: Environment<'static>,
    source: String,
    origin: String,
    special_tokens: Map<String, Value>,
    marks: Marks,
}

/// Whether a template marks what the assistant says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// It has `{% generation %}` blocks.
    Generation,
    /// It has none.
    None,
}

/// How a rendering ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// After the last message.
    Closed,
    /// With the words that open the assistant's answer (`add_generation_prompt`).
    Open,
}

/// What a template sees besides the messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// Tools as JSON schemas.
    pub tools: Option<&'a Value>,
    /// The time that `strftime_now` tells, in UTC; none leaves the function undefined, and templates that ask fall back.
    pub now_ms: Option<i64>,
}

/// A rendered conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text, special tokens included.
    pub text: String,
    /// What the assistant says, as byte ranges of the text; empty if the template marks nothing.
    pub assistant: Vec<Range<usize>>,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Compiles a template. `origin` names it in errors; the special tokens (`bos_token`, …) become variables.
    ///
    /// # Errors
    /// [`Error::Template`] with the line.
    pub fn new(source: &str, origin: &str, special_tokens: Map<String, Value>) -> Result<Self> {
        let bad = |reason: String| Error::Template { origin: origin.to_owned(), reason };
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(bad(format!("it is longer than {MAX_TEMPLATE_BYTES} bytes")));
        }
        let written = source.to_owned();
        let (source, marks) = generation_to_filter(source);
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let syntax = syntax.map_err(|e| bad(e.to_string()))?;
        env.set_syntax(syntax.clone());
        env.set_fuel(Some(LIGHT_FUEL));
        env.set_recursion_limit(MAX_RECURSION);
        env.set_undefined_behavior(UndefinedBehavior::Lenient);
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        env.set_unknown_method_callback(python::method);
        env.set_formatter(python::format);
        env.add_filter("tojson", python::tojson);
        env.add_filter("sum", sum::sum);
        env.add_function(sum::ADD, sum::add);
        // Not Jinja's, and it adds up lists without fuel.
        env.remove_filter("chain");
        env.add_filter("generation", |text: String| format!("{START}{text}{END}"));
        env.add_function("raise_exception", |message: String| -> std::result::Result<Jinja, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("the template refuses: {message}")))
        });
        let compiled = on_deep_stack(|| {
            let mut compile = || {
                let source = sum::plus_as_calls(&source, NAME, &syntax)?;
                env.add_template_owned(NAME, source)
            };
            no_panic(|| compile().map_err(|e| words(&e))).and_then(|compiled| compiled)
        });
        compiled.map_err(bad)?;
        let mut full = env.clone();
        full.set_fuel(Some(FUEL));
        Ok(Self { light: env, full, source: written, origin: origin.to_owned(), special_tokens, marks })
    }

    /// The template as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it marks what the assistant says.
    #[must_use]
    pub fn marks(&self) -> Marks {
        self.marks
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// [`Error::Template`]: what the template refuses, a fault in it, or a limit that it breaks.
    pub fn render(&self, messages: &[Message], ending: Ending, around: Surroundings<'_>) -> Result<Rendered> {
        match self.render_with(&self.light, messages, ending, around) {
            Err(Stopped::OutOfFuel) => {}
            Err(Stopped::Refused(reason)) => return Err(self.bad(reason)),
            Ok(rendered) => return Ok(rendered),
        }
        match on_deep_stack(|| self.render_with(&self.full, messages, ending, around)) {
            Ok(rendered) => Ok(rendered),
            Err(Stopped::OutOfFuel) => Err(self.bad("it takes too many steps or too much memory".into())),
            Err(Stopped::Refused(reason)) => Err(self.bad(reason)),
        }
    }

    fn bad(&self, reason: String) -> Error {
        Error::Template { origin: self.origin.clone(), reason }
    }

    fn render_with(
        &self,
        env: &Environment<'_>,
        messages: &[Message],
        ending: Ending,
        around: Surroundings<'_>,
    ) -> std::result::Result<Rendered, Stopped> {
        let bad = Stopped::Refused;
        let mut context = self.special_tokens.clone();
        let mut said = Vec::with_capacity(messages.len());
        for message in messages {
            said.push(serde_json::to_value(message).map_err(|e| bad(e.to_string()))?);
        }
        context.insert("messages".into(), said.into());
        context.insert("tools".into(), around.tools.cloned().unwrap_or(Value::Null));
        context.insert("documents".into(), Value::Null);
        context.insert("add_generation_prompt".into(), json!(ending == Ending::Open));
        let mut pairs: Vec<(String, Jinja)> =
            context.into_iter().map(|(name, value)| (name, Jinja::from(Serde(value)))).collect();
        if let Some(now_ms) = around.now_ms {
            let clock = move |format: String| clock::strftime(&format, now_ms);
            pairs.push(("strftime_now".into(), Jinja::from_function(clock)));
        }
        let template = env.get_template(NAME).map_err(|e| bad(words(&e)))?;
        let mut out = Limited { bytes: Vec::new() };
        // The error is put into words at once: it may hold values.
        let result = no_panic(|| {
            template.render_captured_to(Jinja::from_pairs(pairs), &mut out).map(drop).map_err(|e| match e.kind() {
                ErrorKind::OutOfFuel => Stopped::OutOfFuel,
                _ => Stopped::Refused(words(&e)),
            })
        })
        .map_err(bad)?;
        if out.bytes.len() > MAX_OUTPUT_BYTES {
            return Err(bad(format!("it writes more than {MAX_OUTPUT_BYTES} bytes")));
        }
        result?;
        let text = String::from_utf8(out.bytes).map_err(|e| bad(e.to_string()))?;
        unmark(&text).ok_or_else(|| bad("its {% generation %} blocks do not nest".into()))
    }
}

/// Why a rendering has no result.
enum Stopped {
    OutOfFuel,
    Refused(String),
}

/// Runs `f` on a stack of [`DEEP_STACK_BYTES`], or says that there is none.
fn on_deep_stack<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let deep = std::thread::Builder::new().name(NAME.into()).stack_size(DEEP_STACK_BYTES);
        let running = deep.spawn_scoped(scope, f).expect("the system gives a thread: without one nothing here runs");
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Refuses to grow beyond the limit.
struct Limited {
    bytes: Vec<u8>,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (MAX_OUTPUT_BYTES + 1).saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room { Err(io::Error::other("too long")) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes `{% generation %}` blocks as filter blocks.
fn generation_to_filter(source: &str) -> (String, Marks) {
    let tag = generation_tag();
    let marks = if tag.is_match(source) { Marks::Generation } else { Marks::None };
    let written = tag.replace_all(source, |found: &regex::Captures<'_>| {
        let word = if found.get(2).is_some() { "endfilter" } else { "filter generation" };
        format!("{{%{} {word} {}%}}", &found[1], &found[3])
    });
    (written.into_owned(), marks)
}

/// The same template without `{% generation %}` blocks, which other programs do not know: blocks that are always taken in their
/// place, so that the whitespace around them is treated alike.
#[must_use]
pub fn without_generation_tags(source: &str) -> String {
    let written = generation_tag().replace_all(source, |found: &regex::Captures<'_>| {
        let word = if found.get(2).is_some() { "endif" } else { "if true" };
        format!("{{%{} {word} {}%}}", &found[1], &found[3])
    });
    written.into_owned()
}

fn generation_tag() -> regex::Regex {
    regex::Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("the expression is a valid one")
}

/// Takes the marks out and gives the spans they enclosed.
fn unmark(marked: &str) -> Option<Rendered> {
    let (mut text, mut assistant, mut start) = (String::with_capacity(marked.len()), Vec::new(), None);
    for c in marked.chars() {
        match c {
            START if start.is_none() => start = Some(text.len()),
            END => assistant.push(start.take()?..text.len()),
            START => return None,
            other => text.push(other),
        }
    }
    start.is_none().then_some(Rendered { text, assistant })
}

fn words(error: &minijinja::Error) -> String {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let what = match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps".to_owned(),
        _ => what,
    };
    error.line().map_or(what.clone(), |line| format!("{what} (line {line})"))
}

#[cfg(test)]
mod tests;

//! The prompt of a built row: the input as it is, or a template around it.

use std::borrow::Cow;

use serde_json::{Map, Value};
use tb_core::{ApiError, ErrorCode, preference::BuiltRow};
use tb_data::import::framed;

/// Stands in a trial for an input, and in no template.
const MARK: &str = "\u{1}input\u{1}";

/// How a prompt is made of an input.
pub(super) struct Frame(Option<String>);

impl Frame {
    /// The frame of a template, tried out.
    ///
    /// # Errors
    /// A template without `{input}`, with another column, or with a brace alone.
    pub fn new(template: Option<&str>) -> Result<Self, ApiError> {
        let Some(template) = template else { return Ok(Self(None)) };
        let refused = |reason: String| {
            ApiError::new(ErrorCode::InvalidArgument, format!("Nothing was built: {reason}."))
                .hint("A template holds {input} and may hold {transformation_type}; {{ and }} stand for braces.")
        };
        let trial = fill(template, MARK, "").map_err(refused)?;
        if !trial.contains(MARK) {
            return Err(refused("the template does not hold {input}".into()));
        }
        Ok(Self(Some(template.to_owned())))
    }

    /// Whether prompts are more than inputs.
    pub fn is_template(&self) -> bool {
        self.0.is_some()
    }

    /// The prompt of a row.
    pub fn prompt<'e>(&self, row: &BuiltRow<'e>) -> Cow<'e, str> {
        match &self.0 {
            None => row.prompt.into(),
            // It was tried out; an input is never blank.
            Some(template) => fill(template, row.prompt, row.transformation_type).map_or(row.prompt.into(), Cow::Owned),
        }
    }
}

fn fill(template: &str, input: &str, transformation_type: &str) -> Result<String, String> {
    let column = |name: &str, text: &str| (name.to_owned(), Value::String(text.to_owned()));
    let record: Map<String, Value> =
        [column("input", input), column("transformation_type", transformation_type)].into_iter().collect();
    framed(template, &record)
}

#[cfg(test)]
mod tests {
    use tb_core::preference::Lesson;

    use super::*;

    #[test]
    fn a_template_stands_around_the_input_to_the_byte() {
        let row = |prompt, transformation_type| BuiltRow {
            prompt,
            transformation_type,
            lesson: Lesson::Accepted { completion: "a" },
            feedback: vec![],
        };
        let frame = Frame::new(Some("{{x}} {transformation_type}\n\nIn: {input}\n\nOut:")).unwrap();
        assert_eq!(frame.prompt(&row(" {input} \n", "polite")), "{x} polite\n\nIn:  {input} \n\n\nOut:");
        assert_eq!(frame.prompt(&row("a", "")), "In: a\n\nOut:");
        assert_eq!(Frame::new(None).unwrap().prompt(&row(" a ", "t")), " a ");
        for bad in ["", "no input", "{input", "{input} {other}", "{transformation_type}"] {
            assert!(Frame::new(Some(bad)).is_err(), "{bad}");
        }
    }
}

//! Limits for hostile templates, marks, and refusals. Agreement with transformers is tested in tokenize, against golden files.

use super::*;

fn message(role: &str, content: &str) -> Message {
    Message { role: role.into(), content: content.into(), more: Map::new() }
}

fn render(source: &str) -> Result<Rendered> {
    let messages = [message("user", "hi <b>"), message("assistant", "やあ")];
    ChatTemplate::new(source, "t", Map::new())?.render(&messages, Ending::Closed, Surroundings::default())
}

#[test]
fn assistant_spans_are_byte_ranges_of_the_text() {
    let source = "{% for m in messages %}\n[{{ m.role }}]\n{% if m.role == 'assistant' %}\n{% generation %}\n\
                  {{ m.content }}!\n{% endgeneration %}\n{% else %}\n{{ m.content }}\n{% endif %}\n{% endfor %}";
    let rendered = render(source).unwrap();
    assert_eq!(rendered.text, "[user]\nhi <b>\n[assistant]\nやあ!\n");
    assert_eq!(&rendered.text[rendered.assistant[0].clone()], "やあ!\n");
    assert_eq!(ChatTemplate::new(source, "t", Map::new()).unwrap().marks(), Marks::Generation);
}

#[test]
fn a_refusal_of_the_template_is_told() {
    let error = render("{{ raise_exception('roles must alternate') }}").unwrap_err().to_string();
    assert!(error.contains("roles must alternate") && error.contains("line 1"), "{error}");
    let error = render("a\n{% if %}").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn hostile_templates_end_with_an_error() {
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(1000000000) %}{% endfor %}",
        "{{ 'a' * 10000000000 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in range(90000) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}",
        "{{ messages[0].nothing.more }}",
        "{% include 'x' %}",
        "{{ nothing() }}",
    ] {
        assert!(matches!(render(source), Err(Error::Template { .. })), "{source}");
    }
    let long = "a".repeat(MAX_TEMPLATE_BYTES + 1);
    assert!(render(&long).is_err());
}

#[test]
fn damaged_templates_never_panic() {
    let whole =
        "{% for m in messages %}{% generation %}{{ m['content'] | tojson(indent=2) }}{% endgeneration %}{% endfor %}";
    for cut in 0..whole.len() {
        let _ = render(&whole[..cut]);
        let mut bytes = whole.as_bytes().to_vec();
        bytes[cut] ^= 1 << (cut % 7);
        if let Ok(text) = String::from_utf8(bytes) {
            let _ = render(&text);
        }
    }
}

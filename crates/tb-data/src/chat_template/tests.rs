//! Limits for hostile templates, marks, and refusals. Agreement with transformers is tested in tokenize, against golden files.

use std::time::Instant;

use super::*;
use crate::memory_meter::most_bytes;

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

/// Ends with an error, within a second and in little memory.
fn ends(source: &str) -> String {
    let started = Instant::now();
    let messages = [message("user", "hi <b>"), message("assistant", "やあ")];
    // On one thread, so that all of it is counted.
    let (out, most) = on_deep_stack(|| {
        most_bytes(|| {
            let template = ChatTemplate::new(source, "t", Map::new())?;
            let around = Surroundings::default();
            match template.render_with(&template.full, &messages, Ending::Closed, around) {
                Ok(rendered) => Ok(rendered.text.len()),
                Err(Stopped::OutOfFuel) => Err(template.bad("out of fuel".into())),
                Err(Stopped::Refused(reason)) => Err(template.bad(reason)),
            }
        })
    });
    assert!(render(source).is_err(), "{}", &source[..source.len().min(120)]);
    let (seconds, shown) = (started.elapsed().as_secs_f64(), &source[..source.len().min(120)]);
    assert!(most <= 64 << 20, "{shown}: {most} bytes");
    // Far more than it takes alone (under a second): tests run side by side, on few cores, without optimisation.
    assert!(seconds < 30.0, "{shown}: {seconds} s");
    match out {
        Err(error @ Error::Template { .. }) => error.to_string(),
        other => panic!("{shown}: {other:?}"),
    }
}

#[test]
fn hostile_templates_end_with_an_error() {
    let doubling = "{% set ns = namespace(s='0123456789abcdef') %}{% for i in range(40) %}{% set ns.s = ns.s OP ns.s %}{% endfor %}";
    let captured = "{% set ns = namespace(s='0123456789abcdef') %}{% for i in range(40) %}{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}\
                    {% set ns.s = x %}{% endfor %}";
    let added =
        "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = OP %}{% endfor %}{{ ns.l|list|length }}";
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(1000000000) %}{% endfor %}",
        "{{ range(10**9)|list|length }}",
        "{{ 'a' * 10000000000 }}",
        "{{ 'a' * 10**10 }}",
        "{{ [0] * 10**10 }}",
        "{{ 10**10**10 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
        "{% for a in range(90000) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' * 5 }}{% endfor %}",
        &doubling.replace("OP", "~"),
        &doubling.replace("OP", "+"),
        captured,
        "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
        "{{ ('a' * 100000)|replace('a', 'b' * 100000) }}",
        "{{ ('ab' * 100000).join(range(90000)|list) }}",
        "{{ range(90000)|join('ab' * 100000) }}",
        "{{ '{:>1000000000}'.format('a') }}",
        "{{ '{:>{}}'.format('a', 1000000000) }}",
        "{{ '{:.1000000000f}'.format(1.5) }}",
        "{{ '%1000000000s'|format('a') }}",
        "{{ 'a'|center(1000000000) }}",
        "{{ 'a'|indent(1000000000, true) }}",
        "{{ messages|tojson(indent=1000000000) }}",
        "{{ messages|tojson(separators=['a' * 1000000, ':']) }}",
        // 40 lists, each of the one before twice.
        "{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l|tojson }}",
        &added.replace("OP", "ns.l + ns.l"),
        &added.replace("OP", "ns.l + ns.l + []"),
        &added.replace("OP", "[] + (ns.l + (ns.l if true else []))"),
        &added.replace("OP", "[ns.l, ns.l]|sum(start=[])"),
        &added.replace("OP", "ns.l|chain(ns.l)"),
        &added.replace("OP", "(ns.l|map('upper')) + (ns.l|map('upper'))"),
        &added.replace("OP", "ns.l * 2"),
        &added.replace("OP", "ns.l * 2").replace("(l=[1])", "(l=(1, 2))"),
        &added.replace("OP", "ns.l + ns.l").replace("(l=[1])", "(l=(1, 2))"),
        &added.replace("OP", "ns.l|zip(ns.l)|list + ns.l"),
        // An attribute walk as against Python's Jinja.
        "{{ messages.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''.__class__.__base__.__subclasses__()[1]('x') }}",
        "{{ self.__init__.__globals__.os.system('x') }}",
        "{{ messages[0].nothing.more }}",
        "{% include 'x' %}",
        "{% import '/etc/passwd' as x %}",
        "{{ nothing() }}",
    ] {
        let text = ends(source);
        assert!(text.contains("template"), "{text}");
    }
    assert!(ends(&"a".repeat(10 << 20)).contains("longer than"));
}

#[test]
fn a_text_is_formatted_as_in_python() {
    let source = "{{ '{}-{:>4}-{{{}}}'.format('a', 'b', 12345) }}{{ '123456'.format() }}";
    assert_eq!(render(source).unwrap().text, "a-   b-{12345}123456");
}

#[test]
fn sums_are_python_s() {
    for (source, sum) in [
        ("{{ 1 + 2 + 3 - 4 + messages|length }}", "4"),
        ("{{ 'a' + 'b' + messages[0].role + 'c' }}", "abuserc"),
        ("{{ 'a' + ('b' + messages[0].role) + ['c'][0] }}", "abuserc"),
        ("{{ 1.5 + messages|length }} {{ true + messages|length }} {{ messages|length + -1 + 3 }}", "3.5 3 4"),
        ("{{ 2 * (messages|length + 1) + 1 ~ 'x' + '' }}", "refused"),
        (
            "{{ ('x' ~ messages|length) + '+' }}{# a + b #} a + b {% raw %}{{ 1 + x }}{% endraw %}",
            "x2+ a + b {{ 1 + x }}",
        ),
        ("{{ (messages + [1] + [2, 3])|length }} {{ (messages + [7])[-1] }}", "5 7"),
        ("{{ [1] + messages|map(attribute='role')|list }}", "[1, 'user', 'assistant']"),
        ("{{ messages|map('length')|sum }} {{ [1, 2, 3]|sum(start=4) }} {{ [{'a': 2}]|sum('a') }}", "4 10 2"),
        ("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "2"),
        (
            "{% macro m(a, b=1) %}{{ a + b }}{% endmacro %}{{ m(1) }} {{ m(a=1 + 2, b=3) }}{% block x %}{{ 3 + m|length if false else 4 + 5 }}{% endblock %}",
            "2 69",
        ),
        (
            "{{ messages[0 + 1].role[1 + 1:] }}{{ {'k' + 'v': 1 + 1}['kv'] }}{{ 'yes' if 1 + 1 == 2 and not 1 + 1 > 2 }}",
            "sistant2yes",
        ),
        ("{{ 'a' +\n messages[0].role\n + 'b' }}", "auserb"),
        ("{% for m in messages if m.role + '' == 'user' %}{{ loop.length + 1 }}{% endfor %}", "2"),
        ("{{ messages + 'x' }}", "refused"),
        ("{{ 'x' + 1 }}", "refused"),
        ("{{ none + 'x' }}", "refused"),
        ("{{ missing + 'x' }}", "refused"),
        ("{{ 170141183460469231731687303715884105727 + messages|length }}", "refused"),
    ] {
        match render(source) {
            Ok(rendered) => assert_eq!(rendered.text, sum, "{source}"),
            Err(error) => assert_eq!("refused", sum, "{source}: {error}"),
        }
    }
    let error = render("a\n{{ 1 + 'x' }}").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn a_thousand_messages_are_added_one_by_one() {
    let source = "{% set ns = namespace(l=[]) %}{% for i in range(1000) %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l|length }}";
    assert_eq!(render(source).unwrap().text, "1000");
}

#[test]
fn a_value_nested_very_deep_is_let_go_of() {
    // Neither writing nor dropping it may run out of stack.
    let source = "{% set ns = namespace(l=[]) %}{% for i in range(20000) %}{% set ns.l = [ns.l] %}{% endfor %}";
    assert_eq!(render(source).unwrap().text, "");
    for end in ["{{ ns.l }}", "{{ ns.l|tojson }}", "{{ ns.l|string|length }}", "{{ ns.l == ns.l }}"] {
        let _ = render(&format!("{source}{end}"));
    }
    let deep = format!("{}{}", "{% if true %}".repeat(20000), "{% endif %}".repeat(20000));
    let _ = render(&deep);
    let _ = render(&format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)));
    let _ = render(&format!("{{{{ {}1 }}}}", "not ".repeat(100_000)));
    let _ = render(&format!("{{{{ 1{} }}}}", " + 1".repeat(100_000)));
    let _ = render(&format!("{{{{ x{} }}}}", "|string".repeat(100_000)));
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

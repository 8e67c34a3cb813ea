//! From acts and words to a message in a register: slot values, reasons, greeting, second clause, closing line.
//! The same content rendered in two registers is a rewrite pair.

use tb_core::random::Stream;

use super::types::{Act, Kind, Language, Reason, Register, Words};
use super::{english, japanese};

/// One value of every slot, for one clause.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub name2: &'static str,
    pub object: &'static str,
    pub event: &'static str,
    pub place: &'static str,
    pub time: &'static str,
    pub day: String,
    pub day2: String,
    pub item: &'static str,
    pub count: String,
    pub count2: String,
    pub minutes: String,
    pub page: String,
    pub days: String,
    pub percent: String,
    subject: (&'static str, &'static str),
    reason: &'static Reason,
}

/// Who is spoken to, and how the message opens.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub name: &'static str,
    titled: bool,
    /// The source asks how the reader is; the polite target answers with a set phrase.
    small_talk: bool,
}

/// What a message says, before any register is chosen.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    pub language: Language,
    pub address: Option<Address>,
    /// One or two clauses.
    pub clauses: Vec<(usize, Values)>,
    pub closing: bool,
}

pub(crate) fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &english::WORDS,
        Language::Japanese => &japanese::WORDS,
    }
}

pub(crate) fn acts(language: Language) -> &'static [Act] {
    match language {
        Language::English => english::ACTS,
        Language::Japanese => japanese::ACTS,
    }
}

/// One of a list that is never empty.
pub(crate) fn one<T: Copy>(stream: &mut Stream, items: &[T]) -> T {
    *stream.pick(items).expect("the grammar's lists are not empty")
}

/// True in `percent` of 100 draws.
pub(crate) fn chance(stream: &mut Stream, percent: u64) -> bool {
    stream.below(100) < percent
}

fn between(stream: &mut Stream, low: u64, high: u64) -> u64 {
    low + stream.below(high - low + 1)
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn day(stream: &mut Stream, language: Language) -> String {
    if chance(stream, 45) {
        return one(stream, words(language).weekdays).to_owned();
    }
    let (month, date) = (stream.below(12) as usize, between(stream, 1, 28));
    match language {
        Language::English => format!("{date} {}", MONTHS[month]),
        Language::Japanese => format!("{}月{date}日", month + 1),
    }
}

/// Two draws that differ.
fn two<T: PartialEq>(stream: &mut Stream, mut draw: impl FnMut(&mut Stream) -> T) -> (T, T) {
    let first = draw(stream);
    loop {
        let second = draw(stream);
        if second != first {
            return (first, second);
        }
    }
}

/// Fresh values of every slot. `not` is a name that the clause must not mention again.
pub(crate) fn values(stream: &mut Stream, language: Language, not: Option<&str>) -> Values {
    let words = words(language);
    let (day, day2) = two(stream, |s| day(s, language));
    let (item, counter) = one(stream, words.items);
    let (count, count2) = two(stream, |s| format!("{}{counter}", between(s, 3, 90)));
    let name2 = loop {
        let name = one(stream, words.names);
        if not.is_none_or(|n| !n.contains(name) && !name.contains(n)) {
            break name;
        }
    };
    let (subjects, reasons) =
        if chance(stream, 75) { (words.people, words.people_reasons) } else { (words.devices, words.device_reasons) };
    let subject = one(stream, subjects);
    let reason = stream.pick(reasons).expect("the grammar's lists are not empty");
    Values {
        name2,
        object: one(stream, words.objects),
        event: one(stream, words.events),
        place: one(stream, words.places),
        time: one(stream, words.times),
        day,
        day2,
        item,
        count,
        count2,
        minutes: (5 * between(stream, 1, 12)).to_string(),
        page: between(stream, 2, 60).to_string(),
        days: between(stream, 2, 9).to_string(),
        percent: between(stream, 11, 98).to_string(),
        subject,
        reason,
    }
}

/// Somebody to address.
pub(crate) fn address(stream: &mut Stream, language: Language) -> Address {
    let words = words(language);
    let titled = chance(stream, 18);
    Address {
        name: one(stream, if titled { words.titled } else { words.names }),
        titled,
        small_talk: chance(stream, 20),
    }
}

/// A message's content that starts with act `first`; one in three has a second clause.
pub(crate) fn content(stream: &mut Stream, language: Language, first: usize) -> Content {
    let acts = acts(language);
    let address = chance(stream, 70).then(|| address(stream, language));
    let name = address.as_ref().map(|a| a.name);
    let mut clauses = vec![(first, values(stream, language, name))];
    if chance(stream, 33) {
        let second = loop {
            let act = stream.below(acts.len() as u64) as usize;
            if act != first && acts[act].kind != Kind::Opening {
                break act;
            }
        };
        clauses.push((second, values(stream, language, name)));
    }
    let last = acts[clauses[clauses.len() - 1].0].kind;
    let closing = matches!(last, Kind::Request | Kind::News) && chance(stream, 25);
    Content { language, address, clauses, closing }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_uppercase().chain(chars).collect())
}

/// Lower case for a sentence that follows "Also,": all but "I" and its contractions.
fn lowered(text: &str) -> String {
    if text.starts_with("I ") || text.starts_with("I'") {
        return text.to_owned();
    }
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

fn reason(values: &Values, register: Register) -> String {
    let (full, bare) = values.subject;
    let subject = match register {
        Register::Notes => bare,
        Register::Casual | Register::Polite | Register::Blunt | Register::Friendly | Register::Sentences => full,
    };
    values.reason.template(register).replace("{s}", subject)
}

fn value(values: &Values, slot: &str) -> Option<String> {
    Some(match slot {
        "name2" => values.name2.to_owned(),
        "obj" => values.object.to_owned(),
        "event" => values.event.to_owned(),
        "place" => values.place.to_owned(),
        "time" => values.time.to_owned(),
        "day" => values.day.clone(),
        "day2" => values.day2.clone(),
        "item" | "items" => values.item.to_owned(),
        "count" => values.count.clone(),
        "count2" => values.count2.clone(),
        "minutes" => values.minutes.clone(),
        "page" => values.page.clone(),
        "days" => values.days.clone(),
        "percent" => values.percent.clone(),
        _ => return None,
    })
}

/// The names of a template's slots, in order.
pub(crate) fn slot_names(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name))
}

/// A template with its slots filled.
pub(crate) fn fill(template: &str, values: &Values, register: Register) -> String {
    let mut text = String::with_capacity(template.len() + 48);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (slot, tail) = after.split_once('}').expect("every brace in a template is closed; a test reads them all");
        text.push_str(&match slot {
            "reason" => reason(values, register),
            "Reason" => capitalised(&reason(values, register)),
            _ => value(values, slot).expect("a template names only known slots; a test reads them all"),
        });
        rest = tail;
    }
    text.push_str(rest);
    text
}

/// The strings of a content that must stand in its target.
pub(crate) fn slots(content: &Content) -> Vec<String> {
    let mut slots: Vec<String> = Vec::new();
    let address = content.address.iter().map(|a| a.name.to_owned());
    slots.extend(address);
    for (act, values) in &content.clauses {
        for slot in slot_names(acts(content.language)[*act].sentences) {
            let text = match slot {
                "reason" | "Reason" => values.subject.1.to_owned(),
                _ => value(values, slot).expect("a template names only known slots; a test reads them all"),
            };
            if !slots.contains(&text) {
                slots.push(text);
            }
        }
    }
    slots
}

/// The message in a register. Where a source register has several templates, `stream` picks one;
/// a target register draws nothing.
pub(crate) fn render(content: &Content, register: Register, stream: &mut Stream) -> String {
    let acts = acts(content.language);
    let clauses: Vec<String> = content
        .clauses
        .iter()
        .map(|(act, values)| {
            let templates = acts[*act].templates(register);
            let template = match templates {
                [only] => *only,
                several => one(stream, several),
            };
            fill(template, values, register)
        })
        .collect();
    let last = acts[content.clauses[content.clauses.len() - 1].0].kind;
    let closing = if content.closing { Some(last) } else { None };
    match content.language {
        Language::English => english_message(content, register, stream, &clauses, closing),
        Language::Japanese => japanese_message(content, register, stream, &clauses, closing),
    }
}

fn english_message(
    content: &Content,
    register: Register,
    stream: &mut Stream,
    clauses: &[String],
    closing: Option<Kind>,
) -> String {
    let news = closing == Some(Kind::News);
    let mut text = String::new();
    let mut first = clauses[0].clone();
    if let Some(address) = &content.address {
        let name = address.name;
        let talk = address.small_talk;
        text = match register {
            Register::Casual => {
                let hello = one(stream, &["hey", "hi", "yo"]);
                let talk = if talk { "how's it going? " } else { "" };
                format!("{hello} {name}, {talk}")
            }
            Register::Polite => {
                let talk = if talk { "I hope you are well. " } else { "" };
                format!("Dear {name},\n{talk}")
            }
            Register::Blunt => format!("{} {name}. ", one(stream, &["Look,", "Listen,"])),
            Register::Friendly => format!("Hi {name}! "),
            Register::Notes => format!("{} {name}: ", one(stream, &["to", "for"])),
            Register::Sentences => {
                first = lowered(&first);
                format!("Hello {name}, ")
            }
        };
    }
    if register == Register::Notes {
        text.insert_str(0, "- ");
    }
    text.push_str(&first);
    if let Some(second) = clauses.get(1) {
        match register {
            Register::Casual => {
                let end = if first.ends_with('?') { "" } else { "." };
                let link = one(stream, &["also", "oh and"]);
                text.push_str(&format!("{end} {link} {second}"));
            }
            Register::Polite => text.push_str(&format!(" In addition, {}", lowered(second))),
            Register::Blunt => text.push_str(&format!(" {}{second}", one(stream, &["", "One more thing. "]))),
            Register::Friendly => text.push_str(&format!(" Also, {}", lowered(second))),
            Register::Notes => text.push_str(&format!("\n- {second}")),
            Register::Sentences => text.push_str(&format!(" {second}")),
        }
    }
    if closing.is_some() {
        text.push_str(match (register, news) {
            (Register::Casual, false) => {
                if text.ends_with('?') {
                    " thx!"
                } else {
                    ", thx!"
                }
            }
            (Register::Casual, true) => ", hope that's ok",
            (Register::Polite, false) => " Thank you in advance for your help.",
            (Register::Polite, true) => " Thank you for your understanding.",
            (Register::Blunt, false) => " It's urgent.",
            (Register::Blunt, true) => " Deal with it.",
            (Register::Friendly, false) => " It's a bit urgent, so thank you!",
            (Register::Friendly, true) => " Thanks so much for understanding!",
            (Register::Notes, false) => ", urgent",
            (Register::Notes, true) => ", sorry",
            (Register::Sentences, false) => " This is urgent.",
            (Register::Sentences, true) => " I am sorry about this.",
        });
    }
    text
}

fn japanese_message(
    content: &Content,
    register: Register,
    stream: &mut Stream,
    clauses: &[String],
    closing: Option<Kind>,
) -> String {
    let news = closing == Some(Kind::News);
    let mut text = String::new();
    if let Some(address) = &content.address {
        let name = address.name;
        let honorific = |plain: &'static str| if address.titled { "" } else { plain };
        text = match register {
            Register::Casual => {
                let talk = if address.small_talk { "どうも！" } else { "" };
                format!("{name}{}、{talk}", honorific("さん"))
            }
            Register::Polite => {
                let talk = if address.small_talk { "いつもお世話になっております。" } else { "" };
                format!("{name}{}\n{talk}", honorific("様"))
            }
            Register::Blunt => format!("{}{name}、", one(stream, &["おい、", "なあ、"])),
            Register::Friendly | Register::Sentences => {
                format!("{name}{}、", honorific("さん"))
            }
            Register::Notes => format!("{name}{}へ：", honorific("さん")),
        };
    }
    if register == Register::Notes {
        text.insert(0, '・');
    }
    text.push_str(&clauses[0]);
    if let Some(second) = clauses.get(1) {
        let link = match register {
            Register::Casual => {
                if clauses[0].ends_with('？') {
                    one(stream, &["あと、", "それと"])
                } else {
                    one(stream, &["。あと、", "。それと"])
                }
            }
            Register::Polite | Register::Sentences => "また、",
            Register::Blunt => one(stream, &["それから、", "あと、"]),
            Register::Friendly => "それから、",
            Register::Notes => "\n・",
        };
        text.push_str(link);
        text.push_str(second);
    }
    if closing.is_some() {
        text.push_str(match (register, news) {
            (Register::Casual, false) => {
                if text.ends_with('？') {
                    "よろしく！"
                } else {
                    "。よろしく！"
                }
            }
            (Register::Casual, true) => "。悪いね",
            (Register::Polite, false) => "何卒よろしくお願い申し上げます。",
            (Register::Polite, true) => "ご迷惑をおかけし、申し訳ございません。",
            (Register::Blunt, false) => "急げ。",
            (Register::Blunt, true) => "文句は言うな。",
            (Register::Friendly, false) => "急ぎでお願いできるとうれしいです！",
            (Register::Friendly, true) => "ご理解いただけるとうれしいです！",
            (Register::Notes, false) => "、至急",
            (Register::Notes, true) => "、すみません",
            (Register::Sentences, false) => "至急お願いします。",
            (Register::Sentences, true) => "ご迷惑をおかけします。",
        });
    }
    text
}

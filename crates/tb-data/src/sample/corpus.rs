//! The pretraining text: documents that teach the two languages, the frame and copying from the context.
//!
//! No document holds a rewrite pair: whenever two messages share their slots, they say different things.
//! The order is part of the recipe: copying starts with short runs over few words and grows, which is what makes
//! a small model learn to look back at all.

use std::sync::OnceLock;

use tb_core::random::{Purpose, Stream};

use tokenizers::Tokenizer;

use super::compose::{Content, acts, address, chance, content, one, render, slot_names, values, words};
use super::frame::{self, BOS, EOS, SPECIAL_TOKENS};
use super::tokenizer::VOCABULARY;
use super::types::{Kind, Language, Register};

/// What a segment is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// Text, special tokens included.
    Text(String),
    /// Ids of ordinary tokens, drawn at random: as text they would not come back as the same tokens.
    Tokens(Vec<u32>),
}

/// A run of a document; loss falls on its tokens only where `supervised`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The text or the tokens; each segment is tokenised alone and the ids are joined.
    pub run: Run,
    /// Whether the tokens are targets.
    pub supervised: bool,
}

/// One document, complete from its first special token to `<|eos|>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PretrainDoc {
    /// The runs, in order.
    pub segments: Vec<Segment>,
}

impl PretrainDoc {
    fn push(&mut self, text: impl Into<String>, supervised: bool) {
        self.segments.push(Segment { run: Run::Text(text.into()), supervised });
    }

    fn push_tokens(&mut self, ids: Vec<u32>, supervised: bool) {
        self.segments.push(Segment { run: Run::Tokens(ids), supervised });
    }

    /// The whole text, without the runs of random tokens.
    #[must_use]
    pub fn text(&self) -> String {
        let texts = self.segments.iter().map(|s| match &s.run {
            Run::Text(text) => text.as_str(),
            Run::Tokens(_) => "",
        });
        texts.collect()
    }

    /// The ids and, for each, whether loss falls on it.
    ///
    /// # Errors
    /// When the tokenizer refuses a text.
    pub fn encode(&self, tokenizer: &Tokenizer) -> tokenizers::Result<Vec<(u32, bool)>> {
        let mut ids = Vec::new();
        for segment in &self.segments {
            match &segment.run {
                Run::Text(text) => {
                    let encoding = tokenizer.encode(text.as_str(), false)?;
                    ids.extend(encoding.get_ids().iter().map(|id| (*id, segment.supervised)));
                }
                Run::Tokens(tokens) => {
                    ids.extend(tokens.iter().map(|id| (*id, segment.supervised)));
                }
            }
        }
        Ok(ids)
    }

    /// About how many tokens the sample's tokenizer makes of it.
    #[must_use]
    pub fn estimated_tokens(&self) -> usize {
        let counts = self.segments.iter().map(|s| match &s.run {
            Run::Text(text) => estimate(text),
            Run::Tokens(ids) => ids.len(),
        });
        counts.sum()
    }
}

/// About 4 ASCII characters or 1.6 others to a token; a special token is one.
fn estimate(text: &str) -> usize {
    let special = text.matches("<|").count();
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let wide = text.chars().filter(|c| !c.is_ascii()).count();
    let ordinary = ascii.saturating_sub(9 * special) / 4 + wide * 10 / 16;
    special + ordinary.max(usize::from(special == 0))
}

/// Documents until about `tokens_target` tokens are out. The same seed gives the same documents; the target only
/// stretches the curriculum. Each document fits a context of 160 tokens.
pub fn corpus(seed: u64, tokens_target: usize) -> impl Iterator<Item = PretrainDoc> {
    let mut made = 0usize;
    (0u64..).map_while(move |index| {
        if made >= tokens_target {
            return None;
        }
        let progress = made as f64 / tokens_target as f64;
        let mut stream = Stream::new(seed, index, Purpose::Grammar, 1 << 32);
        let doc = document(&mut stream, progress);
        made += doc.estimated_tokens();
        Some(doc)
    })
}

fn document(stream: &mut Stream, progress: f64) -> PretrainDoc {
    let language = one(stream, &Language::ALL);
    // Percent of documents that copy random text: most of them while copying is being learnt.
    let copying = if progress < ONE_LENGTH_UNTIL {
        90
    } else if progress < GROWN_AT {
        40
    } else {
        20
    };
    if chance(stream, copying) {
        return random_copy(stream, progress);
    }
    match stream.below(100) {
        0..22 => loose(stream, language),
        22..50 => repeat(stream, language),
        50..76 => thread(stream, language),
        _ => question(stream, language),
    }
}

fn any_content(stream: &mut Stream, language: Language) -> Content {
    let first = stream.below(acts(language).len() as u64) as usize;
    content(stream, language, first)
}

fn message(stream: &mut Stream, language: Language) -> String {
    let content = any_content(stream, language);
    let register = one(stream, &Register::ALL);
    render(&content, register, stream)
}

/// Messages that have nothing to do with each other.
fn loose(stream: &mut Stream, language: Language) -> PretrainDoc {
    let mut doc = PretrainDoc { segments: vec![] };
    let mut text = format!("{BOS}{}", message(stream, language));
    let second = message(stream, language);
    if estimate(&text) + estimate(&second) < 115 {
        text.push('\n');
        text.push_str(&second);
    }
    doc.push(text + EOS, true);
    doc
}

/// The frame, with a text to say again word for word.
fn repeat(stream: &mut Stream, language: Language) -> PretrainDoc {
    let text = loop {
        let text = if chance(stream, 75) {
            message(stream, language)
        } else {
            let count = 3 + stream.below(12) as usize;
            pieces(stream, language, count)
        };
        if estimate(&text) < 66 {
            break text;
        }
    };
    let task = match language {
        Language::English => one(stream, &["Repeat:", "Copy this:", "Say it again:"]),
        Language::Japanese => one(stream, &["繰り返す：", "そのまま写す：", "もう一度言う："]),
    };
    framed(&format!("{task}\n{text}"), text)
}

fn framed(user: &str, answer: String) -> PretrainDoc {
    let mut doc = PretrainDoc { segments: vec![] };
    doc.push(frame::prompt(user), false);
    doc.push(answer + EOS, true);
    doc
}

/// Two messages that share name and slots but not what they say.
fn thread(stream: &mut Stream, language: Language) -> PretrainDoc {
    let all = acts(language);
    let to = address(stream, language);
    let shared = values(stream, language, Some(to.name));
    let first = stream.below(all.len() as u64) as usize;
    let second = loop {
        let act = stream.below(all.len() as u64) as usize;
        let common =
            slot_names(all[first].sentences).any(|slot| slot_names(all[act].sentences).any(|other| slot == other));
        if act != first && common && all[act].kind != Kind::Opening {
            break act;
        }
    };
    let of = |act: usize| Content {
        language,
        address: Some(to.clone()),
        clauses: vec![(act, shared.clone())],
        closing: false,
    };
    let before = render(&of(first), one(stream, &Register::ALL), stream);
    let after = render(&of(second), one(stream, &Register::ALL), stream);
    if chance(stream, 50) {
        let task = match language {
            Language::English => "What else is there?",
            Language::Japanese => "ほかに何がありますか：",
        };
        return framed(&format!("{task}\n{before}"), after);
    }
    let mut doc = PretrainDoc { segments: vec![] };
    doc.push(format!("{BOS}{before}\n"), true);
    doc.push(after + EOS, true);
    doc
}

/// The frame, with a short question about a message: whom, which document, when, where, how many.
fn question(stream: &mut Stream, language: Language) -> PretrainDoc {
    loop {
        let content = any_content(stream, language);
        let (act, values) = &content.clauses[stream.below(content.clauses.len() as u64) as usize];
        let names: Vec<&str> = slot_names(acts(language)[*act].sentences).collect();
        let mut asked: Vec<(&str, String)> = Vec::new();
        if let Some(address) = &content.address {
            asked.push((to_whom(language), address.name.to_owned()));
        }
        // Where two clauses both have a day, "which day" has two answers: ask only of single clauses.
        if content.clauses.len() == 1 {
            for name in names {
                let answer = super::compose::fill(&format!("{{{name}}}"), values, Register::Notes);
                asked.extend(question_of(language, name).map(|text| (text, answer)));
            }
        }
        if asked.is_empty() {
            continue;
        }
        let (task, answer) = asked.swap_remove(stream.below(asked.len() as u64) as usize);
        let text = render(&content, one(stream, &Register::ALL), stream);
        return framed(&format!("{task}\n{text}"), answer);
    }
}

fn to_whom(language: Language) -> &'static str {
    match language {
        Language::English => "Name the addressee:",
        Language::Japanese => "宛名は：",
    }
}

fn question_of(language: Language, slot: &str) -> Option<&'static str> {
    let (english, japanese) = match slot {
        "obj" => ("Name the document:", "書類の名前は："),
        "event" => ("Name the event:", "行事の名前は："),
        "place" => ("Name the place:", "場所は："),
        "time" => ("What time:", "時間は："),
        "day" => ("Name the first day:", "最初の日は："),
        "day2" => ("Name the second day:", "二番目の日は："),
        "item" | "items" => ("Name the goods:", "品物は："),
        "count" => ("How many:", "いくつ："),
        "name2" => ("Who else is named:", "ほかの人の名前は："),
        "percent" => ("How many percent:", "何パーセント："),
        "page" => ("Which page or how many:", "何ページ："),
        "minutes" => ("How many minutes:", "何分："),
        "days" => ("How many days:", "何日："),
        _ => return None,
    };
    Some(match language {
        Language::English => english,
        Language::Japanese => japanese,
    })
}

/// Where the runs of random tokens end to have one length, and where they reach their greatest.
const ONE_LENGTH_UNTIL: f64 = 0.02;
const GROWN_AT: f64 = 0.2;

/// Random tokens, a mark, and the same again; loss falls on the second copy only.
///
/// At first every run has six tokens, so that looking back a fixed way is enough; then lengths spread, and only
/// finding the token that stood here before still works.
fn random_copy(stream: &mut Stream, progress: f64) -> PretrainDoc {
    let grown = ((progress - ONE_LENGTH_UNTIL) / (GROWN_AT - ONE_LENGTH_UNTIL)).clamp(0.0, 1.0);
    let (low, high) = if progress < ONE_LENGTH_UNTIL {
        (6, 6)
    } else {
        (2 + (4.0 * (1.0 - 3.0 * grown).max(0.0)) as u64, 7 + (41.0 * grown) as u64)
    };
    let mut doc = PretrainDoc { segments: vec![] };
    let mut room = 158u64;
    loop {
        let length = low + stream.below(high - low + 1);
        let Some(left) = room.checked_sub(2 * length + 2) else {
            break;
        };
        room = left;
        let ids: Vec<u32> = (0..length).map(|_| any_token(stream)).collect();
        doc.push(BOS, false);
        doc.push_tokens(ids.clone(), false);
        doc.push("\n", false);
        doc.push_tokens(ids, true);
    }
    doc.push(EOS, false);
    doc
}

fn any_token(stream: &mut Stream) -> u32 {
    let special = SPECIAL_TOKENS.len() as u64;
    (special + stream.below(VOCABULARY as u64 - special)) as u32
}

/// `count` random words of the grammar and invented ones.
fn pieces(stream: &mut Stream, language: Language, count: usize) -> String {
    let mut text = String::new();
    for i in 0..count {
        match language {
            Language::English if i > 0 => text.push(' '),
            Language::English | Language::Japanese => {}
        }
        if chance(stream, 40) {
            text.push_str(&invented(stream, language));
        } else {
            text.push_str(one(stream, lexicon(language)));
        }
    }
    text
}

/// A word that exists nowhere: syllables, kanji, kana or digits.
fn invented(stream: &mut Stream, language: Language) -> String {
    const CONSONANTS: [&str; 16] = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "sh", "tr"];
    const VOWELS: [&str; 7] = ["a", "e", "i", "o", "u", "ai", "ou"];
    if chance(stream, 25) {
        return stream.below(1000).to_string();
    }
    let length = 1 + stream.below(3);
    match language {
        Language::English => {
            let mut word: String =
                (0..length).map(|_| format!("{}{}", one(stream, &CONSONANTS), one(stream, &VOWELS))).collect();
            if chance(stream, 30) {
                word = word[..1].to_uppercase() + &word[1..];
            }
            word
        }
        Language::Japanese => {
            let (first, size) = one(stream, &[(0x3042u32, 82), (0x30a2, 82), (0x4e00, 4000)]);
            (0..length).filter_map(|_| char::from_u32(first + stream.below(size) as u32)).collect()
        }
    }
}

/// Every word of a language's lists and templates, without repeats, in their order; gathered once.
fn lexicon(language: Language) -> &'static [&'static str] {
    static ENGLISH: OnceLock<Vec<&str>> = OnceLock::new();
    static JAPANESE: OnceLock<Vec<&str>> = OnceLock::new();
    match language {
        Language::English => ENGLISH.get_or_init(|| gather(language)),
        Language::Japanese => JAPANESE.get_or_init(|| gather(language)),
    }
}

fn gather(language: Language) -> Vec<&'static str> {
    let words = words(language);
    let mut all: Vec<&'static str> = Vec::new();
    for list in [words.names, words.objects, words.events, words.places, words.times, words.weekdays] {
        all.extend(list);
    }
    all.extend(words.items.iter().map(|(item, _)| item));
    for act in acts(language) {
        for register in Register::ALL {
            for template in act.templates(register) {
                all.extend(
                    template
                        .split(|c: char| c.is_whitespace() || c.is_ascii_punctuation() || "、。？！：（）→".contains(c))
                        .filter(|w| !w.is_empty()),
                );
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|w| seen.insert(*w));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::rows;
    use std::collections::HashSet;

    #[test]
    fn the_corpus_is_a_function_of_its_seed_and_stops_at_its_target() {
        let docs: Vec<_> = corpus(5, 20_000).collect();
        assert_eq!(docs, corpus(5, 20_000).collect::<Vec<_>>());
        let tokens: usize = docs.iter().map(PretrainDoc::estimated_tokens).sum();
        assert!((20_000..20_200).contains(&tokens), "{tokens}");
    }

    #[test]
    fn every_document_ends_and_supervises_something() {
        for doc in corpus(5, 60_000) {
            assert!(doc.text().ends_with(EOS) && doc.estimated_tokens() <= 160, "{doc:?}");
            assert!(doc.segments.iter().any(|s| s.supervised));
        }
    }

    #[test]
    fn no_document_holds_a_rewrite_of_the_sample() {
        let set = rows(11);
        let rewrites: HashSet<(&str, &str)> =
            set.train.iter().chain(&set.heldout).map(|r| (r.source.as_str(), r.completion.as_str())).collect();
        for doc in corpus(11, 15_000) {
            let text = doc.text();
            assert!(!text.contains("Rewrite") && !text.contains("書き直す"));
            assert!(!rewrites.iter().any(|(s, t)| text.contains(s) && text.contains(t)));
        }
    }
}

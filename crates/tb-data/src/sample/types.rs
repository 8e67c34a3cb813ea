//! The row, its direction and its language, and the act tables' shape; no text of any language here.

use serde::{Deserialize, Serialize};

/// What a row asks for: from which register to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Casual chat to a business-polite message (Japanese: 丁寧語 with 尊敬語 and 謙譲語).
    CasualToPolite,
    /// A blunt order to a friendly message.
    BluntToFriendly,
    /// Keyword notes to full, neutral sentences.
    NotesToSentences,
}

impl Direction {
    /// Every direction, in the order of the files.
    pub const ALL: [Self; 3] = [Self::CasualToPolite, Self::BluntToFriendly, Self::NotesToSentences];

    /// The name that stands in a row's `direction` field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CasualToPolite => "casual_to_polite",
            Self::BluntToFriendly => "blunt_to_friendly",
            Self::NotesToSentences => "notes_to_sentences",
        }
    }

    /// The register of the source text.
    #[must_use]
    pub fn source(self) -> Register {
        match self {
            Self::CasualToPolite => Register::Casual,
            Self::BluntToFriendly => Register::Blunt,
            Self::NotesToSentences => Register::Notes,
        }
    }

    /// The register of the target text.
    #[must_use]
    pub fn target(self) -> Register {
        match self {
            Self::CasualToPolite => Register::Polite,
            Self::BluntToFriendly => Register::Friendly,
            Self::NotesToSentences => Register::Sentences,
        }
    }
}

/// The language of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Language {
    /// English.
    #[serde(rename = "en")]
    English,
    /// Japanese.
    #[serde(rename = "ja")]
    Japanese,
}

impl Language {
    /// Both languages, in the order of the files.
    pub const ALL: [Self; 2] = [Self::English, Self::Japanese];

    /// The code that stands in a row's `language` field: `en` or `ja`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
        }
    }
}

/// The tone of a text. Three are sources, three are targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Register {
    /// Chat among friends.
    Casual,
    /// Business mail.
    Polite,
    /// Orders without courtesy.
    Blunt,
    /// Warm, among colleagues.
    Friendly,
    /// Keywords.
    Notes,
    /// Complete neutral sentences.
    Sentences,
}

impl Register {
    /// All six.
    pub const ALL: [Self; 6] = [Self::Casual, Self::Polite, Self::Blunt, Self::Friendly, Self::Notes, Self::Sentences];
}

/// One line of the sample: a source text, the one right rewrite of it, and the strings that must survive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleRow {
    /// `<direction>-<language>-<number>`, unique over both files.
    pub id: String,
    /// What is asked for.
    pub direction: Direction,
    /// Language of source and target.
    pub language: Language,
    /// The text to rewrite, without the frame.
    pub source: String,
    /// The whole text before the answer, frame and special tokens included.
    pub prompt: String,
    /// The right answer, without an end token.
    pub completion: String,
    /// Names, dates, times, numbers, objects, places: each is found verbatim in `completion`.
    pub slots: Vec<String>,
}

/// The sample's two files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleSet {
    /// Rows to train on, shuffled over directions and languages.
    pub train: Vec<SampleRow>,
    /// Rows to measure on; no target of theirs stands in `train`.
    pub heldout: Vec<SampleRow>,
}

/// What a message does to its reader; decides which closing line may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Asks for something.
    Request,
    /// Brings bad news.
    News,
    /// Neither: no closing line.
    Plain,
    /// Neither, and makes sense only at the start of a message ("Yes, ...").
    Opening,
}

/// One thing to say, in six registers. `{slot}` stands for a value; all templates of an act use the same slots,
/// so that every source determines its target.
#[derive(Debug)]
pub(crate) struct Act {
    pub kind: Kind,
    pub casual: &'static [&'static str],
    pub polite: &'static str,
    pub blunt: &'static [&'static str],
    pub friendly: &'static str,
    pub notes: &'static [&'static str],
    pub sentences: &'static str,
}

impl Act {
    /// The templates of a register; a target register has exactly one.
    pub(crate) fn templates(&self, register: Register) -> &[&'static str] {
        match register {
            Register::Casual => self.casual,
            Register::Polite => std::slice::from_ref(&self.polite),
            Register::Blunt => self.blunt,
            Register::Friendly => std::slice::from_ref(&self.friendly),
            Register::Notes => self.notes,
            Register::Sentences => std::slice::from_ref(&self.sentences),
        }
    }
}

/// Why something happens, in six registers; `{s}` stands for the subject.
#[derive(Debug)]
pub(crate) struct Reason {
    pub casual: &'static str,
    pub polite: &'static str,
    pub blunt: &'static str,
    pub friendly: &'static str,
    pub notes: &'static str,
    pub sentences: &'static str,
}

impl Reason {
    /// The clause in a register.
    pub(crate) fn template(&self, register: Register) -> &'static str {
        match register {
            Register::Casual => self.casual,
            Register::Polite => self.polite,
            Register::Blunt => self.blunt,
            Register::Friendly => self.friendly,
            Register::Notes => self.notes,
            Register::Sentences => self.sentences,
        }
    }
}

/// The words of a language that fill the slots.
#[derive(Debug)]
pub(crate) struct Words {
    pub names: &'static [&'static str],
    /// Names that carry a title already ("Dr Weber", 田中部長).
    pub titled: &'static [&'static str],
    pub objects: &'static [&'static str],
    pub events: &'static [&'static str],
    /// Countable things; the second is the counter word (empty in English).
    pub items: &'static [(&'static str, &'static str)],
    pub places: &'static [&'static str],
    pub times: &'static [&'static str],
    pub weekdays: &'static [&'static str],
    /// Who causes a delay: as said in sentences, and bare as it stands in notes.
    pub people: &'static [(&'static str, &'static str)],
    pub people_reasons: &'static [Reason],
    /// What breaks.
    pub devices: &'static [(&'static str, &'static str)],
    pub device_reasons: &'static [Reason],
}

//! Identifiers: one newtype per entity, written as `<prefix>_<uuid v7>`. Minting needs a clock, so it happens in the caller.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

/// A text that is not an id of the expected kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {kind} id: it should look like {prefix}_019b0c5e-…")]
pub struct BadId {
    /// What was given.
    pub text: String,
    /// The entity whose id was expected.
    pub kind: &'static str,
    /// The prefix such an id has.
    pub prefix: &'static str,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal, $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
        #[serde(try_from = "String", into = "String")]
        #[ts(type = "string")]
        pub struct $name(String);

        impl $name {
            /// The prefix of this kind of id.
            pub const PREFIX: &'static str = $prefix;

            /// The id made from a UUID (version 7, so that ids sort by time of creation).
            #[must_use]
            pub fn from_uuid(uuid: Uuid) -> Self {
                Self(format!("{}_{}", $prefix, uuid.as_hyphenated()))
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let bad = || BadId { text: text.to_owned(), kind: $kind, prefix: $prefix };
                let rest = text.strip_prefix($prefix).and_then(|r| r.strip_prefix('_')).ok_or_else(bad)?;
                let uuid = Uuid::try_parse(rest).map_err(|_| bad())?;
                Ok(Self::from_uuid(uuid))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;
            fn try_from(text: String) -> Result<Self, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

ids! {
    /// A job: one run of a worker.
    JobId = "job", "job";
    /// A model version in the registry.
    ModelId = "mdl", "model";
    /// A dataset version.
    DatasetId = "dts", "dataset";
    /// One feedback row.
    FeedbackId = "fbk", "feedback";
    /// An A/B test.
    AbTestId = "abt", "A/B test";
    /// A user.
    UserId = "usr", "user";
    /// A deployment of a model version.
    DeploymentId = "dpl", "deployment";
    /// An evaluation of one model on one dataset.
    EvalId = "evl", "evaluation";
    /// An export of a model version.
    ExportId = "exp", "export";
    /// A labelling project.
    LabelProjectId = "lbl", "labelling project";
    /// An item of a labelling project.
    LabelItemId = "itm", "labelling item";
    /// An answer that a deployed model gave.
    AnswerId = "ans", "answer";
    /// An access token of a user.
    TokenId = "tok", "access token";
    /// A browser in which a user is signed in.
    SessionId = "ses", "session";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_refuses_another_kind() {
        let id = JobId::from_uuid(Uuid::from_u128(7));
        assert_eq!(id.as_str().parse::<JobId>().unwrap(), id);
        assert!(id.as_str().parse::<ModelId>().is_err());
        assert!("job_".parse::<JobId>().is_err());
        assert!("job_../../etc".parse::<JobId>().is_err());
    }
}

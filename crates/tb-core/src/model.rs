//! The model registry: versions, where they come from, and the machine of their stages.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::{
    error::Refusal,
    ids::{DatasetId, JobId, ModelId},
    recipe::FinetuningType,
    run_folder::{FileHash, ModelSource},
    text_enum::text_enum,
};

text_enum! {
    /// Stage of a model version.
    ModelStatus, "model status" {
        /// Just made.
        Draft = "draft",
        /// Being checked.
        Staging = "staging",
        /// Answers live traffic; at most one version of a name.
        Production = "production",
        /// Kept, not in use.
        Archived = "archived",
    }
}

text_enum! {
    /// What can happen to a model version.
    ModelAction, "model action" {
        /// To be checked.
        Stage = "stage",
        /// To answer live traffic.
        Promote = "promote",
        /// Another version takes its place.
        Retire = "retire",
        /// To be kept out of use.
        Archive = "archive",
        /// Out of the archive.
        Restore = "restore",
    }
}

impl ModelStatus {
    /// The stage after `action`.
    ///
    /// # Errors
    /// A [`Refusal`] if a version in this stage does not allow the action.
    pub fn next(self, action: ModelAction) -> Result<Self, Refusal> {
        use ModelAction as A;
        use ModelStatus as S;
        match (self, action) {
            (S::Draft, A::Stage) => Ok(S::Staging),
            (S::Draft | S::Staging | S::Archived, A::Promote) => Ok(S::Production),
            // The version that steps down stays at hand for a roll-back.
            (S::Production, A::Retire) => Ok(S::Staging),
            (S::Draft | S::Staging, A::Archive) => Ok(S::Archived),
            (S::Archived, A::Restore) => Ok(S::Draft),
            (S::Draft, A::Retire | A::Restore)
            | (S::Staging, A::Stage | A::Retire | A::Restore)
            | (S::Production, A::Stage | A::Promote | A::Archive | A::Restore)
            | (S::Archived, A::Stage | A::Retire | A::Archive) => {
                Err(Refusal { entity: "model", state: self.to_string(), action: action.to_string() })
            }
        }
    }
}

/// A model version as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
pub struct Model {
    /// Its id.
    pub id: ModelId,
    /// The job that made it.
    pub training_job_id: Option<JobId>,
    /// A name for people; versions of one model share it.
    pub name: String,
    /// Version of the name, from 1.
    pub version: u32,
    /// The kind of rewriting, such as `tone_adjustment`.
    pub model_type: String,
    /// Folder of the base model.
    pub base_model: String,
    /// Folder of the adapter, or of the whole model (see [`Lineage::finetuning_type`]).
    pub path: String,
    /// Its figures by name.
    #[ts(type = "Record<string, number>")]
    pub metrics: serde_json::Map<String, serde_json::Value>,
    /// Stage.
    pub status: ModelStatus,
    /// Where it comes from.
    pub lineage: Lineage,
    /// Its files.
    pub files: Vec<FileHash>,
    /// Number of changes so far.
    #[ts(type = "number")]
    pub revision: i64,
    /// When it went into production.
    #[ts(type = "number | null")]
    pub deployed_at_ms: Option<i64>,
    /// When it was registered.
    #[ts(type = "number")]
    pub created_at_ms: i64,
}

impl Model {
    /// The files that answer: an adapter on its base, or the model that was trained as a whole.
    #[must_use]
    pub fn source(&self) -> ModelSource {
        match self.lineage.finetuning_type {
            FinetuningType::Lora => {
                ModelSource { base: self.base_model.clone().into(), adapter: Some(self.path.clone().into()) }
            }
            FinetuningType::Full => ModelSource { base: self.path.clone().into(), adapter: None },
        }
    }
}

/// Everything that made a model version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, TS)]
pub struct Lineage {
    /// Whether the version is an adapter or a model of its own.
    #[serde(default)]
    pub finetuning_type: FinetuningType,
    /// Hash of canonical spec, data, base and code version.
    pub identity: String,
    /// SHA-256 over the base model's weight files.
    pub base_sha256: String,
    /// The dataset version.
    pub dataset_id: Option<DatasetId>,
    /// SHA-256 of the training file.
    pub data_sha256: String,
    /// The version it continued from.
    pub parent: Option<ModelId>,
    /// Seed.
    #[ts(type = "number")]
    pub seed: u64,
    /// Version of the code.
    pub code_version: String,
    /// Last step.
    #[ts(type = "number")]
    pub step: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_and_action() {
        let mut table = String::new();
        for state in ModelStatus::ALL {
            let row: Vec<String> =
                ModelAction::ALL.iter().filter_map(|a| state.next(*a).ok().map(|s| format!("{a}→{s}"))).collect();
            table += &format!("{state}: {}\n", row.join(" "));
        }
        assert_eq!(
            table,
            "draft: stage→staging promote→production archive→archived\n\
             staging: promote→production archive→archived\n\
             production: retire→staging\n\
             archived: promote→production restore→draft\n"
        );
    }
}

//! Cache tags: a command says what it makes stale, a view says what it reads.

use crate::text_enum::text_enum;

text_enum! {
    /// A family of things that a view reads.
    Tag, "cache tag" {
        /// Jobs and their queue.
        Jobs = "jobs",
        /// Datasets.
        Datasets = "datasets",
        /// Model versions.
        Models = "models",
        /// Evaluations.
        Evaluations = "evaluations",
        /// Feedback rows.
        Feedback = "feedback",
        /// A/B tests.
        Experiments = "experiments",
        /// Deployments.
        Deployments = "deployments",
        /// Users.
        Users = "users",
        /// Settings.
        Settings = "settings",
    }
}

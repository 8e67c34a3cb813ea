//! The tables of labelling projects: `label_projects`, `label_items`, and who holds which item (`label_assignments`,
//! `label_cursors`). The counters of projects and items are kept by the functions here; what may follow what is tb-api's.

pub mod assignments;
pub mod items;
pub mod projects;

// The lists that many views read: asked with the same arguments everywhere, so that all share one answer.
import type { Args } from "./api";
import { query, type Query } from "./cache.svelte";

/** Training runs, newest first. Must be called while a component is set up, like `query`. */
export const trainingRuns = (): Query<"job_list"> => query("job_list", { status: null, kind: "train", limit: 200, before: null }, ["jobs"]);

/** Jobs of every kind, newest first. */
export const allJobs = (): Query<"job_list"> => query("job_list", { status: null, kind: null, limit: 200, before: null }, ["jobs"]);

/** Dataset versions, newest first. */
export const datasetVersions = (): Query<"data_list"> => query("data_list", {}, ["datasets"]);

/** Model versions, newest first. */
export const modelVersions = (): Query<"model_list"> => query("model_list", { name: null, status: null }, ["models"]);

/** Labelling projects, newest first, with the own progress in each. */
export const labelProjects = (): Query<"label_project_list"> => query("label_project_list", {}, ["feedback"]);

/** Base models on this machine. */
export const baseModels = (): Query<"base_list"> => query("base_list", {}, ["models", "datasets", "jobs"]);

/** Dataset versions and models that learned from feedback which was withdrawn since. */
export const withdrawnMarks = (): Query<"provenance_marks"> => query("provenance_marks", {}, ["feedback", "datasets", "models"]);

/** The feedback that a dataset version or a model learned from; null asks nothing. */
export const provenanceOf = (id: () => string | null): Query<"provenance"> =>
  query("provenance", () => {
    const wanted = id();
    return wanted === null ? null : { id: wanted };
  }, ["feedback", "datasets", "models"]);

/** Statistics of all feedback: they also name every reviewer and kind of rewriting there is. */
export const allFeedback = (): Query<"feedback_stats"> => query("feedback_stats", {} as Args<"feedback_stats">, ["feedback"]);

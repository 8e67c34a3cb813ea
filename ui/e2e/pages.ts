// The pages that tests look at and screenshots show; ids come from the home folder.
import type { Page } from "playwright-core";
import { rpc } from "./browser";

/** Name and path of every page, with the newest run, dataset and model of this home folder. */
export async function everyPage(page: Page): Promise<[name: string, path: string][]> {
  const first = async (command: string, args: object = {}) => (await rpc<{ id: string }[]>(page, command, args))[0]?.id;
  const projects = await rpc<{ project: { id: string } }[]>(page, "label_project_list");
  const ids = { project: projects[0]?.project.id, run: await first("job_list", { kind: "train" }), dataset: await first("data_list"), model: await first("model_list") };
  return [
    ["home", "/"],
    ["datasets", "/datasets"],
    ["dataset", `/datasets/${ids.dataset}`],
    ["dataset-tokens", `/datasets/${ids.dataset}?tab=tokens`],
    ["dataset-statistics", `/datasets/${ids.dataset}?tab=stats`],
    ["feedback", "/feedback"],
    ["feedback-statistics", "/feedback/stats"],
    ["feedback-rows", "/feedback/rows"],
    ["new-labelling-project", "/feedback/projects/new"],
    // A home folder without a project has no page of one.
    ...(ids.project === undefined
      ? []
      : ([
          ["labelling-project", `/feedback/projects/${ids.project}`],
          ["labelling-agreement", `/feedback/projects/${ids.project}?tab=agreement`],
          ["labelling-decisions", `/feedback/projects/${ids.project}?tab=decide`],
          ["labelling-flagged", `/feedback/projects/${ids.project}?tab=flagged`],
          ["review", `/feedback/${ids.project}/review`],
        ] satisfies [string, string][])),
    ["preference-sets", "/preferences"],
    ["new-preference-set", "/preferences/new"],
    ["runs", `/runs?run=${ids.run}`],
    ["run", `/runs/${ids.run}`],
    ["new-run", "/runs/new"],
    ["base-models", "/base-models"],
    ["models", "/models"],
    ["model", `/models/${ids.model}`],
    ["playground", "/playground"],
    ["people", "/people"],
    ["audit-log", "/people?tab=audit"],
    ["settings", "/settings"],
  ];
}

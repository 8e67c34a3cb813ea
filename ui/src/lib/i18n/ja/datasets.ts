import type { datasets as en } from "../en/datasets";
import type { Translation } from "../message";

export const datasets: Translation<typeof en> = {
};

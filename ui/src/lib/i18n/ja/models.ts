import type { models as en } from "../en/models";
import type { Translation } from "../message";

export const models: Translation<typeof en> = {
};

import type { playground as en } from "../en/playground";
import type { Translation } from "../message";

export const playground: Translation<typeof en> = {
};

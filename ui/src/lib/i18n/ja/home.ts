import type { home as en } from "../en/home";
import type { Translation } from "../message";

export const home: Translation<typeof en> = {
};

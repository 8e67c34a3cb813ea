import type { models as en } from "../en/models";
import type { Translation } from "../message";

export const models: Translation<typeof en> = {
  card_image: "[画像 (読み込みません): {alt}]",
};

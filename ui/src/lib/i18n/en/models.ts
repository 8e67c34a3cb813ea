// Words of the model pages and of the base models.
export const models = {
  card_image: "[picture, not loaded: {alt}]",
} as const;

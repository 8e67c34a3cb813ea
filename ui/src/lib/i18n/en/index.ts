// Texts by domain; a new domain is named here and in ja/.
import { datasets } from "./datasets";
import { home } from "./home";
import { labelling } from "./labelling";
import { models } from "./models";
import { people } from "./people";
import { playground } from "./playground";
import { review } from "./review";
import { settings } from "./settings";
import { shared } from "./shared";
import { shell } from "./shell";
import { training } from "./training";

export const en = { datasets, home, labelling, models, people, playground, review, settings, shared, shell, training };

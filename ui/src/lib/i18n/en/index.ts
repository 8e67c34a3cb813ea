// Texts by domain; a new domain is named here and in ja/.
import { datasets } from "./datasets";
import { feedback } from "./feedback";
import { home } from "./home";
import { labelling } from "./labelling";
import { models } from "./models";
import { people } from "./people";
import { playground } from "./playground";
import { review } from "./review";
import { preferences } from "./preferences";
import { settings } from "./settings";
import { shared } from "./shared";
import { shell } from "./shell";
import { training } from "./training";

export const en = { datasets, feedback, home, labelling, models, people, playground, preferences, review, settings, shared, shell, training };

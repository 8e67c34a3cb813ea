// The pages of the sidebar, by group. Only what exists stands here.
import type { ActionId } from "$lib/actions";
import type { PlainKey } from "$lib/i18n/index.svelte";
import type { Component } from "svelte";
import Box from "@lucide/svelte/icons/box";
import ChartLine from "@lucide/svelte/icons/chart-line";
import Columns2 from "@lucide/svelte/icons/columns-2";
import Database from "@lucide/svelte/icons/database";
import House from "@lucide/svelte/icons/house";
import LayoutGrid from "@lucide/svelte/icons/layout-grid";
import UsersRound from "@lucide/svelte/icons/users-round";
import ListOrdered from "@lucide/svelte/icons/list-ordered";
import Settings from "@lucide/svelte/icons/settings";
import SquarePen from "@lucide/svelte/icons/square-pen";

/** One page. */
export interface Place {
  href: string;
  title: PlainKey;
  action: ActionId;
  icon: Component<{ size?: number; strokeWidth?: number }>;
}

export const HOME: Place = { href: "/", title: "shell.nav.home", action: "go.home", icon: House };
export const SETTINGS: Place = { href: "/settings", title: "shell.nav.settings", action: "go.settings", icon: Settings };

/** Only for those who manage people. */
export const PEOPLE: Place = { href: "/people", title: "people.title", action: "go.people", icon: UsersRound };

export const GROUPS: readonly { title: PlainKey; places: readonly Place[] }[] = [
  {
    title: "shell.nav.data",
    places: [
      { href: "/datasets", title: "shell.nav.datasets", action: "go.datasets", icon: Database },
      { href: "/feedback", title: "shell.nav.feedback", action: "go.feedback", icon: SquarePen },
      { href: "/preferences", title: "shell.nav.preferences", action: "go.preferences", icon: ListOrdered },
    ],
  },
  {
    title: "shell.nav.train",
    places: [
      { href: "/runs", title: "shell.nav.runs", action: "go.runs", icon: ChartLine },
      { href: "/base-models", title: "shell.nav.base_models", action: "go.base_models", icon: Box },
    ],
  },
  { title: "shell.nav.measure", places: [{ href: "/playground", title: "shell.nav.playground", action: "go.playground", icon: Columns2 }] },
  { title: "shell.nav.ship", places: [{ href: "/models", title: "shell.nav.models", action: "go.models", icon: LayoutGrid }] },
];

/** Every page, in the order of the sidebar. */
export const PLACES: readonly Place[] = [HOME, ...GROUPS.flatMap((group) => group.places), PEOPLE, SETTINGS];

// What a browser calls itself, as people call it.
import { t } from "$lib/i18n/index.svelte";

// The order matters: nearly all of them also call themselves Safari, Chrome or Mozilla.
const BROWSERS: readonly [RegExp, string][] = [
  [/\bEdgA?\//, "Edge"],
  [/\bOPR\//, "Opera"],
  [/\bVivaldi\//, "Vivaldi"],
  [/\b(?:Firefox|FxiOS)\//, "Firefox"],
  [/\b(?:Chrome|CriOS|HeadlessChrome)\//, "Chrome"],
  [/\bVersion\/.*Safari\//, "Safari"],
];
const SYSTEMS: readonly [RegExp, string][] = [
  [/Windows NT/, "Windows"],
  [/iPhone|iPad/, "iOS"],
  [/Android/, "Android"],
  [/CrOS/, "ChromeOS"],
  [/Mac OS X/, "macOS"],
  [/Linux/, "Linux"],
];

const found = (text: string, table: readonly [RegExp, string][]) => table.find(([pattern]) => pattern.test(text))?.[1];

/** "Firefox on Linux"; a program by the first word it says of itself. */
export function agentWord(agent: string): string {
  const [browser, system] = [found(agent, BROWSERS), found(agent, SYSTEMS)];
  if (browser !== undefined && system !== undefined) return t("people.agent.of", { browser, system });
  return browser ?? (/^[\w.-]+/.exec(agent)?.[0] || t("people.agent.unknown"));
}

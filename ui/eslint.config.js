// What is refused: an import against the arrows between folders, the network outside lib/api, code that a strict CSP blocks.
import js from "@eslint/js";
import svelte from "eslint-plugin-svelte";
import globals from "globals";
import ts from "typescript-eslint";

const domains = ["dataset", "feedback", "model", "people", "playground", "training"];

const network = {
  group: ["@tauri-apps/*", "@tauri-apps/**"],
  message: "Only lib/api talks to the host.",
};

/** @param {string[]} group @param {string} message @returns {Partial<import("eslint").Linter.RulesRecord>} */
const boundary = (group, message) => ({ "no-restricted-imports": ["error", { patterns: [network, { group, message }] }] });

export default ts.config(
  { ignores: ["build/", ".svelte-kit/", "src/lib/api/generated/"] },
  js.configs.recommended,
  ts.configs.recommended,
  svelte.configs.recommended,
  {
    languageOptions: { globals: { ...globals.browser, ...globals.node } },
    rules: {
      "no-undef": "off",
      "no-restricted-globals": ["error", { name: "fetch", message: "Only lib/api talks to the host." }, "EventSource", "alert", "confirm", "prompt"],
      "no-restricted-imports": ["error", { patterns: [network] }],
      "no-restricted-syntax": [
        "error",
        { selector: "SvelteAttribute[key.name='style']", message: "The CSP blocks style attributes: use a class or a style: directive." },
      ],
      "svelte/no-at-html-tags": "error",
      "svelte/no-navigation-without-resolve": "off",
      "svelte/prefer-svelte-reactivity": "off",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/consistent-type-imports": "error",
      eqeqeq: ["error", "always", { null: "ignore" }],
    },
  },
  {
    files: ["**/*.svelte", "**/*.svelte.ts"],
    languageOptions: { parserOptions: { parser: ts.parser, extraFileExtensions: [".svelte"], svelteConfig: { compilerOptions: { runes: true } } } },
  },
  {
    files: ["src/components/shared/**"],
    rules: boundary(
      ["$lib/api/**", "$lib/api", "$lib/cache*", "$components/*", "$components/**", "!$components/shared/**", "../../*"],
      "components/shared imports nothing of ours but lib/format, lib/i18n, lib/actions and lib/stored.",
    ),
  },
  ...domains.map((domain) => ({
    files: [`src/components/${domain}/**`],
    rules: boundary(
      [...domains.filter((other) => other !== domain), "views"].map((other) => `$components/${other}/**`),
      "A domain folder imports components/shared and itself.",
    ),
  })),
  {
    files: ["src/lib/**"],
    rules: boundary(["$components/**"], "lib knows no component."),
  },
  {
    // Tests in a browser look at the host past the page.
    files: ["src/lib/api/**", "e2e/**"],
    rules: { "no-restricted-imports": "off", "no-restricted-globals": "off" },
  },
  {
    files: ["static/first.js"],
    rules: { "no-var": "off" },
  },
);

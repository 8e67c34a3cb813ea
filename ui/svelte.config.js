// The front end is one static page: no server-side rendering, `index.html` for every path, and no inline script or style
// in it, so that `default-src 'self'` holds in the window and behind the server alike.
import { pageWithoutInlineCode } from "./build-tools/page.js";

/** @type {import("@sveltejs/kit").Config} */
export default {
  compilerOptions: { runes: ({ filename }) => (filename.includes("node_modules") ? undefined : true) },
  kit: {
    adapter: pageWithoutInlineCode({ pages: "build", assets: "build", fallback: "index.html", precompress: false }),
    alias: { $components: "src/components" },
    paths: { relative: false },
    version: { name: "0" },
    typescript: {
      config: (config) => ({ ...config, include: [...config.include, "../build-tools/**/*.js", "../*.js", "../*.ts"] }),
    },
  },
};

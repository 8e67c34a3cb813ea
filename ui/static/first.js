// Runs before everything else: repairs the browser's language tag, and sets language and theme before the first paint.
(function () {
  // With LANG unset or C, WebKitGTK calls its language "C", which every Intl constructor refuses with a RangeError.
  try {
    Intl.getCanonicalLocales(navigator.language);
    new Intl.NumberFormat(navigator.language);
  } catch {
    Object.defineProperty(navigator, "language", { value: "en-US", configurable: true });
    Object.defineProperty(navigator, "languages", { value: ["en-US"], configurable: true });
  }
  /** @param {string} key */
  function stored(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  }
  var root = document.documentElement;
  var theme = stored("tonebridge.theme");
  var dark = theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "dark" : "light";
  root.dataset.density = stored("tonebridge.density") === "roomy" ? "roomy" : "compact";
  var language = stored("tonebridge.language");
  root.lang = language === "ja" || language === "en" ? language : navigator.language.slice(0, 2) === "ja" ? "ja" : "en";
})();

// Before the first paint, so that nothing flashes: the theme that was chosen, or else the system's.
(() => {
  const KEY = "tandem-theme";
  const CHOICES = ["auto", "light", "dark"];
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;

  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // Storage may be forbidden; then a choice lasts as long as the page.
    }
  }

  function apply() {
    root.dataset.theme = theme.choice === "auto" ? (system.matches ? "dark" : "light") : theme.choice;
    theme.changed();
  }

  const theme = {
    choice: CHOICES.includes(stored()) ? stored() : "auto",
    changed: () => {},
    next() {
      theme.choice = CHOICES[(CHOICES.indexOf(theme.choice) + 1) % CHOICES.length];
      try {
        localStorage.setItem(KEY, theme.choice);
      } catch {
        // As above.
      }
      apply();
    },
  };
  system.addEventListener("change", apply);
  globalThis.tandemTheme = theme;
  apply();
})();

// What the window adds to the frame: menu and tray reach the page, the page's language and theme reach them.
import { goto } from "$app/navigation";
import { ACTIONS, perform, type ActionId } from "$lib/actions";
import { backend, type CoreState, type Desktop } from "$lib/api";
import { locale } from "$lib/locale.svelte";
import { appearance } from "$lib/theme.svelte";

/** The window's side of the frame; without a window it stays empty. */
export class DesktopLink {
  /** The core behind the window; undefined in a browser. */
  core = $state.raw<CoreState>();
  #desktop = $state.raw<Desktop>();

  /** Connects for as long as the calling component lives. Must be called while it is set up. */
  constructor() {
    $effect(() => {
      const ends: (() => void)[] = [];
      let ended = false;
      void backend().then(({ desktop }) => {
        if (!desktop || ended) return;
        this.#desktop = desktop;
        ends.push(
          desktop.onAction((id) => isAction(id) && perform(id)),
          desktop.onOpen((path) => void goto(path)),
          desktop.onCore((state) => (this.core = state)),
        );
      });
      return () => {
        ended = true;
        for (const end of ends) end();
      };
    });
    $effect(() => {
      // An old menu is no reason to disturb anyone.
      void this.#desktop?.setAppearance(locale.language, appearance.chosen ?? "system").catch(() => undefined);
    });
  }

  retry = (): Promise<void> => this.#desktop?.retryCore() ?? Promise.resolve();
}

function isAction(id: string): id is ActionId {
  return ACTIONS.some((action) => action.id === id);
}

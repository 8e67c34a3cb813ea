// @vitest-environment jsdom
import { afterEach, describe, expect, it, vi } from "vitest";
import { clashes, type Action } from "./action";
import { ACTIONS, actionOf, available, offer, onKeydown, perform, titleOf } from "./registry.svelte";

const press = (key: string, target?: HTMLElement, more: KeyboardEventInit = {}) => {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  if (target) target.dispatchEvent(event);
  else document.body.dispatchEvent(event);
  return event;
};

describe("actions", () => {
  addEventListener("keydown", onKeydown);
  const ends: (() => void)[] = [];
  afterEach(() => {
    ends.splice(0).forEach((end) => end());
    document.body.replaceChildren();
  });

  it("have names of their own", () => {
    expect(new Set(ACTIONS.map((action) => action.id)).size).toBe(ACTIONS.length);
  });

  it("never share keys where both work", () => {
    expect(clashes(ACTIONS).map(([a, b]) => `${a.id} ${b.id} ${a.keys}`)).toEqual([]);
  });

  it("clash when one's keys begin the other's", () => {
    const action = (id: string, scope: Action["scope"], keys: string): Action => ({ id, scope, keys, title: "shell.filter" });
    expect(clashes([action("a", "everywhere", "g"), action("b", "runs", "g d")])).toHaveLength(1);
    expect(clashes([action("a", "runs", "p"), action("b", "models", "p")])).toHaveLength(0);
    expect(clashes([action("a", "runs", "j"), action("b", "list", "j")])).toHaveLength(1);
  });

  it("run by two strokes after each other", () => {
    const run = vi.fn();
    ends.push(offer("go.datasets", { run }));
    press("g");
    press("d");
    press("d");
    expect(run).toHaveBeenCalledTimes(1);
  });

  it("rest while a text field has the focus, except those with Ctrl", () => {
    const [slash, palette] = [vi.fn(), vi.fn()];
    ends.push(offer("view.filter", { run: slash }), offer("palette.open", { run: palette }));
    const field = document.body.appendChild(document.createElement("input"));
    press("/", field);
    press("k", field, { ctrlKey: true });
    expect(slash).not.toHaveBeenCalled();
    expect(palette).toHaveBeenCalledOnce();
  });

  it("do what was offered last, if it can be done", () => {
    const [page, dialog] = [vi.fn(), vi.fn()];
    let open = true;
    ends.push(offer("view.back", { run: page }), offer("view.back", { run: dialog, when: () => open }));
    perform("view.back");
    open = false;
    perform("view.back");
    expect([dialog.mock.calls.length, page.mock.calls.length]).toEqual([1, 1]);
    expect(available("sheet.open")).toBe(false);
  });

  it("rest while an input method composes, and on the key that ends it", () => {
    const run = vi.fn();
    ends.push(offer("view.submit", { run }), offer("view.back", { run }));
    const field = document.body.appendChild(document.createElement("textarea"));
    field.focus();
    const all = (more: KeyboardEventInit = {}): void => {
      press("Enter", field, { ctrlKey: true, ...more });
      press("Escape", field, more);
    };
    all({ isComposing: true });
    // WebKit: the composition has ended by then, the code says that it was the input method's key.
    all({ keyCode: 229 });
    field.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
    all();
    field.dispatchEvent(new CompositionEvent("compositionend", { bubbles: true }));
    all();
    expect(run).not.toHaveBeenCalled();
  });

  it("work again after a composition, also when its field went away in the middle", async () => {
    const run = vi.fn();
    ends.push(offer("view.submit", { run }));
    const field = document.body.appendChild(document.createElement("textarea"));
    field.focus();
    field.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
    field.remove();
    await new Promise((done) => setTimeout(done, 40));
    press("Enter", undefined, { ctrlKey: true });
    expect(run).toHaveBeenCalledOnce();
  });

  it("run once while a key is held down, where that matters", () => {
    const [skip, next] = [vi.fn(), vi.fn()];
    ends.push(offer("review.skip", { run: skip }), offer("list.next", { run: next }));
    for (const repeat of [false, true, true]) {
      press("s", undefined, { repeat });
      press("j", undefined, { repeat });
    }
    expect([skip.mock.calls.length, next.mock.calls.length]).toEqual([1, 3]);
  });

  it("are named by whoever offers them", () => {
    const title = titleOf(actionOf("review.answer_1"));
    ends.push(offer("review.answer_1", { run: () => {}, title: () => "Rating: 1" }));
    expect([titleOf(actionOf("review.answer_1")), title]).toEqual(["Rating: 1", "Give this answer"]);
  });
});

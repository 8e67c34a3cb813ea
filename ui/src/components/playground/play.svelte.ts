// The playground's state: what is asked, of whom, how, and what came back. It outlives the page, so that looking something up
// loses neither a prompt nor an answer.
import { backend, toApiError, type ApiError, type Decoding, type GenerateArgs } from "$lib/api";
import { keep, readText } from "$lib/stored";
import { sent, type Framing } from "./frames";
import { asked, failed, IDLE, running, stopped, take, type SideView } from "./session";
import { NONE, sideOf, type SideKey } from "./sides";

const DECODING = "playground.decoding";
const DEFAULTS: Decoding = { max_new_tokens: 256, temperature: 0, top_p: 1, top_k: 0, seed: 42 };

export type Compare = "off" | "each_other" | "reference";

function storedDecoding(): Decoding {
  try {
    return { ...DEFAULTS, ...(JSON.parse(readText(DECODING) ?? "{}") as Partial<Decoding>) };
  } catch {
    return DEFAULTS;
  }
}

class Play {
  a = $state<SideKey>(NONE);
  b = $state<SideKey>(NONE);
  text = $state("");
  framing = $state.raw<Framing>({ kind: "plain" });
  decoding = $state<Decoding>(storedDecoding());
  compare = $state<Compare>("off");
  /** The row that is tried: where it is, what it says. */
  example = $state.raw<{ datasetId: string; index: number; text: string; reference: string | null }>();
  /** The dataset whose rows are offered; none lets the model decide. */
  datasetId = $state<string>();

  views = $state.raw<readonly [SideView, SideView]>([IDLE, IDLE]);
  /** What the answers on show were asked; the box may say something else by now. */
  askedText = $state.raw<string>();
  /** The reference of the row that was asked, if it was asked as it is. */
  askedReference = $state.raw<string | null>(null);
  /** Why nothing was sent at all. */
  error = $state.raw<ApiError>();
  #stop: AbortController | undefined;

  running = $derived(running(this.views));
  /** The reference, while the box holds the row's own text. */
  reference = $derived(this.example && this.example.text === this.text ? this.example.reference : null);
  ready = $derived(this.text.trim() !== "" && (this.a !== NONE || this.b !== NONE) && !this.running);

  setDecoding(changes: Partial<Decoding>): void {
    this.decoding = { ...this.decoding, ...changes };
    keep(DECODING, JSON.stringify(this.decoding));
  }

  swap(): void {
    [this.a, this.b] = [this.b, this.a];
    const [first, second] = this.views;
    this.views = [second, first];
  }

  /** Asks both sides. A side that is left out stays idle. */
  async run(): Promise<void> {
    if (!this.ready) return;
    const places: number[] = [];
    const sides = [this.a, this.b].flatMap((key, place) => {
      const side = sideOf(key);
      if (side) places.push(place);
      return side ? [side] : [];
    });
    const args: GenerateArgs = { sides, ...sent(this.text, this.framing), decoding: this.decoding };
    let views = asked(sides.length);
    const show = (): void => {
      const at = (place: number): SideView => views[places.indexOf(place)] ?? IDLE;
      this.views = [at(0), at(1)];
    };
    this.error = undefined;
    this.askedText = this.text;
    this.askedReference = this.reference;
    const stop = (this.#stop = new AbortController());
    show();
    try {
      const host = await backend();
      await host.stream("generate", args, (item) => {
        if (stop.signal.aborted) return;
        views = take(views, item);
        show();
      }, stop.signal);
      views = stopped(views);
    } catch (thrown) {
      const error = toApiError(thrown);
      if (stop.signal.aborted || error.code === "cancelled") views = stopped(views);
      else {
        views = failed(views, error);
        this.error = views.every((view) => view.text === "") ? error : undefined;
      }
    }
    if (this.#stop === stop) show();
  }

  /** Stops both sides; the words that came stay. */
  stop(): void {
    this.#stop?.abort();
    this.views = stopped(this.views) as unknown as readonly [SideView, SideView];
  }
}

export const play = new Play();

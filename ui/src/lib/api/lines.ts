// The items of a streamed answer: NDJSON (one JSON value a line) or server-sent events, as its content type says.
import { toApiError } from "./error";

/** Reads an answer's items one by one as they arrive. */
export async function* itemsOf(answer: Response): AsyncGenerator<unknown> {
  const events = answer.headers.get("content-type")?.includes("event-stream") === true;
  for await (const line of linesOf(answer)) {
    const text = events ? dataOf(line) : line;
    if (text.trim() === "") continue;
    const item: unknown = JSON.parse(text);
    if (isRefusal(item)) throw toApiError(item.error);
    yield item;
  }
}

/** The last line of a stream that broke: `{"error": {code, message, hint}}`, and nothing beside. */
function isRefusal(item: unknown): item is { error: unknown } {
  return typeof item === "object" && item !== null && "error" in item && Object.keys(item).length === 1;
}

function dataOf(line: string): string {
  return line.startsWith("data:") ? line.slice(5) : "";
}

async function* linesOf(answer: Response): AsyncGenerator<string> {
  if (!answer.body) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
    if (rest) yield rest;
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

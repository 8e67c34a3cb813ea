// Text that arrives line by line: NDJSON (one JSON value a line) and server-sent events.
import { toApiError } from "./error";

/** One server-sent event; `data` is empty if only a number or a heartbeat came. */
export interface ServerEvent {
  id: string | undefined;
  data: string;
}

/** Reads an answer's items one by one as they arrive, NDJSON or server-sent events, as its content type says. */
export async function* itemsOf(answer: Response): AsyncGenerator<unknown> {
  const events = answer.headers.get("content-type")?.includes("event-stream") === true;
  for await (const text of events ? dataOf(answer) : linesOf(answer)) {
    if (text.trim() === "") continue;
    const item: unknown = JSON.parse(text);
    if (isRefusal(item)) throw toApiError(item.error);
    yield item;
  }
}

/** Reads server-sent events; a comment (the server's heartbeat) comes as an event without data. */
export async function* eventsOf(answer: Response): AsyncGenerator<ServerEvent> {
  let id: string | undefined;
  let data: string[] = [];
  for await (const line of linesOf(answer)) {
    if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
    else if (line.startsWith("id:")) id = line.slice(3).trim();
    else if (line === "") {
      yield { id, data: data.join("\n") };
      [id, data] = [undefined, []];
    }
  }
}

/** The last line of a stream that broke: `{"error": {code, message, hint}}`, and nothing beside. */
function isRefusal(item: unknown): item is { error: unknown } {
  return typeof item === "object" && item !== null && "error" in item && Object.keys(item).length === 1;
}

async function* dataOf(answer: Response): AsyncGenerator<string> {
  for await (const event of eventsOf(answer)) yield event.data;
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
      for (const line of lines) yield line.endsWith("\r") ? line.slice(0, -1) : line;
    }
    if (rest) yield rest;
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

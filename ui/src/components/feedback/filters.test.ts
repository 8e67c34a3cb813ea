import { describe, expect, it } from "vitest";
import { linkTo, only, readFilters, selectionOf, sinceOf, STATS_FILTERS, statsOf, type Filters } from "./filters";

const NOON = Date.UTC(2026, 10, 21, 12, 34);
const full: Filters = { model: "mdl_1", transformation: "casual_to_polite", reviewer: "usr_1", range: "30d", kind: "choice", rating: 4, source: "api", project: "prj_1", withdrawn: "no" };

describe("filters", () => {
  it("come back from the address as they went into it", () => {
    const link = linkTo("/feedback/rows", full);
    expect(link).toMatch(/^\/feedback\/rows\?model=mdl_1&transformation=casual_to_polite&/);
    expect(readFilters(new URL(link, "http://x").searchParams)).toEqual(full);
    expect(linkTo("/feedback/stats", {})).toBe("/feedback/stats");
    expect(linkTo("/feedback/rows", {}, { row: "fbk_1" })).toBe("/feedback/rows?row=fbk_1");
  });

  it("keep strange names whole", () => {
    const filters: Filters = { transformation: "a&b=c #?日本\u202e" };
    expect(readFilters(new URL(linkTo("/r", filters), "http://x").searchParams)).toEqual(filters);
  });

  it("tell rows that name no kind of rewriting from all rows", () => {
    expect(readFilters(new URLSearchParams("transformation="))).toEqual({ transformation: "" });
    expect(selectionOf({ transformation: "" }, NOON)).toEqual({ transformation_type: "" });
  });

  it("drop what means nothing", () => {
    expect(readFilters(new URLSearchParams("rating=6&kind=love&range=1y&withdrawn=maybe&model=&source=fax"))).toEqual({});
  });

  it("begin a range with a whole day, today included", () => {
    expect(sinceOf("7d", NOON)).toBe(Date.UTC(2026, 10, 15));
    expect(sinceOf("7d", Date.UTC(2026, 10, 21))).toBe(Date.UTC(2026, 10, 15));
  });

  it("ask the host only for what restricts", () => {
    expect(statsOf({}, NOON)).toEqual({});
    expect(statsOf(full, NOON)).toEqual({ model_id: "mdl_1", user_id: "usr_1", transformation_type: "casual_to_polite", since_ms: sinceOf("30d", NOON) });
    expect(selectionOf({ ...full, withdrawn: "yes" }, NOON)).toEqual({
      model_id: "mdl_1", user_id: "usr_1", feedback_type: "choice", transformation_type: "casual_to_polite", project_id: "prj_1", source: "api", rating: 4, since_ms: sinceOf("30d", NOON), withdrawn: true,
    });
    expect(selectionOf({ withdrawn: "no" }, NOON)).toEqual({ withdrawn: false });
  });

  it("carry over to statistics what these know", () => {
    expect(Object.keys(only(full, STATS_FILTERS))).toEqual(["model", "transformation", "reviewer", "range"]);
  });
});

import { expect, test } from "vitest";
import { csv } from "./csv";

test("titles, then rows, with CRLF", () => {
  expect(csv([{ title: "step", values: [1, 2] }, { title: "loss", values: [2.5, 0.1] }])).toBe("step,loss\r\n1,2.5\r\n2,0.1\r\n");
});

test("a missing number is an empty field, never NaN", () => {
  expect(csv([{ title: "a", values: [1, NaN, Infinity] }])).toBe("a\r\n1\r\n\r\n\r\n");
});

test("columns of different length leave fields empty", () => {
  expect(csv([{ title: "a", values: [1, 2] }, { title: "b", values: [3] }])).toBe("a,b\r\n1,3\r\n2,\r\n");
});

test("numbers keep every digit", () => {
  expect(csv([{ title: "a", values: new Float64Array([0.1 + 0.2, 1e-7]) }])).toBe("a\r\n0.30000000000000004\r\n1e-7\r\n");
});

test("quotes, commas and line breaks are quoted", () => {
  expect(csv([{ title: 'my "run", 2', values: ["a\nb"] }])).toBe('"my ""run"", 2"\r\n"a\nb"\r\n');
});

test("a text that would run as a formula is led by an apostrophe", () => {
  expect(csv([{ title: "=1+1", values: ["@x"] }])).toBe("'=1+1\r\n'@x\r\n");
});

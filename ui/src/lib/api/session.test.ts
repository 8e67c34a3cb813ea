import { afterEach, describe, expect, it } from "vitest";
import { COMMAND_ROLES } from "./generated/commands";
import type { Role } from "./generated/Role";
import { may, ROLES, roleFor, session } from "./session.svelte";

const as = (role: Role) => (session.who = { user: null, role, owner: false, session_id: null, has_password: true });

afterEach(() => (session.who = undefined));

describe("what a role may do", () => {
  it("is more with each role", () => {
    const allowed = ROLES.map((role) => {
      as(role);
      return Object.keys(COMMAND_ROLES).filter((name) => may(name as keyof typeof COMMAND_ROLES)).length;
    });
    expect(allowed).toEqual([...allowed].sort((a, b) => a - b));
    expect(allowed[3]).toBe(Object.keys(COMMAND_ROLES).length);
  });

  it("is what the host's tables say, for commands and streams", () => {
    expect(roleFor("settings_get")).toBe("admin");
    expect(roleFor("generate")).toBe("reviewer");
    as("reviewer");
    expect([may("job_list"), may("generate"), may("job_start"), may("user_list")]).toEqual([true, true, false, false]);
  });

  it("is not held back before the host has said who it is", () => {
    expect(may("user_list")).toBe(true);
  });
});

// Actions of the people page and of one's own account.
import type { Action } from "./action";

export const people = [
  { id: "person.add", title: "people.action.add", scope: "people", keys: "A", needs: "user_add" },
  { id: "people.users", title: "people.action.users", scope: "people", keys: "1", needs: "user_list" },
  { id: "people.audit", title: "people.action.audit", scope: "people", keys: "2", needs: "audit_list" },
  { id: "account.show", title: "people.action.account", scope: "everywhere" },
  { id: "account.password", title: "people.action.password", scope: "people", needs: "user_set_password" },
  { id: "account.token", title: "people.action.token", scope: "people", needs: "token_create" },
  { id: "account.sign_out", title: "people.action.sign_out", scope: "everywhere" },
] as const satisfies readonly Action[];
